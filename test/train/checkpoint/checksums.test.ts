import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { mlp } from '../../../models/mlp.js'
import { fromExamples, paddedColumn, subset, withSampleWeights } from '../../../src/data/index.js'
import { modelOf, op, parameter } from '../../../src/graph/index.js'
import {
  accuracy,
  adamw,
  augment,
  type CheckpointStore,
  crossEntropy,
  type Dataset,
  decodeModel,
  encodeModel,
  fromArrays,
  type Loss,
  type Model,
  modelFromCheckpoint,
  mse,
  namedTensors,
  replaceTensors,
  split,
  stream,
  Trainer,
  type TrainerOptions,
  topK,
} from '../../../src/index.js'
import { decodeSafetensors, encodeSafetensors } from '../../../src/ir/safetensors.js'
import { node } from '../../../src/node/index.js'
import { create } from '../../../src/onnx/proto/message.js'
import { cpuTimeOf } from '../../cpu-time.js'
import { memoryStore } from '../memory-store.js'
import { clusters, modelFrom, smallMlp } from '../problem.js'

const runtime = node({ threads: 1 })
afterAll(() => runtime.dispose())

const data = clusters(40, [6])
const names = [...namedTensors(smallMlp()).keys()]
const [first, last] = [names[0]!, names.at(-1)!]
const base: TrainerOptions = { loss: crossEntropy(), optimizer: adamw(), runtime, batchSize: 8, trainable: [last] }
const anotherRun = expect.objectContaining({ code: 'checkpoint' })

/** Trains three steps, and returns the store with its checkpoint. */
async function trained(model: Model, options: TrainerOptions, on: Dataset = data) {
  const store = memoryStore()
  const trainer = await Trainer.create(model, options)
  await trainer.train(on, { totalSteps: 3, checkpoints: { store } })
  await trainer.dispose()
  return store
}

/** Resumes, and trains two further steps. */
async function resumed(
  store: CheckpointStore,
  model: Model,
  options: TrainerOptions,
  on = data as Parameters<Trainer['train']>[0],
) {
  const trainer = await Trainer.create(model, options)
  try {
    await trainer.resume(store)
    await trainer.train(on, { totalSteps: 5 })
  } finally {
    await trainer.dispose()
  }
}

/** A model with another value in one element of a tensor. */
function changed(model: Model, name: string): Model {
  const { dtype, dims, data } = namedTensors(model).get(name)!
  const elements = Float32Array.from(data as Float32Array)
  elements[elements.length - 1]! += 2 ** -20
  return replaceTensors(model, new Map([[name, { dtype, dims, data: elements }]]))
}

