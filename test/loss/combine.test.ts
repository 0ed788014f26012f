import { afterAll, describe, expect, it } from 'vitest'
import { Random } from '../../src/data/index.js'
import { input, op, type Value } from '../../src/graph/index.js'
import { accuracy, binaryCrossEntropy, combine, crossEntropy, type Loss, mae, mse } from '../../src/index.js'
import { numbersOf } from '../../src/ir/leaf.js'
import { buildMetrics } from '../../src/metric/metric.js'
import { node } from '../../src/node/index.js'
import { errorWith } from '../thrown.js'
import { expectDiagonal, sliced } from './diagonal.js'
import {
  classes,
  differences,
  features,
  float,
  int,
  logSoftmax,
  normals,
  Problem,
  rowsOf,
  sigmoid,
  softmax,
  sum,
} from './problem.js'

const normal = normals(3)

const runtime = node({ threads: 1, worker: false })
afterAll(() => runtime.dispose())

const heads = { kind: (z: Value) => z, size: (z: Value) => op.Mul(z, 0.5), flags: (z: Value) => op.Sigmoid(z) }
const x = normal(5, 4)
const truth = [0, 2, 1, 1, 0]
const sizes = numbersOf(normal(5, 3))
const flags = [1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 1, 0, 1]
const data = { x, kinds: int([5], truth), sizes: float([5, 3], sizes), flags: float([5, 3], flags) }
const factors = { kind: 2, size: 0.3, flags: 1 }

const tasks = (options: { ignoreIndex?: number } = {}) => ({
  kind: { loss: crossEntropy({ logits: 'kind', labels: 'kinds', ...options }), weight: factors.kind },
  size: { loss: mse({ output: 'size', targets: 'sizes' }), weight: factors.size },
  flags: { loss: binaryCrossEntropy({ logits: 'flags', targets: 'flags' }) },
})

const value = (z: readonly (readonly number[])[]): number => {
  const elements = z.flat()
  const kind = sum(z.map((row, n) => -logSoftmax(row)[truth[n]!]!)) / 5
  const size = sum(elements.map((y, i) => (y / 2 - sizes[i]!) ** 2)) / 15
  const flag = sum(elements.map((v, i) => -Math.log(flags[i] === 1 ? sigmoid(v) : 1 - sigmoid(v)))) / 15
  return factors.kind * kind + factors.size * size + factors.flags * flag
}

