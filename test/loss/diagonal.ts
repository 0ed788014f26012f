import { expect } from 'vitest'
import { Random } from '../../src/data/index.js'
import type { Tensor } from '../../src/index.js'
import { numbersOf, tensorFrom } from '../../src/ir/leaf.js'
import type { Tensors } from '../../src/ir/tensor.js'
import { type Problem, sum } from './problem.js'

/**
 * Checks by many samples that B g^2 of gradients against sampled targets has this mean, and their sum the sum.
 * @param given dims of x
 */
export async function expectDiagonal(
  problem: Problem,
  data: Tensors,
  given: readonly number[],
  diagonal: readonly number[],
): Promise<void> {
  const random = new Random(8)
  const rounds = 3000
  const wanted = [...diagonal, sum(diagonal)]
  // Means of the values and of their squares.
  const moments = wanted.map((): [number, number] => [0, 0])
  for (let i = 0; i < rounds; i++) {
    const { gradient, count } = await problem.sample(data, problem.draw(random, given))
    const squares = gradient.map((g) => count * g * g)
    for (const [k, value] of [...squares, sum(squares)].entries()) {
      moments[k]![0] += value / rounds
      moments[k]![1] += value ** 2 / rounds
    }
  }
  for (const [k, value] of wanted.entries()) {
    const [mean, square] = moments[k]!
    const error = Math.sqrt((square - mean ** 2) / rounds)
    expect(error / value).toBeLessThan(0.08)
    expect(Math.abs(mean - value) / error).toBeLessThan(4.5)
  }
}

/** Examples from..to-1 of every tensor. */
export const sliced = (tensors: Tensors, from: number, to: number): Tensors =>
  Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, rowsFrom(tensor, from, to)]))

function rowsFrom({ dtype, dims, data }: Tensor, from: number, to: number): Tensor {
  const width = data.length / dims[0]!
  return tensorFrom(
    dtype,
    [to - from, ...dims.slice(1)],
    numbersOf({ dtype, dims, data }).slice(from * width, to * width),
  )
}