describe('model', () => {
  let store: ReturnType<typeof memoryStore>
  beforeAll(async () => {
    store = await trained(smallMlp(), base)
  })

  it('with one other frozen value > resume and modelFromCheckpoint throw and name the tensor', async () => {
    const other = changed(smallMlp(), first)
    const error = expect.objectContaining({ code: 'checkpoint', message: expect.stringContaining(`'${first}'`) })
    await expect(resumed(store, other, base)).rejects.toEqual(error)
    expect(() => modelFromCheckpoint(other, store.saved.get(3)!)).toThrow(error)
  })

  it('of a run that trained other tensors > resume throws, names them and says what to do', async () => {
    const store = await trained(smallMlp(), base)
    const message = expect.objectContaining({
      code: 'checkpoint',
      message: expect.stringMatching(new RegExp(`this run also trains '${first}'.*by trainable`)),
    })
    await expect(resumed(store, smallMlp(), { ...base, trainable: [first, last] })).rejects.toEqual(message)
    const more = await trained(smallMlp(), { ...base, trainable: [first, last] })
    const fewer = expect.objectContaining({ message: expect.stringContaining(`only the checkpoint trains '${first}'`) })
    await expect(resumed(more, smallMlp(), base)).rejects.toEqual(fewer)
  })

  it('with another activation > resume and modelFromCheckpoint throw', async () => {
    const { proto } = smallMlp()
    const graph = proto.graph!
    const nodes = graph.node.map((each) =>
      each.opType === 'Relu' ? create('NodeProto', { ...each, opType: 'Tanh' }) : each,
    )
    const other = {
      proto: create('ModelProto', { ...proto, graph: create('GraphProto', { ...graph, node: nodes }) }),
      external: null,
    }
    expect(nodes.some(({ opType }) => opType === 'Tanh')).toBe(true)
    await expect(resumed(store, other, base)).rejects.toEqual(anotherRun)
    expect(() => modelFromCheckpoint(other, store.saved.get(3)!)).toThrow(anotherRun)
  })

  it('that differs in trained values, comments and its file only > is the same', async () => {
    const { proto, external } = decodeModel(encodeModel(changed(smallMlp(), last)))
    const other = { proto: create('ModelProto', { ...proto, docString: 'a copy', producerName: 'another' }), external }
    await resumed(store, other, base)
    modelFromCheckpoint(other, store.saved.get(3)!)
  })

  it('checkpoint of version 0.2, without checksums > resumes with any model', async () => {
    const { tensors, metadata } = decodeSafetensors(store.saved.get(3)!)
    const { sources, ...old } = metadata
    expect(Object.keys(JSON.parse(sources!))).toEqual(expect.arrayContaining(['graph', 'tensors', 'loss', 'data']))
    const before = memoryStore()
    await before.save(3, encodeSafetensors({ tensors, metadata: old }))
    await resumed(before, changed(smallMlp(), first), base, clusters(40, [6], 9))
    modelFromCheckpoint(changed(smallMlp(), first), before.saved.get(3)!)
  })

  it('checkpoint of version 0.2, with the metrics of its interval in `round` > resumes to the same metrics', async () => {
    const store = memoryStore()
    const trainer = await Trainer.create(smallMlp(), base)
    await trainer.train(data, { totalSteps: 5, checkpoints: { store, everySteps: 2 } })
    await trainer.dispose()
    const { tensors, metadata } = decodeSafetensors(store.saved.get(2)!)
    const { interval, ...progress } = JSON.parse(metadata['progress']!)
    const old = { ...metadata, progress: JSON.stringify({ ...progress, round: interval }) }
    const losses = await Promise.all(
      [metadata, old].map(async (each) => {
        const before = memoryStore()
        await before.save(2, encodeSafetensors({ tensors, metadata: each }))
        const trainer = await Trainer.create(smallMlp(), base)
        await trainer.resume(before)
        const last = await trainer.train(data, { totalSteps: 5 })
        await trainer.dispose()
        return last!.loss
      }),
    )
    expect(interval.weight).toBe(16)
    expect(losses[1]).toBe(losses[0])
  })
})

describe('loss and metrics', () => {
  it.each<[string, TrainerOptions]>([
    ['with label smoothing', { ...base, loss: crossEntropy({ labelSmoothing: 0.1 }) }],
    ['with class weights', { ...base, loss: crossEntropy({ classWeights: [1, 2, 1] }) }],
    ['of one’s own, twice as large', { ...base, loss: doubled(crossEntropy()) }],
    ['of another kind', { ...base, loss: mse({ targets: 'labels' }) }],
  ])('a loss %s > throws', async (_, options) => {
    const model = options.loss.name === 'mse' ? sameSize() : smallMlp()
    const store = await trained(model, { ...base, trainable: 'weights' })
    await expect(resumed(store, model, { ...options, trainable: 'weights' })).rejects.toEqual(anotherRun)
    await resumed(store, model, { ...base, loss: crossEntropy(), trainable: 'weights' })
  })

  it('metrics > count only if they select the best weights', async () => {
    const validation = clusters(9, [6], 5)
    const run = async (options: TrainerOptions, other: TrainerOptions) => {
      const store = memoryStore()
      const trainer = await Trainer.create(smallMlp(), options)
      await trainer.train(data, { totalSteps: 3, validation, checkpoints: { store } })
      const next = await Trainer.create(smallMlp(), other)
      try {
        await next.resume(store)
      } finally {
        await Promise.all([trainer.dispose(), next.dispose()])
      }
    }
    const [one, two] = [[accuracy()], [accuracy(), topK(2)]]
    await run({ ...base, metrics: one }, { ...base, metrics: two })
    const best = { metric: 'accuracy' }
    await expect(run({ ...base, metrics: one, best }, { ...base, metrics: two, best })).rejects.toEqual(anotherRun)
  })

  function doubled(loss: Loss): Loss {
    return {
      name: loss.name,
      build: (outputs) => ((built) => ({ ...built, loss: op.Mul(built.loss, 2) }))(loss.build(outputs)),
    }
  }

  /** A classifier whose output has the size of its input. */
  const sameSize = () => modelFrom(mlp({ features: 6, hidden: [8], classes: 6, seed: 1 }))
})

