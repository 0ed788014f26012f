import { afterAll, describe, expect, test } from 'vitest'
import { spectralDensity } from '../../../src/analysis/flatness/density.js'
import { topEigenvalues } from '../../../src/analysis/flatness/eigenvalues.js'
import { buildSurfaceGraphs, LossSurface } from '../../../src/analysis/flatness/surface.js'
import { hutchinsonTrace } from '../../../src/analysis/flatness/trace.js'
import { addScaledCopy, norm } from '../../../src/analysis/flatness/vector.js'
import { Random } from '../../../src/data/index.js'
import { gradientTables } from '../../../src/grad/gradient-tables.js'
import { buildTrainingGraphs, importGraph, input, modelOf, op, parameter } from '../../../src/graph/index.js'
import {
  adamw,
  crossEntropy,
  type Dataset,
  decodeModel,
  fromArrays,
  type Loss,
  labelColumn,
  type Model,
  OnnxIreError,
  type Runtime,
  scheduleFreeSgd,
  Trainer,
} from '../../../src/index.js'
import { dot } from '../../../src/ir/float-array.js'
import { tensorFrom } from '../../../src/ir/leaf.js'
import { node } from '../../../src/node/index.js'
import { softmaxOf } from '../../train/problem.js'
import { explicit, jacobi, squaresOf, traceOf } from './matrix.js'
import { classes, convnet, drawn, examples, features, mlp, pictures, points, regression, rowsOf } from './problem.js'

const runtime = node({ threads: 1, worker: false })
afterAll(() => runtime.dispose())
const loss = crossEntropy()

const surfaceOf = (model: Model, data: Dataset, options = {}): LossSurface =>
  LossSurface.of(model, data, { loss, runtime, ...options })

/** Column i: (g(theta + h e_i) - g(theta - h e_i)) / 2h. */
async function differenced(surface: LossSurface, h: number): Promise<number[][]> {
  const theta = surface.here()
  const columns: number[][] = []
  for (let i = 0; i < surface.size; i++) {
    const unit = new Float64Array(surface.size)
    unit[i] = 1
    const { g: after } = await surface.gradient(addScaledCopy(theta, h, unit))
    const { g: before } = await surface.gradient(addScaledCopy(theta, -h, unit))
    columns.push(Array.from(after, (x, k) => (x - before[k]!) / (2 * h)))
  }
  return columns
}

const furthest = (a: readonly (readonly number[])[], b: readonly (readonly number[])[]): number =>
  Math.max(...a.flatMap((row, i) => row.map((x, j) => Math.abs(x - b[i]![j]!))))

const transposed = (a: readonly (readonly number[])[]): number[][] => a.map((_, j) => a.map((row) => row[j]!))

test('softmax regression > loss, gradient and Hessian > equal the formulas', async () => {
  const data = points()
  const surface = surfaceOf(regression(), data, { batchSize: 7 })
  expect(surface.method).toBe('exact')
  const theta = surface.here()
  const { x, labels } = await rowsOf(data)
  const size = (features + 1) * classes
  const hessian = Array.from({ length: size }, () => Array<number>(size).fill(0))
  const gradient = Array<number>(size).fill(0)
  let mean = 0
  for (const [n, row] of x.entries()) {
    // The bias is the weight of a feature that is 1, and comes after w in theta.
    const inputs = [...row, 1]
    const z = Array.from({ length: classes }, (_, c) =>
      inputs.reduce((sum, value, f) => sum + value * theta[f * classes + c]!, 0),
    )
    const p = softmaxOf(z)
    mean -= Math.log(p[labels[n]!]!) / examples
    for (let f = 0; f <= features; f++)
      for (let c = 0; c < classes; c++) {
        const i = f * classes + c
        gradient[i]! += (inputs[f]! * (p[c]! - (labels[n] === c ? 1 : 0))) / examples
        for (let k = 0; k <= features; k++)
          for (let d = 0; d < classes; d++)
            hessian[i]![k * classes + d]! +=
              (inputs[f]! * inputs[k]! * ((c === d ? p[c]! : 0) - p[c]! * p[d]!)) / examples
      }
  }
  expect(await surface.loss()).toBeCloseTo(mean, 12)
  const { loss, g } = await surface.gradient()
  expect(loss).toBeCloseTo(mean, 12)
  expect(furthest([[...g]], [gradient])).toBeLessThan(1e-12)
  expect(furthest(await explicit(surface.hessian()), hessian)).toBeLessThan(1e-12)
  await surface.release()
})

