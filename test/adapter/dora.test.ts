import { describe, expect, it } from 'vitest'
import { readBlocks } from '../../src/adapter/blocks.js'
import { adapterOf, applyAdapter, lora, mergeAdapter, mergeQuantized, removeAdapter } from '../../src/adapter/index.js'
import { findLayers } from '../../src/adapter/layers.js'
import { buildTrainingGraphs, importGraph } from '../../src/graph/index.js'
import {
  decodeModel,
  encodeModel,
  type Model,
  mse,
  namedTensors,
  replaceTensors,
  type Tensors,
} from '../../src/index.js'
import { tensorFrom } from '../../src/ir/leaf.js'
import { modelOf } from '../../src/onnx/export/export-graph.js'
import { modelBytes, node } from '../onnx/build.js'
import { difference, numbers, run } from '../onnx/session.js'
import { draw, type Form, forms } from './forms.js'

const floats = forms.filter(
  ({ name }) => /^(MatMul|Gemm|FusedMatMul)(?!NBits| whose| in)/.test(name) && !name.includes('float16'),
)

/** A model with DoRA whose A, B and magnitudes are random. */
function tuned({ model, modules, dtype }: Form) {
  const fresh = lora(model, { r: 2, alpha: 3, dora: true, targets: modules })
  const { config, layers } = adapterOf(fresh)
  const random = layers.map((layer) => ({
    ...layer,
    b: draw(dtype, layer.b.dims),
    magnitude: tensorFrom(
      dtype,
      layer.magnitude!.dims,
      numbers(layer.magnitude!).map((m, i) => m * (0.5 + 0.3 * i)),
    ),
  }))
  return { fresh, adapted: applyAdapter(model, { config, layers: random }), layer: random[0]! }
}

describe.each(floats.map((form) => [form.name, form] as const))('DoRA of %s', (_, form) => {
  const { model, feeds } = form
  const { fresh, adapted, layer } = tuned(form)
  const output = async (of: typeof model) => (await run(encodeModel(of), feeds))['y']!

  it('new > computes what the model computes', async () => {
    expect(difference(await output(fresh), await output(model))).toBeLessThan(form.dtype === 'float64' ? 1e-12 : 1e-5)
  })

  it('removed > leaves the bytes of the base', () => {
    expect(Buffer.compare(encodeModel(removeAdapter(adapted)), encodeModel(model))).toBe(0)
  })

  it('merged > computes the same; its rows have the magnitudes as norms', async () => {
    expect(difference(await output(mergeAdapter(adapted)), await output(adapted))).toBeLessThan(1e-5)
    expect(difference(await output(adapted), await output(model))).toBeGreaterThan(0.01)
    const again = adapterOf(lora(mergeAdapter(adapted), { r: 2, dora: true, targets: form.modules }))
    expect(difference(again.layers[0]!.magnitude!, layer.magnitude)).toBeLessThan(1e-5)
  })

  it('gradients take the norms as constants', async () => {
    // With r = 1/norm fixed, the output is linear in each of A, B and m: y = m r (W x + s B A x) + bias.
    const y = await output(adapted)
    const targets = draw(form.dtype, y.dims)
    const { training, parameters } = buildTrainingGraphs(importGraph(adapted), { loss: mse() })
    expect([...parameters.keys()]).toEqual(
      ['A.weight', 'B.weight', 'magnitude_vector'].map((name) => `layer.lora_${name}`),
    )
    const inputs = new Map([...training.inputs].filter(([name]) => !parameters.has(name)))
    const found = await run(encodeModel(modelOf({ ...training, inputs })), { ...feeds, targets })
    const dy = numbers(y).map((value, i) => (2 * (value - numbers(targets)[i]!)) / numbers(y).length)
    // Differences of the plain sum of W x + s B A x, per output, times dy and the fixed factors.
    const factors = await fixedFactors(form, adapted, layer)
    const plain = (tensors: Tensors) =>
      output(replaceTensors(withoutNorm(form, layer), new Map(Object.entries(tensors))))
    for (const name of ['layer.lora_A.weight', 'layer.lora_B.weight']) {
      const gradient = numbers(found[`grad/${name}`]!)
      const direction = draw(form.dtype, found[`grad/${name}`]!.dims)
      const at = numbers(name.includes('_A') ? transposed(layer.a) : transposed(layer.b))
      const moved = (step: number) =>
        plain({
          [name]: tensorFrom(
            form.dtype,
            direction.dims,
            at.map((v, i) => v + step * numbers(direction)[i]!),
          ),
        })
      const [up, down] = [numbers(await moved(0.5)), numbers(await moved(-0.5))]
      const expected = up.reduce((total, v, i) => total + (v - down[i]!) * factors[i % factors.length]! * dy[i]!, 0)
      const actual = gradient.reduce((total, v, i) => total + v * numbers(direction)[i]!, 0)
      expect(actual / expected).toBeCloseTo(1, form.dtype === 'float64' ? 8 : 3)
    }
    // dm = sum dy (y - bias) / m
    const bias = await biasOf(form)
    const dm = numbers(layer.magnitude).map((m, o, all) =>
      numbers(y).reduce((total, v, i) => total + (i % all.length === o ? (dy[i]! * (v - bias[o]!)) / m : 0), 0),
    )
    expect(
      difference(found['grad/layer.lora_magnitude_vector']!, tensorFrom(form.dtype, [dm.length], dm)),
    ).toBeLessThan(form.dtype === 'float64' ? 1e-10 : 1e-3)
  })
})