describe('combine', () => {
  it('returns the weighted sum of the losses', async () => {
    const problem = await Problem.create(runtime, combine(tasks()), { heads })
    const { loss, count, weight, gradient } = await problem.measure(data)
    expect(loss).toBeCloseTo(value(rowsOf(x)), 5)
    expect([count, weight]).toEqual([35, 35])
    for (const [i, wanted] of differences(x, value).entries()) expect(gradient[i]).toBeCloseTo(wanted, 5)
    await problem.release()
  })

  it('gives the same loss and gradient in micro-batches as in one batch', async () => {
    const problem = await Problem.create(runtime, combine(tasks()), { heads })
    const noise = problem.draw(new Random(4), [5, 3])
    const whole = [await problem.measure(data), await problem.sample(data, noise)]
    const parts = [
      [0, 2],
      [2, 5],
    ].map(async ([from, to]) => {
      const part = sliced(data, from!, to!)
      return [await problem.measure(part), await problem.sample(part, sliced(noise, from!, to!))]
    })
    const [first, second] = await Promise.all(parts)
    for (const [i, { gradient, weight }] of whole.entries())
      for (const [k, g] of gradient.entries()) {
        const [a, b] = [first![i]!, second![i]!]
        expect((a.weight * a.gradient[k]! + b.weight * b.gradient[k]!) / weight).toBeCloseTo(g, 5)
      }
    await problem.release()
  })

  it('has the weighted sum of the Fisher diagonals as curvature', async () => {
    const problem = await Problem.create(runtime, combine(tasks({ ignoreIndex: 1 })), { heads })
    const values = numbersOf(x)
    const z = rowsOf(x)
    const diagonal = Array.from({ length: features * classes }, (_, i) => {
      const [f, c] = [Math.floor(i / classes), i % classes]
      return sum(
        z.map((row, n) => {
          const p = softmax(row)[c]!
          const kind = truth[n] === 1 ? 0 : (p * (1 - p)) / 3
          const size = 2 * 0.25 * (1 / 15)
          const flag = (sigmoid(row[c]!) * (1 - sigmoid(row[c]!))) / 15
          return values[n * features + f]! ** 2 * (factors.kind * kind + factors.size * size + factors.flags * flag)
        }),
      )
    })
    await expectDiagonal(problem, data, [5, 3], diagonal)
    await problem.release()
  })

  it('only measures a task of weight 0', async () => {
    const { kind, flags } = tasks()
    const problem = await Problem.create(
      runtime,
      combine({ kind: { ...kind, weight: 1 }, flags: { ...flags, weight: 0 } }),
      {
        heads,
      },
    )
    const alone = await Problem.create(runtime, kind.loss, { heads })
    const { sizes: _, ...rest } = data
    const { flags: __, ...kinds } = rest
    expect((await problem.measure(rest)).gradient).toEqual((await alone.measure(kinds)).gradient)
    await problem.release()
    await alone.release()
  })

  it('reports metrics as <task>/<metric>', () => {
    const z = op.MatMul(input('x', 'float32', ['N', 4]), input('w', 'float32', [4, 3]))
    const outputs = new Map(Object.entries(heads).map(([name, head]) => [name, head(z)]))
    const graph = combine(tasks()).build(outputs)
    expect([...graph.predictions!.keys()]).toEqual(['kind', 'size', 'flags'])
    const { outputs: sums } = buildMetrics([accuracy(), mae()], graph, true)
    expect([...sums.keys()]).toEqual([
      'sum/kind/accuracy/correct',
      'sum/kind/accuracy/count',
      'sum/flags/accuracy/correct',
      'sum/flags/accuracy/count',
      'sum/size/mae/sum',
      'sum/size/mae/count',
    ])
    const nested = combine({ all: { loss: combine(tasks()) } }).build(outputs)
    expect([...nested.predictions!.keys()]).toEqual(['all/kind', 'all/size', 'all/flags'])
  })

  it('has no curvature if one of the losses cannot be sampled', () => {
    const z = op.MatMul(input('x', 'float32', ['N', 4]), input('w', 'float32', [4, 3]))
    const outputs = new Map(Object.entries(heads).map(([name, head]) => [name, head(z)]))
    const own: Loss = {
      name: 'own',
      build: (outs) => ({ loss: op.ReduceMean(outs.get('size')!), targets: new Map(), count: op.ReduceSum(z) }),
    }
    expect(combine({ ...tasks(), own: { loss: own } }).build(outputs).sampled).toBeUndefined()
    expect(combine({ ...tasks(), own: { loss: own, weight: 0 } }).build(outputs).sampled).toBeDefined()
  })

  it('rejects invalid tasks with an error that names the task or field', () => {
    const z = op.MatMul(input('x', 'float32', ['N', 4]), input('w', 'float32', [4, 3]))
    const outputs = new Map(Object.entries(heads).map(([name, head]) => [name, head(z)]))
    const a = mse({ output: 'size' })
    expect(() =>
      combine({ a: { loss: a }, b: { loss: binaryCrossEntropy({ logits: 'flags' }) } }).build(outputs),
    ).toThrow(errorWith('invalid-option', "'targets'"))
    expect(() => combine({})).toThrow(errorWith('invalid-option', 'weight'))
    expect(() => combine({ a: { loss: a, weight: -1 } })).toThrow(errorWith('invalid-option', "'a.weight' is -1"))
    expect(() => combine({ 'a/b': { loss: a } })).toThrow(errorWith('invalid-option', "'a/b'"))
  })
})