describe('float64 perceptron', () => {
  const surface = surfaceOf(mlp(), points())
  afterAll(() => surface.release())

  test('gradient > equals finite differences of the loss', async () => {
    const theta = surface.here()
    const { g } = await surface.gradient()
    const v = new Random(1).fill(new Float64Array(surface.size), 'normal')
    const h = 1e-5
    const slope =
      ((await surface.loss(addScaledCopy(theta, h, v))) - (await surface.loss(addScaledCopy(theta, -h, v)))) / (2 * h)
    expect(dot(g, v)).toBeCloseTo(slope, 8)
  })

  test('Hessian-vector products > equal finite differences of gradients', async () => {
    const hessian = await explicit(surface.hessian())
    expect(furthest(hessian, await differenced(surface, 1e-5))).toBeLessThan(1e-8)
    expect(furthest(hessian, transposed(hessian))).toBeLessThan(1e-13)
    expect(Math.sqrt(squaresOf(hessian))).toBeGreaterThan(0.1)
  })

  test('trace, eigenvalues and density > equal those of the explicit Hessian', async () => {
    const hessian = await explicit(surface.hessian())
    const eigenvalues = jacobi(hessian)
    const random = new Random(2)
    const trace = await hutchinsonTrace(surface.hessian(), random, { tolerance: 0.05, probes: 500 })
    expect(trace.converged).toBe(true)
    expect(Math.abs(trace.value - traceOf(hessian))).toBeLessThan(3 * trace.error)
    const { largest, smallest, steps } = await topEigenvalues(surface.hessian(), random, { tolerance: 1e-7 })
    expect(steps).toBeLessThan(surface.size)
    for (const [i, { value }] of largest.entries()) expect(Math.abs(value - eigenvalues.at(-1 - i)!)).toBeLessThan(1e-5)
    const least = Math.min(...eigenvalues.map((value) => Math.abs(value - smallest.value)))
    expect(least).toBeLessThanOrEqual(smallest.bound + 1e-9)
    const density = await spectralDensity(surface.hessian(), random, { probes: 10, steps: 20 })
    const { mean, meanSquare } = density
    expect(Math.abs(mean.value - traceOf(hessian) / surface.size)).toBeLessThan(3 * mean.error)
    expect(Math.abs(meanSquare.value - squaresOf(hessian) / surface.size)).toBeLessThan(3 * meanSquare.error)
  })

  test('finite differences > equal exact products', async () => {
    const differences = surfaceOf(mlp(), points(), { method: 'differences' })
    const [exact, other] = [await explicit(surface.hessian()), await explicit(differences.hessian())]
    expect(furthest(exact, other)).toBeLessThan(1e-8)
    expect(furthest(exact, other)).toBeGreaterThan(0)
    await differences.release()
  })
})

test('float32 perceptron > finite differences > equal exact products up to rounding', async () => {
  const [model, data] = [mlp('float32'), points('float32')]
  const exact = surfaceOf(model, data)
  const differences = surfaceOf(model, data, { method: 'differences' })
  const v = new Random(3).fill(new Float64Array(exact.size), 'sign')
  const [a, b] = [await exact.hessian().times(v), await differences.hessian().times(v)]
  expect(norm(addScaledCopy(a, -1, b)) / norm(a)).toBeLessThan(2e-3)
  // The differences do not depend on the length of v.
  const tiny = await differences.hessian().times(v.map((x) => 1e-9 * x))
  expect(norm(addScaledCopy(b, -1e9, tiny)) / norm(b)).toBeLessThan(1e-3)
  await exact.release()
  await differences.release()
})

