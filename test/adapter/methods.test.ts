import { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import {
  type Adapter,
  type AdapterLayer,
  type AdapterOptions,
  adapterFeeds,
  adapterOf,
  applyAdapter,
  checksumBase,
  decodeOnnxAdapter,
  encodeOnnxAdapter,
  encodePeft,
  type Ia3Options,
  ia3,
  lora,
  makeLoraReady,
  mergeAdapter,
  mergeQuantized,
  quantizeModel,
  removeAdapter,
  type ScalingLayer,
} from '../../src/adapter/index.js'
import { findLayers } from '../../src/adapter/layers.js'
import { readModuleWeight } from '../../src/adapter/merged-weight.js'
import { decodePeft } from '../../src/adapter/peft.js'
import { computeSingularVectors } from '../../src/adapter/singular-vectors.js'
import { buildTrainingGraphs, importGraph, input, op, parameter } from '../../src/graph/index.js'
import { adamw, encodeModel, fromArrays, type Model, mse, namedTensors, type Tensor } from '../../src/index.js'
import { numbersOf, tensorFrom } from '../../src/ir/leaf.js'
import { sizeOf } from '../../src/ir/tensor.js'
import { modelOf } from '../../src/onnx/export/export-graph.js'
import { createStartModel } from '../../src/train/model/start-model.js'
import { Random } from '../../src/util/random.js'
import { difference, numbers, run } from '../onnx/session.js'
import { rejectedMessage, thrownMessage } from '../thrown.js'
import { startTrainers, train } from '../train/small-trainer.js'
import { drawing, forms } from './forms.js'
import { methodTensors, readGoldenFolder, readGoldenModel, readGoldenPeft } from './golden.js'
import { differenceOf, runModel } from './run.js'

const draw = drawing(new Random(4))

const { create } = startTrainers()
const golden = methodTensors()
const base = readGoldenModel('grouped')
const x = golden['x']!
const targets = ['conv', 'k_proj']
const embedding = readGoldenModel('mixed')
const output = async (model: Model): Promise<Tensor> => (await runModel(model, { x }))['y']!

/** The product B A of two matrices. */
function product({ dims: [r = 0, inputs = 0], ...a }: Tensor, b: Tensor): number[] {
  const [down, up] = [numbers({ ...a, dims: [r, inputs] }), numbers(b)]
  return Array.from({ length: b.dims[0]! * inputs }, (_, i) => {
    const [row, column] = [Math.floor(i / inputs), i % inputs]
    return Array.from({ length: r }, (_, k) => up[row * r + k]! * down[k * inputs + column]!).reduce((s, v) => s + v, 0)
  })
}

describe('an adapter of a convolution of two groups', () => {
  it.each(['grouped', 'grouped-dora'])('has the outputs of PEFT, beside the weights and merged: %s', async (name) => {
    const { adapter } = readGoldenPeft(name)
    const beside = applyAdapter(base, adapter)
    expect(difference(await output(beside), golden[name]!)).toBeLessThan(1e-5)
    expect(difference(golden[name]!, golden['base']!)).toBeGreaterThan(0.05)
    expect(decodePeft(encodePeft(adapter)).adapter.layers).toEqual(adapter.layers)
    const merged = mergeAdapter(beside)
    expect(difference(await output(merged), golden[name]!)).toBeLessThan(1e-5)
    const { attribute } = merged.proto.graph!.node.find(({ opType }) => opType === 'Conv')!
    expect(attribute.map((each) => each.name)).not.toContain('group')
    expect(namedTensors(merged).get('conv.merged_weight')!.dims).toEqual([6, 4, 3, 3])
    expect(namedTensors(merged).size).toBe(namedTensors(base).size)
  })

  const { adapter } = readGoldenPeft('grouped')

  it('as an input > has the outputs of PEFT; without it, those of the base', async () => {
    const session = await InferenceSession.create(encodeModel(makeLoraReady(base, { targets, optional: false })))
    const fed = async (each: Adapter | null) => {
      const { y } = await session.run({
        x: new OrtTensor('float32', x.data as Float32Array, x.dims),
        ...adapterFeeds(each, session.inputMetadata, OrtTensor),
      })
      return { dtype: 'float32', dims: y!.dims, data: y!.data } as Tensor
    }
    expect(difference(await fed(adapter), golden['grouped']!)).toBeLessThan(1e-5)
    expect(difference(await fed(null), golden['base']!)).toBeLessThan(1e-5)
    await session.release()
    expect(makeLoraReady(applyAdapter(base, adapter)).proto).toEqual(makeLoraReady(base, { targets }).proto)
  })

  it('in an .onnx_adapter > fits the model again, with the groups of PEFT', async () => {
    const [conv, ...rest] = adapter.layers
    // A smaller rank, which zeros fill up.
    const narrow = { ...conv!, a: sliced(conv!.a, 0, 2), b: sliced(conv!.b, 1, 1) }
    expect(conv!.kind).toBe('conv')
    for (const layer of [conv!, narrow]) {
      const given = { ...adapter, layers: [layer, ...rest] }
      const read = decodeOnnxAdapter(encodeOnnxAdapter(given))
      expect(read.layers[0]!.b.dims).toEqual([6, 4, 1, 1])
      const again = applyAdapter(base, read)
      expect(difference(await output(again), await output(applyAdapter(base, given)))).toBeLessThan(1e-6)
      const [first] = adapterOf(again).layers
      expect([first!.a, first!.b.dims]).toEqual([layer.a, layer.b.dims])
    }
    const mixed = { ...conv!, b: { ...conv!.b, dims: [6, 4, 1, 1], data: new Float32Array(24).fill(1) } as Tensor }
    expect(() => applyAdapter(base, { ...adapter, layers: [mixed] })).toThrow(
      expect.objectContaining({ code: 'invalid-data', message: expect.stringContaining("'conv'") }),
    )
  })
})

/** The first elements of an axis. */
function sliced(tensor: Tensor, axis: number, length: number): Tensor {
  const inner = tensor.dims.slice(axis + 1).reduce((product, dim) => product * dim, 1)
  const isKept = (i: number) => Math.floor(i / inner) % tensor.dims[axis]! < length
  return tensorFrom(
    tensor.dtype,
    tensor.dims.with(axis, length),
    numbersOf(tensor).filter((_, i) => isKept(i)),
  )
}

describe('PiSSA', () => {
  const options = { r: 3, alpha: 5, targets: ['k_proj', 'down_proj'], init: 'pissa' } as const
  const start = lora(base, options)

  it('begins with the singular values of PEFT, the outputs of the base, and its weights', async () => {
    expect(difference(await output(start), golden['base']!)).toBeLessThan(1e-6)
    for (const { module, a, b } of adapterOf(start).layers) {
      const path = `pissa/base_model.model.${module}.lora_`
      // Twice the rank: the initial values, and the same negated.
      expect(a.dims[0]).toBe(6)
      expect(Math.max(...product(a, b).map(Math.abs))).toBeLessThan(1e-6)
      const [half, first] = [numbers(a).slice(0, numbers(a).length / 2), { ...a, dims: [3, a.dims[1]!] }]
      const up = numbers(b).filter((_, i) => i % 6 < 3)
      const found = product(
        { ...first, data: Float32Array.from(half) } as Tensor,
        { ...b, dims: [b.dims[0]!, 3], data: Float32Array.from(up) } as Tensor,
      )
      const expected = product(golden[`${path}A.weight`]!, golden[`${path}B.weight`]!)
      expect(differenceOf(found, expected), module).toBeLessThan(1e-5)
    }
    expect(checksumBase(start)).toBe(checksumBase(base))
    expect(Buffer.compare(encodeModel(removeAdapter(start)), encodeModel(base))).toBe(0)
  })

  it('trains as in PEFT, to an adapter of twice the rank that fits the original base', async () => {
    const trainer = await create({ loss: mse(), optimizer: adamw({ lr: 1e-2, weightDecay: 0.1 }), batchSize: 2 }, start)
    const { dims } = golden['base']!
    const targets: Tensor = { dtype: 'float32', dims, data: new Float32Array(numbers(golden['base']!).length) }
    const intervals = await train(trainer, fromArrays({ x, targets }), { totalSteps: 20, evaluateEvery: 1 })
    const tuned = trainer.export()
    await trainer.dispose()
    const expected = numbers(golden['pissa/losses']!)
    expect(expected.at(-1)).toBeLessThan(0.5 * expected[0]!)
    for (const [step, { loss }] of intervals.entries()) expect(Math.abs(loss / expected[step]! - 1)).toBeLessThan(1e-3)
    const { adapter } = readGoldenPeft('pissa')
    const own = decodePeft(encodePeft(adapterOf(tuned))).adapter
    expect(own.layers.map(({ a }) => a.dims)).toEqual(adapter.layers.map(({ a }) => a.dims).reverse())
    for (const model of [tuned, applyAdapter(base, own), mergeAdapter(tuned), applyAdapter(base, adapter)])
      expect(difference(await output(model), golden['pissa']!)).toBeLessThan(1e-3)
    expect(makeLoraReady(tuned).proto.graph!.input.length).toBe(5)
  })

  it('what cannot begin with singular values > the option, the module, and what to change', () => {
    const refusals: readonly (readonly [Parameters<typeof lora>[1], ...string[]])[] = [
      [{ init: 'pissa', targets: 'conv', r: 2 }, "'init'", 'conv', "'exclude'"],
      [{ init: 'pissa', targets: 'k_proj', r: 64 }, "'init'", 'k_proj', '64', "'r'"],
      [{ init: 'pissa', targets: 'k_proj', r: 2, rankPattern: { down_proj: 2 } }, "'rankPattern'", "'down_proj'"],
      [{ init: 'svd' as 'pissa', targets: 'k_proj' }, "'init'", "'svd'", "'pissa'"],
    ]
    for (const [given, ...parts] of refusals)
      for (const part of parts) expect(thrownMessage('invalid-option', () => lora(base, given))).toContain(part)
  })

  it('over a base in 4 bits > begins with its outputs', async () => {
    const quantized = quantizeModel(base, { blockSize: 16 })
    const adapted = lora(quantized, options)
    expect(difference(await output(adapted), await output(quantized))).toBeLessThan(1e-5)
    expect(difference(await output(quantized), golden['base']!)).toBeGreaterThan(1e-3)
  })

  it('over DequantizeLinear > has the singular values of the dequantized weight', () => {
    const { model, modules } = forms.find(({ name }) => name.startsWith('DequantizeLinear in blocks'))!
    const [layer] = findLayers(model)
    const weight = readModuleWeight(layer!, namedTensors(model))
    const [{ a, b, scale }] = adapterOf(lora(model, { r: 5, targets: modules, init: 'pissa' })).layers as [AdapterLayer]
    // Of full rank, s B A is the whole weight. The second half of the rank is the start, negated.
    const found = product(sliced(a, 0, 5), sliced(b, 1, 5)).map((value) => scale * value)
    expect(differenceOf(found, [...weight])).toBeLessThan(1e-4)
  })
})

/** Factors that differ from each other and from 1. */
const withOtherFactors = (scaling: ScalingLayer): ScalingLayer => ({
  ...scaling,
  factors: tensorFrom(
    scaling.factors.dtype,
    scaling.factors.dims,
    numbers(scaling.factors).map((_, i) => 0.5 + 0.1 * (i % 7)),
  ),
})

describe('(IA)^3', () => {
  const options = { targets: ['conv', 'k_proj', 'down_proj'], feedforward: 'down_proj' } as const
  const { adapter } = readGoldenPeft('ia3')
  const tuned = applyAdapter(base, adapter)

  it('has the outputs of PEFT, beside the weights and merged', async () => {
    for (const model of [tuned, mergeAdapter(tuned)])
      expect(difference(await output(model), golden['ia3']!)).toBeLessThan(1e-5)
    expect(difference(golden['ia3']!, golden['base']!)).toBeGreaterThan(0.05)
    const merged = mergeAdapter(tuned)
    expect(merged.proto.graph!.node.length).toBe(base.proto.graph!.node.length)
    // Trained further, it starts where PEFT ended.
    expect(Buffer.compare(encodeModel(removeAdapter(tuned)), encodeModel(base))).toBe(0)
    expect(adapterOf(tuned).scalings).toEqual(adapter.scalings)
  })

  it('has the gradients of PEFT', async () => {
    const { training, parameters } = buildTrainingGraphs(importGraph(tuned), { loss: mse() })
    expect([...parameters.keys()].toSorted()).toEqual(['conv', 'down_proj', 'k_proj'].map((name) => `${name}.ia3_l`))
    const inputs = new Map([...training.inputs].filter(([name]) => !parameters.has(name)))
    const { dims } = golden['ia3']!
    const targets: Tensor = { dtype: 'float32', dims, data: new Float32Array(numbers(golden['ia3']!).length) }
    const results = await run(encodeModel(modelOf({ ...training, inputs })), { x, targets })
    for (const name of parameters.keys()) {
      const expected = golden[`ia3/grad/base_model.model.${name}`]!
      expect(differenceOf(numbers(results[`grad/${name}`]!), numbers(expected)), name).toBeLessThan(1e-4)
    }
  })

  it('new > computes what the base computes; a folder is read back, and has the settings of PEFT', async () => {
    const fresh = ia3(base, options)
    expect(numbers(await output(fresh))).toEqual(numbers(await output(base)))
    const files = encodePeft(adapterOf(tuned))
    expect(decodePeft(files).adapter).toEqual({ ...adapter, config: { ...adapter.config, targets: expect.anything() } })
    const settings = (bytes: Uint8Array) => JSON.parse(new TextDecoder().decode(bytes))
    const [own, peft] = [files, readGoldenFolder('ia3')].map((each) => settings(each['adapter_config.json']!))
    for (const key of ['peft_type', 'feedforward_modules', 'fan_in_fan_out', 'modules_to_save'])
      expect(own[key], key).toEqual(peft[key])
    expect(own.target_modules.toSorted()).toEqual(peft.target_modules)
  })

  it('feedforward_modules as a regular expression > that of whole paths', () => {
    const files = readGoldenFolder('ia3')
    const of = (expression: string) => {
      const config = { ...JSON.parse(new TextDecoder().decode(files['adapter_config.json']!)) }
      const bytes = new TextEncoder().encode(JSON.stringify({ ...config, feedforward_modules: expression }))
      const { scalings } = decodePeft({ ...files, 'adapter_config.json': bytes }).adapter
      return scalings!.filter(({ of }) => of === 'inputs').map(({ module }) => module)
    }
    expect(of('down_.*')).toEqual(['down_proj'])
    expect(of('own_proj')).toEqual([])
    expect(thrownMessage('invalid-data', () => of('('))).toContain('feedforward_modules')
  })

  it('over packed query, key and value, and over 4 bits > the base, until factors change', async () => {
    for (const name of [
      'packed qkv_proj',
      'MatMulNBits of 4 bits with zero points',
      'MatMulNBits with a bias',
      'DequantizeLinear and MatMul, by column',
      'DequantizeLinear in blocks, Transpose and MatMul',
      'MatMul whose module is computed twice',
    ]) {
      const { model, feeds, modules, isFloat } = forms.find((each) => each.name === name)!
      const targets = modules.slice(-2)
      const fresh = ia3(model, { targets })
      const [before, after] = [await run(encodeModel(model), feeds), await run(encodeModel(fresh), feeds)]
      expect(numbers(after['y']!), name).toEqual(numbers(before['y']!))
      expect(Buffer.compare(encodeModel(removeAdapter(fresh)), encodeModel(model))).toBe(0)
      const { scalings = [], ...rest } = adapterOf(fresh)
      const changed = applyAdapter(model, { ...rest, scalings: scalings.map(withOtherFactors) })
      const beside = (await run(encodeModel(changed), feeds))['y']!
      expect(difference(beside, before['y']!), name).toBeGreaterThan(0.01)
      const merged = mergeAdapter(changed)
      expect(difference((await run(encodeModel(merged), feeds))['y']!, beside), name).toBeLessThan(1e-5)
      expect(merged.proto.graph!.node.length, name).toBe(model.proto.graph!.node.length)
      if (isFloat) continue
      // The elements of the weight are unchanged, and not quantized again.
      const [old, found] = [namedTensors(model), namedTensors(merged)]
      expect(found.get('q')!.data, name).toEqual(old.get('q')!.data)
      const scales = old.has('s') ? 's' : 'scales'
      expect(numbers(found.get(scales)!), name).not.toEqual(numbers(old.get(scales)!))
    }
  })

  it.each(['all-linear', '.*\\.(k|v)_proj'])('target_modules %j in place of a list > is read', (target_modules) => {
    const files = encodePeft(adapterOf(tuned))
    const config = JSON.parse(new TextDecoder().decode(files['adapter_config.json']!))
    const text = new TextEncoder().encode(JSON.stringify({ ...config, target_modules }))
    const read = decodePeft({ ...files, 'adapter_config.json': text }).adapter
    expect(read.scalings).toEqual(adapter.scalings)
    expect(read.config.targets).toBe(target_modules)
  })

  it.each([[[]], [[1]], [[2, 1]], [[1, 5]]])('a bias %j of a Gemm > is merged for each output', async (dims) => {
    const [x, weight] = [input('x', 'float32', [2, 8]), parameter('fc', draw('float32', [8, 5]))]
    const y = op.Gemm(x, weight, parameter('fc.bias', draw('float32', dims)))
    const model = modelOf({ name: 'fc', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) })
    const feeds = { x: draw('float32', [2, 8]) }
    const { scalings = [], ...rest } = adapterOf(ia3(model, { targets: 'fc' }))
    const changed = applyAdapter(model, { ...rest, scalings: scalings.map(withOtherFactors) })
    const [beside, merged] = [await runModel(changed, feeds), await runModel(mergeAdapter(changed), feeds)]
    expect(difference(merged['y']!, beside['y']!)).toBeLessThan(1e-5)
  })

  /** x -> down_proj (sigmoid(gate_proj x) up_proj x) over 4 bits. */
  const quantizedMlp = () => {
    const random = new Random(6).stream('mlp')
    const weight = (name: string, ...dims: readonly number[]) =>
      parameter(name, tensorFrom('float32', dims, random.fill(new Float64Array(sizeOf(dims)), 'normal')))
    const x = input('x', 'float32', ['N', 32])
    const gate = op.Sigmoid(op.MatMul(x, weight('gate_proj', 32, 48)))
    const up = op.Add(op.MatMul(x, weight('up_proj', 32, 48)), weight('up_proj.bias', 48))
    const y = op.MatMul(op.Mul(gate, up), weight('down_proj', 48, 16))
    return quantizeModel(modelOf({ name: 'mlp', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) }), {
      blockSize: 16,
    })
  }

  it('of inputs over 4 bits > merged into the scales of the outputs that are multiplied before', async () => {
    const model = quantizedMlp()
    const feeds = { x: draw('float32', [5, 32]) }
    const { scalings = [], ...rest } = adapterOf(ia3(model, { targets: 'down_proj', feedforward: 'down_proj' }))
    const changed = applyAdapter(model, { ...rest, scalings: scalings.map(withOtherFactors) })
    const beside = (await runModel(changed, feeds))['y']!
    expect(difference(beside, (await runModel(model, feeds))['y']!)).toBeGreaterThan(0.01)
    for (const merged of [mergeAdapter(changed), mergeQuantized(changed)]) {
      expect(difference((await runModel(merged, feeds))['y']!, beside)).toBeLessThan(1e-5)
      const [old, found] = [namedTensors(model), namedTensors(merged)]
      const differing = [...found].filter(([name, tensor]) =>
        numbers(tensor).some((v, i) => v !== numbers(old.get(name)!)[i]),
      )
      expect(differing.map(([name]) => name).toSorted()).toEqual(['up_proj.bias', 'up_proj_scales'])
    }
  })

  it('that scales cannot take > refused with the reason', () => {
    const refuse = (model: Model, options: Ia3Options) => {
      const { scalings = [], ...rest } = adapterOf(ia3(model, options))
      const changed = applyAdapter(model, { ...rest, scalings: scalings.map(withOtherFactors) })
      return thrownMessage('invalid-option', () => mergeAdapter(changed))
    }
    expect(refuse(quantizedMlp(), { targets: 'up_proj', feedforward: 'up_proj' })).toMatch(
      /up_proj.*several inputs.*Mul/,
    )
    const columns = forms.find(({ name }) => name === 'DequantizeLinear and MatMul, by column')!.model
    expect(refuse(columns, { targets: 'layer', feedforward: 'layer' })).toMatch(/layer.*several inputs/)
  })

  it('of a trainer > is that of ia3, with its options only', async () => {
    const { model } = await createStartModel(base, { adapter: { kind: 'ia3', ...options } })
    expect(Buffer.compare(encodeModel(model), encodeModel(ia3(base, options)))).toBe(0)
    const refuse = (adapter: AdapterOptions) =>
      rejectedMessage('invalid-option', () => createStartModel(base, { adapter }))
    expect(await refuse({ kind: 'ia3', r: 4 })).toContain("'r'")
    expect(await refuse({ feedforward: 'down_proj' })).toContain("'feedforward'")
    expect(await refuse({ kind: 'loha' as 'lora' })).toContain("'loha'")
  })

  it('what cannot have factors, or hold them > typed errors', () => {
    const packed = forms.find(({ name }) => name === 'packed qkv_proj')!
    const refused = expect.objectContaining({ code: 'invalid-option' })
    // The option, its value, and what to change.
    const refusals: readonly (readonly [() => unknown, ...string[]])[] = [
      [() => ia3(packed.model, { targets: 'v_proj', feedforward: 'v_proj' }), "'feedforward'", 'v_proj', 'qkv_proj'],
      [() => ia3(base), "'targets'", "'v_proj'"],
      [() => ia3(base, { ...options, feedforward: 'other' }), "'feedforward'", "'other'", '--adapter-targets'],
      [() => ia3(base, { targets: 'k_proj', feedforward: 'down_proj' }), "'feedforward'", "'down_proj'", "'targets'"],
      [() => ia3(base, { targets: 'conv', modulesToSave: 'conv' }), "'modulesToSave'", 'conv'],
      [() => ia3(base, { ...options, modulesToSave: 'other' }), "'modulesToSave'", "'other'"],
      [() => ia3(embedding, { targets: 'embed' }), 'embed', "'targets'", 'lora'],
    ]
    for (const [action, ...parts] of refusals)
      for (const part of parts) expect(thrownMessage('invalid-option', action)).toContain(part)
    expect(() => ia3(tuned, options)).toThrow(refused)
    expect(() => makeLoraReady(tuned)).toThrow(refused)
    const invalid = expect.objectContaining({ code: 'invalid-data' })
    expect(thrownMessage('invalid-data', () => encodeOnnxAdapter(adapter))).toContain('(IA)^3')
    const [first] = adapter.scalings!
    const short = { ...first!, factors: { dtype: 'float32', dims: [1, 1], data: new Float32Array(1) } as Tensor }
    expect(() => applyAdapter(base, { ...adapter, scalings: [short] })).toThrow(invalid)
  })
})

