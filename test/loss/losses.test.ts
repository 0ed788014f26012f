import { afterAll, describe, expect, it } from 'vitest'
import { Random } from '../../src/data/index.js'
import { numbersOf } from '../../src/ir/leaf.js'
import type { Tensors } from '../../src/ir/tensor.js'
import { node } from '../../src/node/index.js'
import { type Case, cases } from './cases.js'
import { expectDiagonal, sliced } from './diagonal.js'
import { classes, differences, features, Problem, type Result, rowsOf } from './problem.js'

const runtime = node({ threads: 1, worker: false })
afterAll(() => runtime.dispose())

/** The tensors of the data that the graphs of the loss read; a program rejects other names. */
const needed = async (of: Case): Promise<{ problem: Problem; data: Tensors }> => {
  const problem = await Problem.create(runtime, of.loss, of.shape)
  return { problem, data: Object.fromEntries(Object.entries(of.data).filter(([name]) => problem.takes.has(name))) }
}

const close = (actual: readonly number[], wanted: readonly number[], digits = 5) => {
  expect(actual.length).toBe(wanted.length)
  for (const [i, value] of wanted.entries()) expect(actual[i]).toBeCloseTo(value, digits)
}

describe.each(cases)('$name', (of) => {
  const { data: given, count, weight, total, fisher } = of

  it('value and gradient equal plain arithmetic', async () => {
    const { problem, data } = await needed(of)
    const result = await problem.measure(data)
    expect(result.count).toBeCloseTo(count, 5)
    expect(result.weight).toBeCloseTo(weight, 5)
    expect(result.loss).toBeCloseTo(total(rowsOf(given.x)) / weight, 5)
    close(
      result.gradient,
      differences(given.x, (z) => total(z) / weight),
    )
    await problem.release()
  })

  it('micro-batches give the loss and gradient of the batch, sampled or not', async () => {
    const { problem, data } = await needed(of)
    const noise = problem.draw(new Random(3), of.data.x.dims)
    const parts = [sliced(data, 0, 2), sliced(data, 2, 5)]
    const noises = [sliced(noise, 0, 2), sliced(noise, 2, 5)]
    const together = (results: readonly Result[], factor: (result: Result) => number, whole: Result) =>
      whole.gradient.map((_, i) => results.reduce((a, r) => a + factor(r) * r.gradient[i]!, 0) / factor(whole))

    const whole = await problem.measure(data)
    const measured = await Promise.all(parts.map((part) => problem.measure(part)))
    close(
      together(measured, (r) => r.weight, whole),
      whole.gradient,
    )
    const loss = measured.reduce((a, r) => a + r.loss * r.weight, 0) / whole.weight
    expect(loss).toBeCloseTo(whole.loss, 5)

    if (!fisher) return problem.release()
    const sampled = await problem.sample(data, noise)
    const inParts = await Promise.all(parts.map((part, i) => problem.sample(part, noises[i]!)))
    close(
      together(inParts, (r) => Math.sqrt(r.count * r.weight), sampled),
      sampled.gradient,
    )
    await problem.release()
  })

  if (!fisher) return

  it('E[B g^2] over sampled targets equals the diagonal of the Gauss-Newton matrix', async () => {
    const { problem, data } = await needed(of)
    const x = numbersOf(given.x)
    const rows = fisher(rowsOf(given.x))
    await expectDiagonal(
      problem,
      data,
      of.data.x.dims,
      Array.from({ length: features * classes }, (_, i) => {
        const [f, c] = [Math.floor(i / classes), i % classes]
        return rows.reduce((a, row, n) => a + x[n * features + f]! ** 2 * row[c]!, 0) / weight
      }),
    )
    await problem.release()
  })
})