test('model without second derivatives > finite differences are used, unless exact products are requested', async () => {
  const graphs = buildTrainingGraphs(importGraph(mlp()), { loss })
  const { Mul: _, ...rules } = gradientTables.rules
  const once = buildSurfaceGraphs(graphs, { ...gradientTables, rules })
  expect(once.product).toBeNull()
  expect(once.obstacle).toMatchObject({ code: 'not-differentiable' })
  expect(once.obstacle!.message).toContain('Mul')
  const refusing: Runtime = {
    ...runtime,
    compile: (bytes) =>
      decodeModel(bytes).proto.graph?.name === 'small/hessian-product'
        ? Promise.reject(new OnnxIreError('runtime', 'no kernel'))
        : runtime.compile(bytes),
  }
  const surface = surfaceOf(mlp(), points(), { runtime: refusing })
  const exact = surfaceOf(mlp(), points())
  const v = new Random(6).fill(new Float64Array(surface.size), 'normal')
  const [a, b] = [await surface.hessian().times(v), await exact.hessian().times(v)]
  expect([surface.method, exact.method]).toEqual(['differences', 'exact'])
  expect(norm(addScaledCopy(a, -1, b)) / norm(b)).toBeLessThan(1e-8)
  const strict = surfaceOf(mlp(), points(), { runtime: refusing, method: 'exact' })
  await expect(strict.hessian().times(v)).rejects.toMatchObject({ code: 'runtime' })
  for (const each of [surface, exact, strict]) await each.release()
})

test('convolutional network with frozen norms > Hessian > equals finite differences and is symmetric', async () => {
  const surface = surfaceOf(convnet(), pictures())
  expect(surface.layout.places.map(({ name }) => name)).toEqual(['kernel', 'scale', 'shift', 'w', 'b'])
  expect(surface.size).toBe(31)
  const hessian = await explicit(surface.hessian())
  const most = Math.max(...hessian.flat().map(Math.abs))
  expect(furthest(hessian, transposed(hessian)) / most).toBeLessThan(1e-5)
  expect(furthest(hessian, await differenced(surface, 0.01)) / most).toBeLessThan(1e-3)
  const eigenvalues = jacobi(hessian.map((row, i) => row.map((x, j) => (x + hessian[j]![i]!) / 2)))
  const { largest } = await topEigenvalues(surface.hessian(), new Random(4), { count: 3, tolerance: 1e-6 })
  for (const [i, { value }] of largest.entries())
    expect(Math.abs(value - eigenvalues.at(-1 - i)!) / eigenvalues.at(-1)!).toBeLessThan(1e-5)
  await surface.release()
})

test('batches > are averaged by weight > the result does not depend on the batch size', async () => {
  const ignoring: Loss = crossEntropy({ ignoreIndex: -1 })
  const numbers = Array.from({ length: examples }, (_, i) => (i < 6 || i % 3 === 1 ? -1 : i % classes))
  const data = fromArrays({ x: drawn('points', 'float64', [examples, features]), labels: labelColumn(numbers) })
  const model = mlp()
  const [whole, parts] = [20, 3].map((batchSize) => surfaceOf(model, data, { loss: ignoring, batchSize }))
  const v = new Random(5).fill(new Float64Array(whole!.size), 'normal')
  expect(await parts!.loss()).toBeCloseTo(await whole!.loss(), 12)
  const products = [await whole!.hessian().times(v), await parts!.hessian().times(v)]
  expect(norm(addScaledCopy(products[0]!, -1, products[1]!)) / norm(products[0]!)).toBeLessThan(1e-12)
  const nothing = fromArrays({ x: drawn('points', 'float64', [2, features]), labels: labelColumn([-1, -1]) })
  const empty = surfaceOf(model, nothing, { loss: ignoring })
  await expect(empty.loss()).rejects.toMatchObject({ code: 'invalid-data' })
  for (const surface of [whole!, parts!, empty]) await surface.release()
})

