import { afterAll, expect, test } from 'vitest'
import { lossLandscape, sampleFilterNormalized } from '../../../src/analysis/flatness/landscape.js'
import { type FlatnessOptions, type FlatnessProgress, measureFlatness } from '../../../src/analysis/flatness/measure.js'
import { sharpness } from '../../../src/analysis/flatness/sharpness.js'
import { LossSurface } from '../../../src/analysis/flatness/surface.js'
import { addScaledCopy, norm } from '../../../src/analysis/flatness/vector.js'
import { Random } from '../../../src/data/index.js'
import { input, modelOf, op, parameter } from '../../../src/graph/index.js'
import { crossEntropy, evaluateModel, type Model, replaceTensors } from '../../../src/index.js'
import { tensorFrom } from '../../../src/ir/leaf.js'
import { node } from '../../../src/node/index.js'
import { explicit, traceOf } from './matrix.js'
import { convnet, drawn, mlp, pictures, points } from './problem.js'

const runtime = node({ threads: 1, worker: false })
afterAll(() => runtime.dispose())
const loss = crossEntropy()
const surface = LossSurface.of(mlp(), points(), { loss, runtime })
const pictured = LossSurface.of(convnet(), pictures(), { loss, runtime })

/** The loss of the model file itself with other tensors in it. */
async function lossAt(model: Model, of: LossSurface, theta: Float64Array): Promise<number> {
  const tensors = of.layout.places.map(({ name, dtype, dims, from, length }) => [
    name,
    tensorFrom(dtype, dims, theta.subarray(from, from + length)),
  ])
  const moved = replaceTensors(model, new Map(tensors as [string, ReturnType<typeof tensorFrom>][]))
  return (await evaluateModel(moved, points(), { loss, runtime })).loss
}

test('sharpness > rise along the gradient > equals the loss of the perturbed model', async () => {
  const rho = 0.1
  const found = await sharpness(surface, new Random(1), { rho, directions: 0 })
  const theta = surface.here()
  const { g } = await surface.gradient()
  const above = await lossAt(mlp(), surface, addScaledCopy(theta, rho / norm(g), g))
  const here = await lossAt(mlp(), surface, theta)
  expect(found.loss).toBeCloseTo(here, 12)
  expect(found.ascent).toBeCloseTo(above - here, 12)
  expect(found.gradientNorm).toBeCloseTo(norm(g), 14)
  expect(found).not.toHaveProperty('average')
  // To first order it is rho ||g||, and no random direction rises more.
  const tiny = await sharpness(surface, new Random(1), { rho: 1e-5, directions: 0 })
  expect(tiny.ascent / (1e-5 * tiny.gradientNorm)).toBeCloseTo(1, 4)
})

test('average sharpness > small rho > equals rho^2 tr H / 2n', async () => {
  const rho = 0.02
  const { average } = await sharpness(surface, new Random(2), { rho, directions: 200 })
  const trace = traceOf(await explicit(surface.hessian()))
  const expected = (rho ** 2 * trace) / (2 * surface.size)
  expect(average!.error / average!.value).toBeLessThan(0.1)
  expect(Math.abs(average!.value - expected)).toBeLessThan(3 * average!.error + 0.01 * expected)
})

test('random directions > have the norms of the filters, and are 0 for vectors', () => {
  const { layout, filters } = pictured
  expect(Object.fromEntries(filters)).toEqual({ kernel: [0], scale: [], shift: [], w: [1], b: [] })
  const theta = pictured.here()
  const d = sampleFilterNormalized(layout, filters, theta, new Random(3))
  const part = (vector: Float64Array, name: string) => {
    const { from, length } = layout.places.find((place) => place.name === name)!
    return vector.slice(from, from + length)
  }
  for (let f = 0; f < 2; f++) {
    const filter = (vector: Float64Array) => part(vector, 'kernel').slice(9 * f, 9 * f + 9)
    expect(norm(filter(d))).toBeCloseTo(norm(filter(theta)), 12)
    expect(filter(d)).not.toEqual(filter(theta))
  }
  for (let c = 0; c < 3; c++) {
    const column = (vector: Float64Array) => part(vector, 'w').filter((_, i) => i % 3 === c)
    expect(norm(column(d))).toBeCloseTo(norm(column(theta)), 12)
  }
  for (const name of ['scale', 'shift', 'b']) expect(part(d, name).every((x) => x === 0)).toBe(true)
})

test('filter axis > depends on the operators that read the parameter', () => {
  const x = input('x', 'float32', ['N', 2, 4, 4])
  const float = (name: string, ...dims: number[]) => parameter(name, drawn(name, 'float32', dims))
  const up = op.ConvTranspose(x, float('up', 2, 3, 2, 2))
  const pooled = op.Flatten(op.GlobalAveragePool(up))
  const gemm = op.Gemm(pooled, float('rows', 5, 3), null, { transB: 1 })
  const turned = op.MatMul(gemm, op.Transpose(float('turned', 4, 5), { perm: [1, 0] }))
  const y = op.Add(op.MatMul(turned, float('plain', 4, 3)), float('bias', 1, 3))
  const model = modelOf({ name: 'axes', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) })
  const { filters } = LossSurface.of(model, pictures(), { loss, runtime })
  expect(Object.fromEntries(filters)).toEqual({ up: [1], rows: [0], turned: [0], plain: [1], bias: [] })
})

