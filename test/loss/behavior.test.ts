import { afterAll, describe, expect, it } from 'vitest'
import { Random } from '../../src/data/index.js'
import { body, constant, input, op, type Value } from '../../src/graph/index.js'
import {
  binaryCrossEntropy,
  charbonnier,
  crossEntropy,
  dice,
  focal,
  huber,
  jaccard,
  type Loss,
  l1,
  mse,
  poisson,
  quantile,
  sgd,
  Trainer,
} from '../../src/index.js'
import { numbersOf, tensorFrom } from '../../src/ir/leaf.js'
import { lossRegistry } from '../../src/loss/registry.js'
import { node } from '../../src/node/index.js'
import { exportGraph } from '../../src/onnx/export/export-graph.js'
import { encode } from '../../src/onnx/proto/encode.js'
import type { ErrorCode } from '../../src/util/errors.js'
import { vector } from '../grad/evaluate.js'
import { errorWith } from '../thrown.js'
import { smallMlp } from '../train/problem.js'
import { differences, float, int, logSoftmax, mean, normals, Problem, rowsOf, sigmoid, softmax } from './problem.js'

const normal = normals(1)

const runtime = node({ threads: 1, worker: false })
afterAll(() => runtime.dispose())

const x = normal(5, 4)
const truth = [0, 2, 1, 1, 0]
const labels = int([5], truth)
const crossEntropyOf = (z: readonly (readonly number[])[], of: readonly number[]) =>
  mean(z.map((row, n) => -logSoftmax(row)[of[n]!]!))

const [float32, float16, float64] = [1, 10, 11]

it.each<[string, Loss, (z: Value) => Value]>([
  ['Sigmoid', binaryCrossEntropy({ targets: 't' }), op.Sigmoid],
  ['Exp', poisson({ targets: 't' }), op.Exp],
])('a trailing %s that is cast > is bypassed as well', async (_, loss, head) => {
  const heads = [head, (z: Value) => op.Cast(op.Cast(head(z), { to: float16 }), { to: float32 })]
  const measured = heads.map(async (y) => {
    const problem = await Problem.create(runtime, loss, { heads: { y } })
    const found = await problem.measure({ x, t: float([5, 3], Array(15).fill(1)) })
    await problem.release()
    return found.loss
  })
  const [plain, cast] = await Promise.all(measured)
  expect(cast).toBe(plain)
})

it.each<[string, readonly number[], (p: Value) => Value]>([
  ['Reshape', [15], (p) => op.Reshape(p, constant(int([1], [-1])))],
  ['Unsqueeze and Transpose', [3, 5, 1], (p) => op.Transpose(op.Unsqueeze(p, [1]), { perm: [2, 0, 1] })],
  ['Slice', [5, 2], (p) => op.Slice(p, [1], [3], [1])],
])('a Sigmoid before %s > is bypassed', async (_, dims, view) => {
  const loss = binaryCrossEntropy({ targets: 't' })
  const t = float(dims, Array(dims.reduce((a, b) => a * b)).fill(1))
  const measured = [(z: Value) => view(op.Sigmoid(z)), view].map(async (y) => {
    const problem = await Problem.create(runtime, loss, { heads: { y } })
    const found = await problem.measure({ x, t })
    await problem.release()
    return found
  })
  const [behind, plain] = await Promise.all(measured)
  expect(behind).toEqual(plain)
})

it.each<[string, (z: Value) => Value]>([
  ['the mean of probabilities', (z) => op.ReduceMean(op.Sigmoid(z), [1], { keepdims: 0 })],
  [
    'that of a branch',
    (z) => {
      const branch = (reduce: typeof op.ReduceMean) => body([], () => [reduce(op.Sigmoid(z), [1], { keepdims: 0 })])
      const isLong = op.Greater(op.Gather(op.Shape(z), constant(int([], [0]))), constant(int([], [2])))
      return op.If(isLong, { then_branch: branch(op.ReduceMean), else_branch: branch(op.ReduceMax) })[0]!
    },
  ],
])('%s > is compared with the targets, not taken as a logit', async (_, y) => {
  const problem = await Problem.create(runtime, binaryCrossEntropy({ targets: 't' }), { heads: { y } })
  const t = [1, 0, 1, 1, 0]
  const { loss, gradient } = await problem.measure({ x, t: float([5], t) })
  const wanted = (rows: readonly (readonly number[])[]) =>
    mean(rows.map((row, n) => -Math.log(t[n] === 1 ? mean(row.map(sigmoid)) : 1 - mean(row.map(sigmoid)))))
  expect(loss).toBeCloseTo(wanted(rowsOf(x)), 5)
  for (const [i, g] of differences(x, wanted).entries()) expect(gradient[i]).toBeCloseTo(g, 4)
  await problem.release()
})

