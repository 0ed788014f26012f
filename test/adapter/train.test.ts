import { describe, expect, it } from 'vitest'
import { llama } from '../../models/llama.js'
import {
  adapterOf,
  applyAdapter,
  type LoraOptions,
  lora,
  mergeAdapter,
  removeAdapter,
} from '../../src/adapter/index.js'
import {
  adamw,
  decodeModel,
  encodeModel,
  fromArrays,
  type IreOptions,
  ire,
  type Model,
  mse,
  namedTensors,
  type Tensor,
  type TrainerOptions,
} from '../../src/index.js'
import { tensorFrom } from '../../src/ir/leaf.js'
import { edit } from '../../src/onnx/proto/message.js'
import { toTensorProto } from '../../src/onnx/proto/tensor.js'
import { Random } from '../../src/util/random.js'
import { info, int, modelBytes, node } from '../onnx/build.js'
import { difference, numbers } from '../onnx/session.js'
import { clusters, flat, modelFrom, smallMlp } from '../train/problem.js'
import { startTrainers, train } from '../train/small-trainer.js'
import { drawing, imports, randomAdapter } from './forms.js'

const draw = drawing(new Random(4))

const { create } = startTrainers()
const points = clusters(40, [6])

const language = { vocabulary: 16, context: 6, width: 16, heads: 2, layers: 2, hidden: 24 }
/** Sentences that count on from where they begin. */
const sentences = () => {
  const column = (first: number): Tensor =>
    tensorFrom(
      'int64',
      [32, 6],
      Array.from({ length: 192 }, (_, i) => (first + Math.floor(i / 6) + (i % 6)) % 16),
    )
  return fromArrays({ tokens: column(0), labels: column(1) })
}

/** Trains 20 steps, and returns the losses with the tuned model. */
async function tune(model: Model, data = points, options: Partial<TrainerOptions> = {}) {
  const trainer = await create({ optimizer: adamw({ lr: 2e-2 }), batchSize: 8, ...options }, model)
  const losses = (await train(trainer, data, { totalSteps: 20, evaluateEvery: 1 })).map(({ loss }) => loss)
  const names = Object.keys(await trainer.parameters())
  const tuned = trainer.export()
  await trainer.dispose()
  return { losses, names, tuned }
}

describe('training a model with an adapter', () => {
  it.each<readonly [string, Model, LoraOptions, typeof points]>([
    ['an MLP', smallMlp(), { r: 4 }, points],
    ['an MLP, with DoRA', smallMlp(), { r: 4, dora: true }, points],
    ['an MLP, with dropout', smallMlp(), { r: 4, dropout: 0.2 }, points],
    ['a transformer', modelFrom(llama(language)), { r: 4, targets: ['all-linear', 'head', 'embedding'] }, sentences()],
  ])('%s > learns, and changes the adapter only', async (_, model, options, data) => {
    const bytes = encodeModel(model)
    const { losses, names, tuned } = await tune(lora(decodeModel(bytes), options), data)
    expect(losses).toHaveLength(20)
    expect(losses.at(-1)).toBeLessThan(0.9 * losses[0]!)
    expect(names.every((name) => name.includes('.lora_'))).toBe(true)
    expect(Buffer.compare(encodeModel(removeAdapter(tuned)), bytes)).toBe(0)
    for (const { b } of adapterOf(tuned).layers) expect(numbers(b).some((x) => x !== 0)).toBe(true)
  })

  it('tensors can be chosen: with the head, and only B', async () => {
    const model = lora(smallMlp(), { r: 2, targets: 'hidden0' })
    const withHead = await tune(model, points, { trainable: ['*.lora_*.weight', 'head.*'] })
    expect(withHead.names).toEqual(
      ['hidden0.lora_A.weight', 'hidden0.lora_B.weight', 'head.weight', 'head.bias'].toSorted(byModel(model)),
    )
    expect((await tune(model, points, { trainable: '*.lora_B.weight' })).names).toEqual(['hidden0.lora_B.weight'])
  })

  it('groups > give B another learning rate (LoRA+)', async () => {
    const model = lora(smallMlp(), { r: 2 })
    const { tuned } = await tune(model, points, { groups: [{ tensors: '*.lora_A.weight', lr: 0 }] })
    for (const [k, { a, b }] of adapterOf(tuned).layers.entries()) {
      expect(numbers(a)).toEqual(numbers(adapterOf(model).layers[k]!.a))
      expect(numbers(b).some((x) => x !== 0)).toBe(true)
    }
  })

  it('dropout > is active in training and not in evaluation, and depends on the seed', async () => {
    const model = applyAdapter(smallMlp(), {
      ...randomAdapter(smallMlp(), ['hidden0', 'head']),
      config: { r: 2, alpha: 3, dropout: 0.5 },
    })
    const first = async (seed: number) => (await tune(model, points, { seed })).losses[0]!
    expect(await first(1)).toBe(await first(1))
    const trainer = await create({}, model)
    const plain = await create({}, mergeAdapter(model))
    const { loss } = await trainer.evaluate(points)
    expect(loss).toBeCloseTo((await plain.evaluate(points)).loss, 5)
    const [interval] = await train(trainer, points, { totalSteps: 1, evaluateEvery: 1 })
    const [without] = await train(plain, points, { totalSteps: 1, evaluateEvery: 1 })
    expect(Math.abs(interval!.loss - without!.loss)).toBeGreaterThan(1e-3)
    await Promise.all([trainer.dispose(), plain.dispose()])
  })

  it.each<readonly [NonNullable<IreOptions['curvature']>, LoraOptions]>([
    ['sampled', { r: 4 }],
    ['empirical', { r: 4, dora: true }],
    ['hutchinson', { r: 4, dora: true }],
  ])(
    'IRE with %s curvature, %j > learns, and takes other steps than its base optimizer',
    async (curvature, options) => {
      const optimizer = ire(adamw({ lr: 2e-2 }), { kappa: 2, gamma: 0.8, interval: 5, curvature })
      const plain = await tune(lora(smallMlp(), options))
      const enhanced = await tune(lora(smallMlp(), options), points, { optimizer })
      expect(enhanced.losses.at(-1)).toBeLessThan(0.9 * enhanced.losses[0]!)
      expect(flat(tensorsOf(enhanced.tuned))).not.toEqual(flat(tensorsOf(plain.tuned)))
    },
  )
})

