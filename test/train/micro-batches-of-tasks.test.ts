import { afterAll, describe, expect, it } from 'vitest'
import { LossSurface } from '../../src/analysis/flatness/surface.js'
import { HostBackend } from '../../src/backend/host.js'
import { Random } from '../../src/data/index.js'
import { buildTrainingGraphs, importGraph, input, modelOf, op, parameter, tensor } from '../../src/graph/index.js'
import {
  binaryCrossEntropy,
  combine,
  crossEntropy,
  evaluateModel,
  fromArrays,
  ire,
  type Loss,
  labelColumn,
  mse,
  sgd,
  Trainer,
} from '../../src/index.js'
import { node } from '../../src/node/index.js'
import { Programs } from '../../src/train/programs.js'
import { flat, normal } from './problem.js'

const runtime = node({ threads: 1, worker: false })
afterAll(() => runtime.dispose())

const [examples, features] = [6, 4]
const trunk = normal(new Random(1), [features, 5])
const head = normal(new Random(2), [5, 3])

/** tanh(x trunk) into three heads: classes, flags and numbers. */
const model = (n: 'N' | 2 = 'N') => {
  const x = input('x', 'float32', [n, features])
  const h = op.Tanh(op.MatMul(x, parameter('trunk', trunk)))
  const outputs = new Map([
    ['kind', op.MatMul(h, parameter('head', head))],
    ['flags', op.Neg(op.Slice(h, [0], [2], [1]))],
    ['size', op.Mul(h, 0.7)],
  ])
  return modelOf({ name: 'tasks', inputs: new Map([['x', x]]), outputs })
}

const numbers = (seed: number, dims: readonly number[]) => normal(new Random(seed), dims)
const floats = (dims: readonly number[], ...values: number[]) => tensor('float32', dims, Float32Array.from(values))
const batch = {
  x: numbers(3, [examples, features]),
  // The third and fourth example have no kind, the first and second no flags.
  kinds: labelColumn([0, 2, 9, 9, 1, 0]),
  flags: floats([examples, 2], 1, 0, 0, 1, 1, 1, 0, 0, 1, 0, 0, 1),
  flagMask: floats([examples, 2], 0, 0, 0, 0, 1, 1, 1, 0.5, 2, 0, 1, 1),
  sizes: numbers(4, [examples, 5]),
  importance: floats([examples], 1, 3, 0, 1, 0.2, 2),
}

const kinds = crossEntropy({
  logits: 'kind',
  labels: 'kinds',
  ignoreIndex: 9,
  classWeights: [1, 5, 0.3],
  labelSmoothing: 0.1,
})
/** The fifth example has a label of weight 0, whose smoothed loss is not 0. */
const weightless = crossEntropy({
  logits: 'kind',
  labels: 'kinds',
  ignoreIndex: 9,
  classWeights: [1, 0, 0.3],
  labelSmoothing: 0.1,
})
const flags = binaryCrossEntropy({ logits: 'flags', targets: 'flags', mask: 'flagMask' })
const sizes = mse({ output: 'size', targets: 'sizes', sampleWeights: 'importance' })

const losses: Readonly<Record<string, Loss>> = {
  'two tasks': combine({ kind: { loss: kinds }, flags: { loss: flags, weight: 0.4 } }),
  'tasks within tasks, and one that is only measured': combine({
    both: { loss: combine({ kind: { loss: kinds, weight: 2 }, size: { loss: sizes } }), weight: 0.5 },
    flags: { loss: flags, weight: 0 },
  }),
  'a task with a smoothed class of weight 0': combine({ kind: { loss: weightless }, flags: { loss: flags } }),
  'a loss with a smoothed class of weight 0': weightless,
}
const kindsOf = [
  ['loss', 'sampled'],
  ['curvature', 'sampled'],
  ['curvature', 'hutchinson'],
] as const

/** Loss and gradients of the six examples. */
async function measured(
  loss: Loss,
  [kind, curvature]: readonly ['loss' | 'curvature', 'sampled' | 'hutchinson'],
  microBatch: number | undefined,
  n: 'N' | 2 = 'N',
) {
  const graphs = buildTrainingGraphs(importGraph(model(n)), { loss, curvature })
  const given = Object.fromEntries(Object.entries(batch).filter(([name]) => graphs.data.has(name)))
  const programs = new Programs(graphs, HostBackend.forEvaluation(runtime, graphs.parameters), microBatch)
  const parameters = { trunk: trunk.data as Float32Array, head: head.data as Float32Array }
  const at = { parameters, statistics: {}, random: new Random(1) }
  const result = await programs.gradient({ kind, batch: given, size: examples, ...at })
  await programs.release()
  return result
}

describe.each(Object.entries(losses))('%s in micro-batches', (_, loss) => {
  it.each(kindsOf)('return the %s (%s) of the whole batch', async (...kind) => {
    const whole = await measured(loss, kind, undefined)
    const size = Math.max(...Array.from(whole.gradients['trunk']!, Math.abs))
    expect(size).toBeGreaterThan(0.05)
    for (const [microBatch, n] of [
      [1, 'N'],
      [2, 'N'],
      [4, 'N'],
      [6, 'N'],
      [undefined, 2],
    ] as const) {
      const parts = await measured(loss, kind, microBatch, n)
      expect(parts.count).toBe(whole.count)
      expect(parts.weight).toBeCloseTo(whole.weight, 5)
      expect(Math.abs(parts.loss - whole.loss)).toBeLessThan(1e-6 * Math.max(1, whole.loss))
      for (const [name, gradient] of Object.entries(whole.gradients))
        for (const [i, g] of gradient.entries())
          expect(Math.abs(parts.gradients[name]![i]! - g)).toBeLessThan(1e-6 * size)
    }
  })
})