it.each(Object.entries(lossRegistry))(
  '%s > takes the options of the registry, and no others',
  (_, { create, options }) => {
    let message = ''
    try {
      create({ nothing: 1 } as never)
    } catch (error) {
      message = (error as Error).message
    }
    const names = /available: (.*)$/.exec(message)![1]!.split(', ')
    expect(names.toSorted()).toEqual(Object.keys(options).toSorted())
  },
)

describe('cross-entropy', () => {
  it.each([
    ['Softmax', (z: Value) => op.Softmax(z, { axis: 1 })],
    ['LogSoftmax', (z: Value) => op.LogSoftmax(z, { axis: -1 })],
    ['Softmax and Identity', (z: Value) => op.Identity(op.Softmax(z, { axis: -1 }))],
    ['Softmax of float16', (z: Value) => op.Cast(op.Softmax(op.Cast(z, { to: float16 })), { to: float32 })],
    [
      'Softmax, Reshape and Squeeze',
      (z: Value) => op.Squeeze(op.Reshape(op.Softmax(z), constant(int([3], [-1, 1, 3]))), [1]),
    ],
    ['Softmax of the transposed scores', (z: Value) => op.Transpose(op.Softmax(op.Transpose(z), { axis: 0 }))],
  ])('bypasses a trailing %s', async (name, y) => {
    const problem = await Problem.create(runtime, crossEntropy(), { heads: { y } })
    const digits = name.endsWith('float16') ? 3 : 6
    expect((await problem.measure({ x, labels })).loss).toBeCloseTo(crossEntropyOf(rowsOf(x), truth), digits)
    await problem.release()
  })

  it.each<[string, number, (z: Value) => Value]>([
    ['Softmax', 1, (z) => op.Softmax(z)],
    ['LogSoftmax', 1, (z) => op.LogSoftmax(z)],
    ['Softmax and Cast', 1, (z) => op.Cast(op.Softmax(op.Cast(z, { to: float64 })), { to: float32 })],
    ['transposed Softmax', 0, (z) => op.Transpose(op.Softmax(z))],
  ])('a %s in the branches of an If > is not taken as logits', async (_, axis, last) => {
    const y = (z: Value) => {
      const isLong = op.Greater(op.Gather(op.Shape(z), constant(int([], [0]))), constant(int([], [2])))
      const branch = (scaled: Value) => body([], () => [last(scaled)])
      return op.Identity(op.If(isLong, { then_branch: branch(z), else_branch: branch(op.Neg(z)) })[0]!)
    }
    const problem = await Problem.create(runtime, crossEntropy(), { heads: { y } })
    const { loss, gradient } = await problem.measure({ x, labels })
    const wanted = (rows: readonly (readonly number[])[]) => crossEntropyOf(rows, truth)
    expect(loss).toBeCloseTo(wanted(rowsOf(x)), 5)
    for (const [i, g] of differences(x, wanted).entries()) expect(gradient[i]).toBeCloseTo(g, 4)
    const graph = crossEntropy().build(new Map([['y', y(input('z', 'float32', ['N', 3]))]]))
    expect(graph.predictions!.get('')).toMatchObject({ kind: 'classes', axis })
    await problem.release()
  })

  const windows = (z: Value, axis: number) =>
    op.Concat(
      [z, op.Mul(z, 2)].map((each) => op.Unsqueeze(each, [axis])),
      { axis },
    )
  it.each<[string, (z: Value) => Value]>([
    ['before the classes', (z) => op.ReduceMean(op.Softmax(windows(z, 1)), [1], { keepdims: 0 })],
    ['after the classes', (z) => op.ReduceMean(op.Softmax(windows(z, 2), { axis: 1 }), [-1], { keepdims: 0 })],
    ['that stay', (z) => op.Squeeze(op.ReduceMean(op.Softmax(windows(z, 1)), [1], { keepdims: 1 }), [1])],
  ])('the mean of a Softmax over windows %s > is not taken as logits', async (_, y) => {
    const problem = await Problem.create(runtime, crossEntropy(), { heads: { y } })
    const { loss, gradient } = await problem.measure({ x, labels })
    const wanted = (rows: readonly (readonly number[])[]) =>
      mean(rows.map((row, n) => -Math.log(mean([row, row.map((z) => 2 * z)].map((z) => softmax(z)[truth[n]!]!)))))
    expect(loss).toBeCloseTo(wanted(rowsOf(x)), 5)
    for (const [i, g] of differences(x, wanted).entries()) expect(gradient[i]).toBeCloseTo(g, 4)
    await problem.release()
  })

  it('finds the classes of a transposed Softmax', async () => {
    const problem = await Problem.create(runtime, crossEntropy(), { heads: { y: (z) => op.Transpose(op.Softmax(z)) } })
    expect((await problem.measure({ x, labels })).loss).toBeCloseTo(crossEntropyOf(rowsOf(x), truth), 6)
    await problem.release()
  })

  it('keeps a Softmax along another axis than the classes as part of the model', async () => {
    const problem = await Problem.create(runtime, crossEntropy({ axis: 1 }), {
      heads: { y: (z) => op.Softmax(z, { axis: 0 }) },
    })
    const z = rowsOf(x)
    const columns = [0, 1, 2].map((c) => softmax(z.map((row) => row[c]!)))
    const rows = z.map((_, n) => columns.map((column) => column[n]!))
    expect((await problem.measure({ x, labels })).loss).toBeCloseTo(crossEntropyOf(rows, truth), 6)
    await problem.release()
  })

  it('samples labels by their cumulative shares and ignores label smoothing', async () => {
    const problem = await Problem.create(runtime, crossEntropy({ labelSmoothing: 0.3, ignoreIndex: 7 }))
    const marked = truth.map((label, n) => (n === 3 ? 7 : label))
    const noise = problem.draw(new Random(12), [5, 3])
    const drawn = numbersOf(noise['noise/labels']!)
    expect(drawn.length).toBe(5)
    const sampled = rowsOf(x).map((z, n) => {
      const shares = softmax(z)
      return shares.findIndex((_, c) => shares.slice(0, c + 1).reduce((sum, share) => sum + share) > drawn[n]!)
    })
    expect(sampled).not.toEqual(truth)
    const { gradient, count } = await problem.sample({ x, labels: int([5], marked) }, noise)
    expect(count).toBe(4)
    const kept = [0, 1, 2, 4]
    const wanted = differences(x, (z) => mean(kept.map((n) => -logSoftmax(z[n]!)[sampled[n]!]!)))
    for (const [i, value] of wanted.entries()) expect(gradient[i]).toBeCloseTo(value, 5)
    await problem.release()
  })
})

