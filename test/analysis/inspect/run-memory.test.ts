import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { inspectModel } from '../../../src/analysis/inspect/inspect.js'
import { estimateRun, type RunSize, runMemory } from '../../../src/analysis/inspect/run-memory.js'
import { input, modelOf, op, parameter } from '../../../src/graph/index.js'
import { adamw, crossEntropy, ire, type Model, type Optimizer, sam, sgd } from '../../../src/index.js'
import { readModel, writeModel } from '../../../src/node/index.js'

const MiB = 2 ** 20
const bytes = 400 * MiB
const size = (optimizer: Optimizer, changes: Partial<RunSize> = {}): RunSize => ({
  model: bytes,
  trained: { bytes, elements: bytes / 4 },
  nodes: 0,
  batch: MiB,
  arenas: { training: 0, evaluation: 0, update: 0 },
  optimizer,
  copies: 0,
  ...changes,
})
const [plain, adam] = [sgd({ lr: 0.1 }), adamw({ lr: 0.1 })]
const options = { kappa: 2, gamma: 0.8, interval: 10 }

describe('memory of a run', () => {
  test('sgd > weights on both threads, two sets of gradients, a checkpoint', () => {
    expect(runMemory(size(plain))).toMatchObject({
      weights: 2 * bytes,
      optimizer: plain.moments.length * bytes,
      gradients: 2 * bytes,
      batches: 3 * MiB,
      checkpoint: (1 + plain.moments.length) * bytes,
    })
  })

  test('adam with IRE > two moments, two masks during a refresh, the curvature gradient', () => {
    expect(runMemory(size(ire(adam, options)))).toMatchObject({
      optimizer: 2 * bytes + 2 * (bytes / 4),
      gradients: 3 * bytes,
      checkpoint: 3 * bytes + bytes / 4,
    })
    expect(runMemory(size(ire(adam, { ...options, curvature: 'empirical' }))).gradients).toBe(2 * bytes)
    const smoothed = runMemory(size(ire(adam, { ...options, beta: 0.9 })))
    expect(smoothed.optimizer).toBe(3 * bytes + 2 * (bytes / 4))
  })

  test('a divided optimizer > the share of one process, and the whole state for a checkpoint', () => {
    const divided = runMemory(size(ire(adam, { ...options, beta: 0.9 }), { shards: 4 }))
    const state = 3 * bytes + bytes / 4
    expect(divided.optimizer).toBe((state + bytes / 4) / 4)
    expect(divided.checkpoint).toBe(bytes + state + (3 / 4) * state)
    // Every process has the moment of SAM.
    const look = sam(adam, { variant: 'look' })
    expect(runMemory(size(look, { shards: 4 })).optimizer).toBe((2 * bytes) / 4 + bytes)
  })

  test('sam > the weights after the ascent, here and in the thread, and a second gradient', () => {
    const [without, with_] = [runMemory(size(plain)), runMemory(size(sam(plain, { rho: 0.1 })))]
    expect(with_.weights - without.weights).toBe(2 * bytes)
    expect(with_.gradients - without.gradients).toBe(bytes)
  })

  test('moving average > a copy of the weights, and in checkpoints', () => {
    const [without, with_] = [runMemory(size(plain)), runMemory(size(plain, { copies: 1 }))]
    expect(with_.weights - without.weights).toBe(bytes)
    expect(with_.checkpoint - without.checkpoint).toBe(bytes)
  })

  test("Hutchinson's curvature > its random signs, as float64, as float32 and in the thread", () => {
    const [sampled, signs] = (['sampled', 'hutchinson'] as const).map((curvature) =>
      runMemory(size(ire(adam, { ...options, curvature }))),
    )
    expect(signs!.weights - sampled!.weights).toBe(4 * bytes)
  })

  test('small gradients > are not collected before they take 64 MiB', () => {
    expect(runMemory(size(plain, { trained: { bytes: 4, elements: 1 } })).gradients).toBe(4 + 64 * MiB)
  })
})

describe('estimate of a run', () => {
  const weight = (name: string, ...dims: number[]) =>
    parameter(name, { dtype: 'float32', dims, data: new Float32Array(dims.reduce((a, b) => a * b)) })
  const x = input('x', 'float32', ['N', 64])
  const y = op.MatMul(op.Relu(op.MatMul(x, weight('a', 64, 1024))), weight('b', 1024, 10))
  const model = modelOf({ name: 'm', inputs: new Map([['x', x]]), outputs: new Map([['logits', y]]) })
  const run = { loss: crossEntropy(), optimizer: adam, batchSize: 128 }
  const shapes = { x: [128, 64], labels: [128], other: [128, 7] }

  test('bytes of model, batch and trained tensors', () => {
    const memory = estimateRun(model, run, shapes)!
    expect(memory.weights).toBe(2 * 4 * (64 * 1024 + 10 * 1024))
    expect(memory.batches).toBe(3 * (4 * 128 * 64 + 8 * 128))
    // At least the hidden layer, and its gradient.
    expect(memory.training).toBeGreaterThan(2 * 4 * 128 * 1024)
  })

  test('frozen tensors > are not copied', () => {
    const memory = estimateRun(model, { ...run, trainable: ['b'] }, shapes)!
    expect(memory.weights).toBe(2 * 4 * 10 * 1024)
  })

  test('large trained tensors in a file > are not loaded; frozen ones are mapped into memory', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'run-memory-'))
    onTestFinished(() => rm(folder, { recursive: true }))
    const stored = async (externalData: boolean) => {
      const path = join(folder, `${externalData}.onnx`)
      await writeModel(path, model, { externalData })
      return readModel(path)
    }
    const loaded = (from: Model, trainable = ['a', 'b']) => estimateRun(from, { ...run, trainable }, shapes)!.loaded
    const [a, b] = [4 * 64 * 1024, 4 * 10 * 1024]
    // b is read with the file, because it has less than 64 KiB.
    const [inside, beside] = [await stored(false), await stored(true)]
    expect(loaded(model) - loaded(inside)).toBe(a)
    expect(loaded(model) - loaded(beside)).toBe(a + b)
    expect(loaded(model, ['b']) - loaded(inside, ['b'])).toBe(0)
    const inspected = (from: Model) => inspectModel(from, { shapes: { x: [1, 64] } }).cost.memory!.run!.loaded
    expect(inspected(model) - inspected(inside)).toBe(a)
  })

  test('micro-batches > need the arena of their examples', () => {
    const [whole, parts] = [run, { ...run, microBatch: 16 }].map((options) => estimateRun(model, options, shapes)!)
    expect(parts!.training).toBeLessThan(whole!.training / 2)
  })

  test('a share of the batch > needs the arena of its examples, if curvature has a graph of its own', () => {
    const arena = (curvature: 'sampled' | 'hutchinson', curvatureShare: number) =>
      estimateRun(model, { ...run, optimizer: ire(adam, { ...options, curvature }), curvatureShare }, shapes)!.training
    const alone = estimateRun(model, run, shapes)!.training
    const [whole, part] = [arena('hutchinson', 1) - alone, arena('hutchinson', 1 / 16) - alone]
    expect(part).toBeGreaterThan(0)
    expect(part).toBeLessThan(whole / 2)
    expect(arena('sampled', 1 / 16)).toBe(arena('sampled', 1))
  })
})