it('evaluations in batches > the loss of all examples, with a smoothed class of weight 0', async () => {
  const data = fromArrays({ x: batch.x, kinds: batch.kinds })
  const evaluate = (batchSize: number) => evaluateModel(model(), data, { runtime, loss: weightless, batchSize })
  const whole = await evaluate(examples)
  for (const batchSize of [1, 2, 4]) expect((await evaluate(batchSize)).loss).toBeCloseTo(whole.loss, 6)
  for (const batchSize of [1, examples]) {
    const surface = LossSurface.of(model(), data, { runtime, loss: weightless, batchSize })
    expect(await surface.loss()).toBeCloseTo(whole.loss, 6)
    await surface.release()
  }
})

it.each(Object.entries(losses))('%s > evaluations in batches return the loss of all examples', async (_, loss) => {
  const { data: inputs } = buildTrainingGraphs(importGraph(model()), { loss })
  const used = Object.entries(batch).filter(([name]) => inputs.has(name))
  const data = fromArrays(Object.fromEntries(used))
  const evaluate = async (batchSize: number, n: 'N' | 2 = 'N') =>
    (await evaluateModel(model(n), data, { runtime, loss, batchSize })).loss
  const whole = await evaluate(examples)
  for (const batchSize of [1, 2, 4]) expect(await evaluate(batchSize)).toBeCloseTo(whole, 5)
  expect(await evaluate(examples, 2)).toBeCloseTo(whole, 5)
})

it.each(Object.entries(losses))('%s > a loss surface in batches has the values of all examples', async (_, loss) => {
  const { data: inputs } = buildTrainingGraphs(importGraph(model()), { loss })
  const data = fromArrays(Object.fromEntries(Object.entries(batch).filter(([name]) => inputs.has(name))))
  const whole = (await evaluateModel(model(), data, { runtime, loss, batchSize: examples })).loss
  const measure = async (batchSize: number) => {
    const surface = LossSurface.of(model(), data, { runtime, loss, batchSize })
    const { loss: value, g } = await surface.gradient()
    const direction = Float64Array.from(g, (_, i) => Math.sin(i))
    const product = await surface.hessian().times(direction)
    await surface.release()
    return { value, numbers: [...g, ...product] }
  }
  const at = await measure(examples)
  expect(at.value).toBeCloseTo(whole, 5)
  for (const batchSize of [1, 4]) {
    const { value, numbers } = await measure(batchSize)
    expect(value).toBeCloseTo(whole, 5)
    for (const [i, number] of numbers.entries()) expect(number).toBeCloseTo(at.numbers[i]!, 5)
  }
})

it('a nonlinear combination of several terms is not treated as their sum', async () => {
  const tasks = losses['two tasks']!
  const penalized: Loss = {
    name: 'penalized',
    build(outputs) {
      const built = tasks.build(outputs)
      return { ...built, loss: op.Add(built.loss, op.ReduceMean(op.Abs(outputs.get('size')!), { keepdims: 0 })) }
    },
  }
  expect(buildTrainingGraphs(importGraph(model()), { loss: penalized }).microBatches).toBeUndefined()
  const [plain, more] = [
    await measured(tasks, ['loss', 'sampled'], examples),
    await measured(penalized, ['loss', 'sampled'], examples),
  ]
  expect(more.loss).toBeGreaterThan(plain.loss + 0.1)
})

it('training with IRE in micro-batches equals training on whole batches', async () => {
  const trained = async (microBatch?: number) => {
    const trainer = await Trainer.create(model(), {
      loss: losses['two tasks']!,
      optimizer: ire(sgd({ lr: 0.1, momentum: 0.9 }), { kappa: 2, gamma: 0.6, interval: 1 }),
      runtime,
      batchSize: examples,
      ...(microBatch === undefined ? {} : { microBatch }),
    })
    const { x, kinds, flags, flagMask } = batch
    const data = { length: examples, batch: () => ({ x, kinds, flags, flagMask }) }
    for await (const _ of trainer.fit(data, { totalSteps: 5 }));
    await trainer.dispose()
    return flat(await trainer.parameters())
  }
  const whole = await trained()
  for (const microBatch of [1, 4])
    expect(await trained(microBatch)).toEqual(whole.map((value) => expect.closeTo(value, 5)))
})

it('the curvature graph exists only if requested', () => {
  const loss = losses['two tasks']!
  const graph = importGraph(model())
  expect(buildTrainingGraphs(graph, { loss }).curvature).toBeNull()
  expect(buildTrainingGraphs(graph, { loss }).microBatches!().curvature).toBeNull()
  const sampled = buildTrainingGraphs(graph, { loss, curvature: 'sampled' })
  expect(sampled.curvature).not.toBeNull()
  // On the host, both gradients come from one program, also for micro-batches.
  expect(sampled.conditional!().spec.outputs.size).toBeGreaterThan(2)
  expect(sampled.microBatches!().conditional!().spec.outputs.size).toBeGreaterThan(2)
  expect(buildTrainingGraphs(graph, { loss }).microBatches!().conditional).toBeUndefined()
})