describe("a loss of one's own", () => {
  it.each([
    [
      'no count',
      () => ({ loss: op.ReduceMean(input('t', 'float32', [1])), targets: new Map() }),
      "'own' returns no count",
    ],
    ['nothing', () => undefined, "'own' returns no loss and no targets and no count"],
  ])('returns %s > invalid-option, which names the loss and what lacks', async (_, build, message) => {
    const loss = { name: 'own', build } as unknown as Loss
    await expect(Trainer.create(smallMlp(), { loss, optimizer: sgd({ lr: 0.1 }), runtime })).rejects.toThrow(
      errorWith('invalid-option', message),
    )
  })
})

describe('a batch whose targets are all ignored has loss 0 and a finite gradient of 0', () => {
  const zeros = float([5], [0, 0, 0, 0, 0])
  it.each<[string, Loss, object, number]>([
    ['every label ignored', crossEntropy({ ignoreIndex: 9 }), { labels: int([5], [9, 9, 9, 9, 9]) }, 0],
    ['all masked', crossEntropy({ mask: 'mask', labelSmoothing: 0.1 }), { labels, mask: zeros }, 0],
    ['no sample weight', crossEntropy({ sampleWeights: 's', classWeights: [1, 2, 3] }), { labels, s: zeros }, 5],
    ['no class weight', crossEntropy({ classWeights: [0, 0, 0], labelSmoothing: 0.1 }), { labels }, 5],
    ['no weight of an element', l1({ sampleWeights: 's' }), { targets: normal(5, 3), s: zeros }, 15],
  ])('%s', async (_, loss, targets, count) => {
    const problem = await Problem.create(runtime, loss)
    const sampled = await problem.sample({ x, ...targets }, problem.draw(new Random(1), [5, 3]))
    const measured = await problem.measure({ x, ...targets })
    expect([measured.loss, measured.count, measured.weight]).toEqual([0, count, 0])
    expect([...measured.gradient, ...sampled.gradient].every((g) => g === 0)).toBe(true)
    await problem.release()
  })
})