test('model with a fixed batch size > splits the data, or rejects it', async () => {
  const x = input('x', 'float64', [5, features])
  const y = op.MatMul(x, parameter('w', drawn('w', 'float64', [features, classes])))
  const model = modelOf({ name: 'fixed', inputs: new Map([['x', x]]), outputs: new Map([['logits', y]]) })
  const surface = surfaceOf(model, points())
  expect(await surface.loss()).toBeGreaterThan(0)
  await surface.release()
  const odd = fromArrays({ x: drawn('points', 'float64', [7, features]), labels: labelColumn([0, 1, 2, 0, 1, 2, 0]) })
  expect(() => surfaceOf(model, odd)).toThrow(/divisible by 5/)
})

test('surface of a trainer > follows its parameters, and does not change them', async () => {
  const [model, data] = [convnet(), pictures()]
  const trainer = await Trainer.create(model, {
    loss,
    runtime,
    optimizer: adamw({ lr: 0.05 }),
    batchSize: 10,
    batchNorm: 'trained',
    ema: 0.9,
  })
  const surface = LossSurface.under(trainer, data)
  const averaged = LossSurface.under(trainer, data, { weights: 'ema' })
  const seen: number[] = []
  for await (const { step } of trainer.fit(data, {
    totalEpochs: 3,
    onEvaluate: async () => {
      const before = trainer.checkpoint()
      await surface.hessian().times(surface.here())
      expect(trainer.checkpoint()).toEqual(before)
      expect(await surface.loss()).toBeCloseTo((await trainer.evaluate(data)).loss, 6)
      expect(await averaged.loss()).toBeCloseTo((await trainer.evaluate(data, { weights: 'ema' })).loss, 6)
      seen.push(await surface.loss())
    },
  }))
    expect(step).toBe(2 * seen.length)
  expect(new Set(seen).size).toBe(3)
  // Running statistics of the trainer, not of the file.
  const exported = surfaceOf(trainer.export(), data)
  expect(await exported.loss()).toBeCloseTo(await surface.loss(), 6)
  for (const each of [surface, averaged, exported]) await each.release()
  await trainer.dispose()
})

test('surface of a trainer > follows the average that Schedule-Free evaluates', async () => {
  const optimizer = scheduleFreeSgd({ lr: 0.5 })
  const trainer = await Trainer.create(convnet(), { loss, runtime, optimizer, batchSize: 10 })
  const data = pictures()
  const surface = LossSurface.under(trainer, data)
  const before = await surface.loss()
  await trainer.train(data, { totalEpochs: 2 })
  const after = await surface.loss()
  expect(after).toBeCloseTo((await trainer.evaluate(data)).loss, 6)
  expect(Math.abs(after - before)).toBeGreaterThan(1e-3)
  await surface.release()
  await trainer.dispose()
})

test('non-finite values > rejects with the name', async () => {
  const x = input('x', 'float32', ['N', 2])
  const w = parameter('w', tensorFrom('float32', [2, 2], [1e30, 0, 0, 1e30]))
  const model = modelOf({
    name: 'far',
    inputs: new Map([['x', x]]),
    outputs: new Map([['y', op.MatMul(op.MatMul(x, w), w)]]),
  })
  const data = fromArrays({ x: tensorFrom('float32', [2, 2], [1, 2, 3, 4]), labels: labelColumn([0, 1]) })
  const surface = surfaceOf(model, data)
  await expect(surface.gradient()).rejects.toMatchObject({ code: 'not-finite' })
  await surface.release()
})