const byModel = (model: Model) => {
  const names = [...namedTensors(model).keys()]
  return (a: string, b: string) => names.indexOf(a) - names.indexOf(b)
}

const tensorsOf = (model: Model) =>
  Object.fromEntries(
    adapterOf(model).layers.flatMap(({ module, a, b }) => [
      [`${module} A`, numbers(a)],
      [`${module} B`, numbers(b)],
    ]),
  )

describe('training over a quantized base', () => {
  const width = 32
  const bytes = (factor: number) =>
    tensorFrom(
      'uint8',
      [width, 2, 8],
      Array.from({ length: width * 16 }, (_, i) => (i * factor + (i >> 3)) % 256),
    )
  const scales = tensorFrom(
    'float32',
    [width, 2],
    Array.from({ length: 2 * width }, (_, i) => 0.02 + 0.001 * (i % 7)),
  )

  /** Two layers of 4 bits, with a Tanh between them. */
  const quantized = (dtype: 'float32' | 'float16'): Model => {
    const attributes = { K: int(width), N: int(width), bits: int(4), block_size: int(16), accuracy_level: int(4) }
    const layer = (name: string, inputs: string, output: string) => ({
      ...node('MatMulNBits', inputs, output, attributes, 'com.microsoft'),
      name: `/${name}/MatMul_Q4`,
    })
    return decodeModel(
      modelBytes(
        {
          nodes: [layer('up', 'x q1 s', 'h'), node('Tanh', 'h', 't'), layer('down', 't q2 s', 'y')],
          inputs: [info('x', ['N', width], dtype)],
          outputs: [info('y', ['N', width], dtype)],
          initializers: { q1: bytes(37), q2: bytes(41), s: tensorFrom(dtype, scales.dims, numbers(scales)) },
        },
        { opset: 21, more: imports(21) },
      ),
    )
  }

  /** The same model with float weights [in, out]: (q - 8) s. */
  const dequantized = (): Model => {
    const weight = (factor: number) => {
      const q = numbers(bytes(factor))
      const at = (out: number, i: number) => {
        const byte = q[(out * 2 + Math.floor(i / 16)) * 8 + ((i % 16) >> 1)]!
        return ((i % 2 === 0 ? byte & 15 : byte >> 4) - 8) * numbers(scales)[out * 2 + Math.floor(i / 16)]!
      }
      return tensorFrom(
        'float32',
        [width, width],
        Array.from({ length: width * width }, (_, k) => at(k % width, Math.floor(k / width))),
      )
    }
    const layer = (name: string, inputs: string, output: string) => ({
      ...node('MatMul', inputs, output),
      name: `/${name}/MatMul`,
    })
    return decodeModel(
      modelBytes({
        nodes: [layer('up', 'x w1', 'h'), node('Tanh', 'h', 't'), layer('down', 't w2', 'y')],
        inputs: [info('x', ['N', width])],
        outputs: [info('y', ['N', width])],
        initializers: { w1: weight(37), w2: weight(41) },
      }),
    )
  }

  const targets = draw('float32', [16, width])
  const data = fromArrays({ x: draw('float32', [16, width], 0.5), targets })
  const adapter = randomAdapter(dequantized(), ['up', 'down'], 4)
  // Every loss is that of all examples.
  const options = { loss: mse(), optimizer: adamw({ lr: 1e-2 }), batchSize: 16 }

  it('gives the adapter of the dequantized model', async () => {
    const small = { ...adapter, layers: adapter.layers.map((layer) => ({ ...layer, scale: 0.1 })) }
    const [over4Bits, overFloats] = [
      await tune(applyAdapter(quantized('float32'), small), data, options),
      await tune(applyAdapter(dequantized(), small), data, options),
    ]
    expect(over4Bits.losses.at(-1)).toBeLessThan(0.9 * over4Bits.losses[0]!)
    const expected = adapterOf(overFloats.tuned).layers
    for (const [k, { module, a, b }] of adapterOf(over4Bits.tuned).layers.entries()) {
      expect(module).toBe(expected[k]!.module)
      expect(difference(a, expected[k]!.a)).toBeLessThan(1e-4)
      expect(difference(b, expected[k]!.b)).toBeLessThan(1e-4)
    }
  })

  it('in float16 > trains in float32, and exports float16', async () => {
    const half = fromArrays({ x: draw('float32', [16, width], 0.5), targets })
    const { losses, tuned } = await tune(lora(quantized('float16'), { r: 4 }), half, options)
    expect(losses.at(-1)).toBeLessThan(losses[0]!)
    for (const { a, b } of adapterOf(tuned).layers) expect([a.dtype, b.dtype]).toEqual(['float16', 'float16'])
  })
})