describe('binary cross-entropy', () => {
  it('is finite and exact for large logits, with slope sigmoid(z) - t', async () => {
    const z = [-200, -90, -20, 0, 20, 90, 200]
    for (const t of [0, 1]) {
      const problem = await Problem.create(runtime, binaryCrossEntropy(), {
        // One logit at a time, plus x w of which every row is 0 here.
        heads: { y: (zero) => op.Add(zero, op.Unsqueeze(vector('z', ...z), [1])) },
      })
      const n = z.length
      const data = { x: float([n, 4], Array(4 * n).fill(0)), targets: float([n, 3], Array(3 * n).fill(t)) }
      const { loss } = await problem.measure(data)
      const exact = z.map((v) => Math.max(v, 0) - v * t + Math.log1p(Math.exp(-Math.abs(v))))
      expect(loss).toBeCloseTo(mean(exact), 4)
      await problem.release()
    }
    const slope = await Problem.create(runtime, binaryCrossEntropy(), { heads: { y: (zero) => op.Mul(zero, 1) } })
    const few = { x: float([1, 4], [1, 0, 0, 0]), targets: float([1, 3], [1, 0, 0.5]) }
    const rows = rowsOf(few.x)[0]!
    const { gradient } = await slope.measure(few)
    const wanted = rows.map((v, c) => (1 / (1 + Math.exp(-v)) - [1, 0, 0.5][c]!) / 3)
    for (const [c, g] of wanted.entries()) expect(gradient[c]).toBeCloseTo(g, 6)
    await slope.release()
  })
})

describe('focal loss', () => {
  it('is the cross-entropy for gamma 0', async () => {
    const problem = await Problem.create(runtime, focal({ gamma: 0 }))
    expect((await problem.measure({ x, labels })).loss).toBeCloseTo(crossEntropyOf(rowsOf(x), truth), 6)
    await problem.release()
  })

  it('has a finite gradient where the true class is certain', async () => {
    const problem = await Problem.create(runtime, focal({ gamma: 0.5 }), { heads: { y: (z) => op.Mul(z, 1e4) } })
    const { loss, gradient } = await problem.measure({ x, labels })
    expect([loss, ...gradient].every(Number.isFinite)).toBe(true)
    await problem.release()
  })
})

describe('Huber loss', () => {
  it('approaches the absolute error for a small delta and half the squared error for a large one', async () => {
    const data = { x, targets: normal(5, 3) }
    const measure = async (loss: Loss) => {
      const problem = await Problem.create(runtime, loss)
      const { loss: value } = await problem.measure(data)
      await problem.release()
      return value
    }
    expect((await measure(huber({ delta: 1e-3 }))) / 1e-3).toBeCloseTo(await measure(l1()), 2)
    expect(await measure(huber({ delta: 100 }))).toBeCloseTo((await measure(mse())) / 2, 5)
  })
})

it('losses > float16 outputs > are computed in float32; float64 outputs in float64', () => {
  const half = input('y', 'float16', ['N', 3])
  const double = input('y', 'float64', ['N', 3])
  const losses = [crossEntropy(), crossEntropy({ probabilities: true }), binaryCrossEntropy(), mse(), huber()]
  for (const loss of losses) {
    expect(loss.build(new Map([['y', half]])).loss.dtype).toBe('float32')
    const graph = loss.build(new Map([['y', double]]))
    expect([graph.loss, graph.count, graph.sampled!.loss].map(({ dtype }) => dtype)).toEqual(Array(3).fill('float64'))
  }
})