/** The model with a MatMul of the float weight in place of MatMulNBits, and its bias in an Add. */
function dequantized(model: Model): Model {
  const [layer] = findLayers(model)
  const tensors = namedTensors(model)
  const rows = readBlocks(layer!, tensors)
  const { in: k, out: n } = layer!
  const w = tensorFrom(
    'float32',
    [k, n],
    Array.from({ length: k * n }, (_, i) => rows[(i % n) * k + Math.floor(i / n)]!),
  )
  const c = tensors.get('c') ?? tensorFrom('float32', [n], new Float64Array(n))
  const nodes = [{ ...node('MatMul', 'x w', 'z'), name: '/layer/MatMul' }, node('Add', 'z c', 'y')]
  const { input, output } = model.proto.graph!
  return decodeModel(
    modelBytes({ nodes, inputs: input, outputs: output, initializers: { w, c } }, { opset: 21, ir: 10 }),
  )
}

const transposed = ({ dtype, dims: [rows = 0, columns = 0], data }: ReturnType<typeof draw>) =>
  tensorFrom(
    dtype,
    [columns, rows],
    Array.from(
      { length: rows * columns },
      (_, i) => (data as Float64Array)[(i % rows) * columns + Math.floor(i / rows)]!,
    ),
  )

type TunedLayer = ReturnType<typeof tuned>['layer']

/** The model with the same A and B as plain LoRA. */
const withoutNorm = ({ model }: Form, { magnitude: _, ...layer }: TunedLayer) =>
  applyAdapter(model, { config: { r: 2, alpha: 3 }, layers: [layer] })

const biasOf = async (form: Form): Promise<readonly number[]> => {
  const zeros = tensorFrom(
    form.feeds['x']!.dtype,
    form.feeds['x']!.dims,
    new Float64Array(numbers(form.feeds['x']!).length),
  )
  return numbers((await run(encodeModel(form.model), { x: zeros }))['y']!)
}

/** m / norm per output: the ratio of the outputs with and without the norm, less the bias. */
async function fixedFactors(form: Form, adapted: Form['model'], layer: TunedLayer): Promise<readonly number[]> {
  const [normalized, plain, bias] = [
    numbers((await run(encodeModel(adapted), form.feeds))['y']!),
    numbers((await run(encodeModel(withoutNorm(form, layer)), form.feeds))['y']!),
    await biasOf(form),
  ]
  return numbers(layer.magnitude).map((_, o) => (normalized[o]! - bias[o]!) / (plain[o]! - bias[o]!))
}

describe('DoRA', () => {
  it.each(forms.filter(({ name }) => name.startsWith('MatMulNBits')).map((form) => [form.name, form] as const))(
    'of %s > outputs and gradients of the dequantized model',
    async (_, form) => {
      const { model, feeds } = form
      const { fresh, adapted, layer } = tuned(form)
      const base = (await run(encodeModel(model), feeds))['y']!
      expect(difference((await run(encodeModel(fresh), feeds))['y']!, base)).toBeLessThan(1e-5)
      expect(Buffer.compare(encodeModel(removeAdapter(adapted)), encodeModel(model))).toBe(0)
      const float = dequantized(model)
      const other = applyAdapter(float, { ...adapterOf(adapted), layers: [layer] })
      const results = await Promise.all(
        [adapted, other].map(async (each) => {
          const { training, parameters } = buildTrainingGraphs(importGraph(each), { loss: mse() })
          const inputs = new Map([...training.inputs].filter(([name]) => !parameters.has(name)))
          const targets = tensorFrom('float32', base.dims, new Float64Array(numbers(base).length))
          return run(encodeModel(modelOf({ ...training, inputs })), { ...feeds, targets })
        }),
      )
      const y = await Promise.all([adapted, other].map(async (each) => (await run(encodeModel(each), feeds))['y']!))
      expect(difference(y[0]!, y[1]!)).toBeLessThan(1e-5)
      expect(difference(y[0]!, base)).toBeGreaterThan(0.01)
      for (const name of ['A.weight', 'B.weight', 'magnitude_vector'].map((end) => `grad/layer.lora_${end}`))
        expect(difference(results[0]![name]!, results[1]![name]!), name).toBeLessThan(1e-4)
      const requantized = mergeQuantized(adapted, { bits: 8, blockSize: 16 })
      expect(difference((await run(encodeModel(requantized), feeds))['y']!, y[0]!)).toBeLessThan(0.05)
    },
  )

  it.each([{ dora: true }, { dropout: 0.1 }])('in the body of a Loop > cannot be trained: %j', (options) => {
    const { model, modules } = forms.find(({ name }) => name === 'MatMul in the body of a Loop')!
    const build = (each: typeof options | object) =>
      buildTrainingGraphs(importGraph(lora(model, { ...each, targets: modules })), { loss: mse() })
    expect(() => build({})).not.toThrow()
    expect(() => build(options)).toThrow(
      expect.objectContaining({ code: 'invalid-option', message: expect.stringContaining(Object.keys(options)[0]!) }),
    )
  })

  it.each(
    forms
      .filter(({ name, isFloat }) => (!isFloat && !name.startsWith('MatMulNBits')) || /Conv|Gather|packed/.test(name))
      .map((form) => [form.name, form] as const),
  )('of %s > is refused with the reason', (_, { model, modules }) => {
    expect(() => lora(model, { dora: true, targets: modules })).toThrow(
      expect.objectContaining({ code: 'invalid-option', message: expect.stringContaining(modules[0]!) }),
    )
  })
})