describe('merging', () => {
  /** An embedding and an output layer that share one weight. */
  const tied = (): Model => {
    const embed = { ...node('Gather', 'w ids', 'e'), name: '/embed/Gather' }
    const head = { ...node('MatMul', 'e t', 'y'), name: '/lm_head/MatMul' }
    return decodeModel(
      modelBytes({
        nodes: [embed, node('Transpose', 'w', 't'), head],
        inputs: [info('ids', [2], 'int64')],
        outputs: [info('y')],
        initializers: { w: draw('float32', [5, 4]) },
      }),
    )
  }

  it('a shared weight > remains; the layer reads a changed copy', () => {
    const model = tied()
    const merged = mergeAdapter(applyAdapter(model, randomAdapter(model, ['lm_head'])))
    const [before, after] = [namedTensors(model), namedTensors(merged)]
    expect(numbers(after.get('w')!)).toEqual(numbers(before.get('w')!))
    expect([...after.keys()]).toEqual(['w', 'lm_head.merged_weight'])
    expect(after.get('lm_head.merged_weight')!.dims).toEqual([4, 5])
  })

  it('a model whose adapter another program has changed > is refused', () => {
    const model = lora(smallMlp(), { r: 2 })
    const graph = model.proto.graph!
    const fused = graph.node.filter(({ output }) => !output[0]!.includes('lora_base'))
    const changed = { ...model, proto: edit(model.proto, { graph: edit(graph, { node: fused }) }) }
    expect(() => removeAdapter(changed)).toThrow(expect.objectContaining({ code: 'invalid-model' }))
  })

  it('names that the model has already > are refused', () => {
    const model = smallMlp()
    const graph = model.proto.graph!
    const initializer = [...graph.initializer, toTensorProto('head.lora_A.weight', draw('float32', [1]))]
    const taken = { ...model, proto: edit(model.proto, { graph: edit(graph, { initializer }) }) }
    expect(() => lora(taken)).toThrow(expect.objectContaining({ code: 'invalid-model' }))
  })
})