it('binary cross-entropy > float64 outputs > runs and gives float64 accuracy', async () => {
  const z = op.Mul(vector('z', 1, -2, 0.5), 1)
  const wide = op.Unsqueeze(op.Cast(z, { to: 11 }), [0])
  const outputs = new Map([['y', wide]])
  const graph = binaryCrossEntropy({ sampleWeights: 's', posWeight: 2 }).build(outputs)
  const program = await compiled(graph.loss, new Map([...graph.targets]))
  const result = await program.run({
    targets: tensorFrom('float64', [1, 3], [1, 0, 1]),
    s: tensorFrom('float64', [1], [3]),
  })
  const plain = [1, -2, 0.5].map((v, i) => (i === 1 ? 1 : 2) * Math.log1p(Math.exp(i === 1 ? v : -v)))
  expect(numbersOf(result['y']!)[0]).toBeCloseTo(mean(plain), 12)
})

function compiled(y: Value, inputs: ReadonlyMap<string, Value>) {
  return runtime.compile(encode('ModelProto', exportGraph({ name: 'loss', inputs, outputs: new Map([['y', y]]) })))
}

it('losses > invalid options or outputs > throw an error that names the field', () => {
  const y = op.MatMul(input('x', 'float32', ['N', 4]), input('w', 'float32', [4, 3]))
  const outputs = new Map([['y', y]])
  const expectError = (build: () => unknown, text: string, code: ErrorCode = 'invalid-option') =>
    expect(build).toThrow(errorWith(code, text))
  const two = new Map([...outputs, ['z', y]])
  expectError(() => crossEntropy().build(two), "'y', 'z'")
  expectError(() => mse({ output: 'q' }).build(two), "'q'")
  expectError(() => crossEntropy({ labelSmoothing: 1 }), "'labelSmoothing' is 1")
  expectError(() => crossEntropy({ classWeights: [1, -1, 0] }), "'classWeights[1]' is -1")
  expectError(() => crossEntropy({ classWeights: [1, 2] }).build(outputs), "'classWeights' has 2 numbers")
  expectError(() => crossEntropy({ probabilities: true, ignoreIndex: 0 }), "'ignoreIndex'")
  expectError(() => crossEntropy({ sampleWeights: 'a', mask: 'a' }).build(outputs), "'a'")
  expectError(() => crossEntropy({ mask: 'labels' }).build(outputs), "'labels'")
  expectError(() => crossEntropy({ axis: 2 }).build(outputs), 'axis 2', 'invalid-shape')
  expectError(() => binaryCrossEntropy({ posWeight: [1, 2] }).build(outputs), 'posWeight has 2 numbers')
  expectError(() => huber({ delta: 0 }), "'delta' is 0")
  expectError(() => quantile({ quantile: [0.5, 1] }), "'quantile[1]' is 1")
  expectError(() => quantile({ quantile: [0.5, 0.9] }).build(outputs), "'quantile' has 2 numbers")
  expectError(() => charbonnier({ epsilon: 0 }), "'epsilon' is 0")
  expectError(() => focal({ gamma: -1 }), "'gamma' is -1")
  expectError(() => focal({ alpha: 0.25 }), "'alpha'")
  expectError(() => focal({ binary: true, classWeights: [1] }), "'classWeights'")
  expectError(() => dice({ smooth: 0 }), "'smooth' is 0")
  expectError(() => jaccard({ binary: true, ignoreIndex: 3 }), "'ignoreIndex'")
  expectError(() => dice({ axis: 0 }).build(outputs), 'leading axis of examples')
  expectError(() => dice({ sampleWeights: 'labels' }).build(outputs), "'labels'")
  const index = new Map([['k', op.ArgMax(y)]])
  for (const loss of [crossEntropy(), binaryCrossEntropy(), mse(), l1(), poisson(), focal(), dice({ binary: true })])
    expectError(() => loss.build(index), 'int64')
  const single = new Map([['y', input('y', 'float32', [])]])
  expectError(() => mse({ sampleWeights: 's' }).build(single), 'sampleWeights')
})