describe('data', () => {
  const x = Float32Array.from({ length: 12 }, (_, i) => i)
  const labels = BigInt64Array.of(0n, 1n)
  const arrays = (values: Float32Array) => fromArrays({ x: { dims: [2, 6], data: values }, labels })
  const rows = (value: number) => [{ x: Float32Array.of(1, value), label: 1n }]

  it.each<[string, (value: number) => Dataset]>([
    ['arrays', (value) => arrays(x.with(11, value))],
    ['examples', (value) => fromExamples(rows(value))],
    ['padded rows', (value) => fromArrays({ tokens: paddedColumn([[1, value], [2]]) })],
    ['subset', (value) => subset(arrays(x), [0, value - 7])],
    ['split', (value) => split(clusters(40, [6]), { validation: 0.5, seed: value }).train],
    ['sample weights', (value) => withSampleWeights(arrays(x), [1, value])],
    ['augmentation of other data', (value) => augment(arrays(x.with(3, value)), (batch) => batch)],
  ])('%s > the checksum depends on the content only', async (_, create) => {
    expect(await create(7).checksum!()).toMatch(/^[0-9a-f]{8}$/)
    expect(await create(7).checksum!()).toBe(await create(7).checksum!())
    expect(await create(8).checksum!()).not.toBe(await create(7).checksum!())
  })

  it('other values in training or validation data > fit throws before a step', async () => {
    const [validation, other] = [clusters(9, [6], 5), clusters(9, [6], 6)]
    const store = memoryStore()
    const trainer = await Trainer.create(smallMlp(), base)
    await trainer.train(data, { totalSteps: 3, validation, checkpoints: { store } })
    const next = await Trainer.create(smallMlp(), base)
    for (const [training, held] of [
      [clusters(40, [6], 9), validation],
      [subset(data, { end: 39 }), validation],
      [data, other],
    ] as const) {
      await next.resume(store)
      await expect(next.train(training, { totalSteps: 5, validation: held })).rejects.toEqual(anotherRun)
      expect(next.step).toBe(3)
      // The data are not forgotten by a failed attempt.
      await expect(next.train(training, { totalSteps: 5, validation: held })).rejects.toEqual(anotherRun)
    }
    // The same examples from another object; further data within one process are allowed.
    await next.train(clusters(40, [6]), { totalSteps: 5, validation })
    await next.train(clusters(40, [6], 9), { totalSteps: 7 })
    await Promise.all([trainer.dispose(), next.dispose()])
  })

  it('data and streams of one’s own > are compared by their length, or by a checksum of one’s own', async () => {
    const own = (seed: number, sum?: string): Dataset => {
      const { length, batch } = clusters(40, [6], seed)
      return { length, batch, checksum: sum === undefined ? undefined : () => sum }
    }
    await resumed(await trained(smallMlp(), base, own(1)), smallMlp(), base, own(2))
    await resumed(await trained(smallMlp(), base, own(1, 'a')), smallMlp(), base, own(2, 'a'))
    await expect(resumed(await trained(smallMlp(), base, own(1, 'a')), smallMlp(), base, own(1, 'b'))).rejects.toEqual(
      anotherRun,
    )
    const examples = stream(async function* () {
      for (let i = 0; i < 40; i++) yield { x: Float32Array.from({ length: 6 }, () => i), labels: BigInt(i % 3) }
    })
    await resumed(await trained(smallMlp(), base, examples as never), smallMlp(), base, examples)
  })
})

it('a large frozen tensor > is read once, in less than two seconds per 100 MB', async () => {
  const large = parameter('large', { dtype: 'float32', dims: [25 * 2 ** 20], data: new Float32Array(25 * 2 ** 20) })
  const { inputs, outputs } = mlp({ features: 6, hidden: [8], classes: 3, seed: 1 })
  const [[name, y]] = [...outputs] as [[string, typeof large]]
  const scaled = op.Add(y, op.ReduceMax(large, null, { keepdims: 0 }))
  const model = modelOf({ name: 'large', inputs, outputs: new Map([[name, scaled]]) })
  const trainer = await Trainer.create(model, base)
  const { result: checkpoint, seconds: once } = await cpuTimeOf(() => trainer.checkpoint())
  const { seconds: tenTimes } = await cpuTimeOf(() => {
    for (let i = 0; i < 10; i++) trainer.restore(checkpoint)
  })
  expect(once).toBeLessThan(2)
  expect(tenTimes).toBeLessThan(10 * Math.max(0.02, once / 2))
  await trainer.dispose()
})