describe('computeSingularVectors', () => {
  it.each([
    [7, 5, 5],
    [5, 40, 3],
    [60, 50, 4],
  ])('of a matrix [%i, %i] > %i values and vectors that W maps to each other', (rows, columns, count) => {
    const w = new Random(2).stream('w').fill(new Float64Array(rows * columns), 'normal')
    const { values, left, right } = computeSingularVectors(w, rows, columns, count)
    expect(values).toHaveLength(count)
    expect(values).toEqual([...values].sort((a, b) => b - a))
    for (const [k, value] of values.entries()) {
      const image = Array.from({ length: rows }, (_, i) =>
        Array.from({ length: columns }, (_, j) => w[i * columns + j]! * right[k]![j]!).reduce((s, v) => s + v, 0),
      )
      expect(
        differenceOf(
          image,
          Array.from(left[k]!, (u) => value * u),
        ),
      ).toBeLessThan(1e-3)
    }
    // The squares of all singular values add up to those of the elements.
    const total = w.reduce((sum, value) => sum + value ** 2, 0)
    const sum = values.reduce((s, value) => s + value ** 2, 0)
    if (count === Math.min(rows, columns)) expect(sum / total).toBeCloseTo(1, 10)
    else expect(sum).toBeLessThan(total)
  })
})