test('landscape > has the loss at its center, and losses of perturbed models elsewhere', async () => {
  const { axis, losses } = await lossLandscape(surface, new Random(4), { points: 3, range: 0.5 })
  expect(axis).toEqual([-0.5, 0, 0.5])
  expect(losses[1]![1]).toBeCloseTo(await surface.loss(), 12)
  const random = new Random(4)
  const theta = surface.here()
  const d = sampleFilterNormalized(surface.layout, surface.filters, theta, random)
  const e = sampleFilterNormalized(surface.layout, surface.filters, theta, random)
  const corner = addScaledCopy(addScaledCopy(theta, 0.5, d), -0.5, e)
  expect(losses[0]![2]).toBeCloseTo(await lossAt(mlp(), surface, corner), 12)
  expect(losses[2]![0]).not.toBeCloseTo(losses[0]![2]!, 6)
})

test('landscape > layers rescaled against each other > is unchanged', async () => {
  const x = input('x', 'float64', ['N', 4])
  const network = (factor: number) => {
    const weight = (name: string, dims: readonly number[], by: number) =>
      parameter(name, drawn(name, 'float64', dims, by))
    const y = op.MatMul(op.Relu(op.MatMul(x, weight('a', [4, 6], factor))), weight('b', [6, 3], 1 / factor))
    return modelOf({ name: 'scaled', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) })
  }
  const of = async (factor: number) => {
    const each = LossSurface.of(network(factor), points(), { loss, runtime })
    return (await lossLandscape(each, new Random(5), { points: 3 })).losses.flat()
  }
  const [one, eight] = [await of(1), await of(8)]
  for (const [i, value] of one.entries()) expect(value).toBeCloseTo(eight[i]!, 10)
})

const all = {
  trace: { probes: 12 },
  eigenvalues: { count: 2 },
  density: { probes: 2, steps: 5 },
  sharpness: { directions: 2 },
  landscape: { points: 3 },
}

test('several measures > equal seed > equal results, independent random streams, and progress is reported', async () => {
  const heard: FlatnessProgress[] = []
  const found = await measureFlatness(surface, { ...all, seed: 7, onProgress: (progress) => heard.push(progress) })
  expect(found).toMatchObject({ parameters: 43, method: 'exact', interrupted: false, eigenvalues: { converged: true } })
  expect(await measureFlatness(surface, { ...all, seed: 7 })).toEqual(found)
  const alone = await measureFlatness(surface, { density: all.density, seed: 7 })
  expect(alone).toEqual({ parameters: 43, method: 'exact', interrupted: false, density: found.density })
  expect((await measureFlatness(surface, { density: all.density, seed: 8 })).density).not.toEqual(found.density)
  const last = (measure: string) => heard.filter((each) => each.measure === measure).at(-1)
  expect([...new Set(heard.map(({ measure }) => measure))]).toEqual(Object.keys(all))
  expect(last('trace')).toEqual({ measure: 'trace', pass: 12, passes: 12, examples: 20 })
  expect(last('density')).toMatchObject({ pass: 10, passes: 10 })
  expect(last('sharpness')).toMatchObject({ pass: 6, passes: 6 })
  expect(last('landscape')).toMatchObject({ pass: 9, passes: 9 })
})

test('abort signal > ends after the current batch and returns completed results', async () => {
  const small = LossSurface.of(mlp(), points(), { loss, runtime, batchSize: 4 })
  const signal = { aborted: false }
  let after = 0
  const found = await measureFlatness(small, {
    ...all,
    signal,
    onProgress({ measure, pass, examples }) {
      if (signal.aborted) after++
      if (measure === 'eigenvalues' && pass === 2 && examples === 8) signal.aborted = true
    },
  })
  expect(Object.keys(found).sort()).toEqual(['interrupted', 'method', 'parameters', 'trace'])
  expect(found.interrupted).toBe(true)
  expect(after).toBe(0)
  // The surface is as good as before.
  expect(await small.loss()).toBeCloseTo(await surface.loss(), 12)
})

test('options out of range > rejects', async () => {
  for (const wrong of [
    { sharpness: { rho: -1 } },
    { landscape: { points: 1 } },
    { landscape: { range: 0 } },
    { trace: { probes: 0 } },
    { trace: true, seed: -1 },
    { traces: true },
    { trace: { probe: 3 } },
  ])
    await expect(measureFlatness(surface, wrong as FlatnessOptions)).rejects.toMatchObject({ code: 'invalid-option' })
  expect(() => LossSurface.of(mlp(), points(), { loss, runtime, batchSize: 0 })).toThrow(/batchSize/)
})
