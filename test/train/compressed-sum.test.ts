import { describe, expect, it } from 'vitest'
import { Random } from '../../src/data/index.js'
import { adamw, type ProcessGroup, sam, sgd, type TrainerOptions } from '../../src/index.js'
import { CompressedSum } from '../../src/train/compressed-sum.js'
import { errorWith } from '../thrown.js'
import { localGroup } from './local-group.js'
import { clusters, flat } from './problem.js'
import { startTrainers } from './small-trainer.js'

/** Rounds a number to bfloat16, by the two neighbors with 8 significant bits; the even one if it is in the middle. */
function toBfloat16(value: number): number {
  if (value === 0 || !Number.isFinite(value)) return value
  const unit = 2 ** (Math.floor(Math.log2(Math.abs(value))) - 7)
  const [below, rest] = [Math.floor(value / unit), value / unit - Math.floor(value / unit)]
  return unit * (rest > 0.5 || (rest === 0.5 && below % 2 !== 0) ? below + 1 : below)
}

const size = 3
const lengths = [1, 7, 0, 5, 10]
const total = lengths.reduce((a, b) => a + b)

/** Different numbers in each rank and call. */
const numbersOf = (rank: number, call: number): number[] => [
  ...new Random(10 * call + rank).fill(new Float32Array(total), 'normal'),
]

/** Divides numbers into arrays. */
function divide(numbers: readonly number[]): Float32Array[] {
  let at = 0
  return lengths.map((length) => {
    at += length
    return Float32Array.from(numbers.slice(at - length, at))
  })
}

/** Sums over all ranks, by rank. */
async function sumsOf(sums: readonly CompressedSum[], numbers: (rank: number) => readonly number[]) {
  const arrays = sums.map((_, rank) => divide(numbers(rank)))
  await Promise.all(sums.map((sum, rank) => sum.reduce(arrays[rank]!)))
  return arrays.map((own) => own.flatMap((array) => [...array]))
}

describe('sums in bfloat16', () => {
  // Pieces of 3 need three messages for 23 elements of 3 ranks.
  it.each([3, 2 ** 20])('have the roundings and errors of the formulas, with pieces of at most %i', async (piece) => {
    const sums = localGroup(size).map((group) => new CompressedSum(group, piece))
    const error = Array.from({ length: size }, () => new Float32Array(total))
    const sumError = new Float32Array(total)
    for (const call of [0, 1, 2]) {
      const results = await sumsOf(sums, (rank) => numbersOf(rank, call))
      const expected = Array.from({ length: total }, (_, i) => {
        let sum = sumError[i]!
        for (const rank of [0, 1, 2]) {
          const value = numbersOf(rank, call)[i]! + error[rank]![i]!
          const sent = toBfloat16(value)
          error[rank]![i] = value - sent
          sum += sent
        }
        const rounded = toBfloat16(sum)
        sumError[i] = sum - rounded
        return rounded
      })
      for (const result of results) expect(result).toEqual(expected)
    }
  })

  it('lose nothing over many calls', async () => {
    const sums = localGroup(size).map((group) => new CompressedSum(group))
    const exact = Array.from({ length: total }, (_, i) =>
      [0, 1, 2].reduce((sum, rank) => sum + numbersOf(rank, 0)[i]!, 0),
    )
    const received = new Float64Array(total)
    const calls = 200
    for (let call = 0; call < calls; call++)
      for (const [i, value] of (await sumsOf(sums, (rank) => numbersOf(rank, 0)))[0]!.entries()) received[i]! += value
    // One rounding of numbers below 8 is at most 2^-6, whatever the number of calls.
    for (const [i, value] of received.entries()) expect(Math.abs(value - calls * exact[i]!)).toBeLessThan(4 * 2 ** -6)
  })

  it('have a NaN or an infinity in every rank, and not in the next call', async () => {
    const sums = localGroup(size).map((group) => new CompressedSum(group))
    const bad = (rank: number) => numbersOf(rank, 0).map((x, i) => (rank === 1 ? ([NaN, Infinity][i] ?? x) : x))
    for (const result of await sumsOf(sums, bad)) expect(result.slice(0, 2)).toEqual([NaN, Infinity])
    for (const result of await sumsOf(sums, () => new Array(total).fill(0)))
      for (const x of result) expect(x).toBeLessThan(1)
  })

  it('send two bytes of every element twice', async () => {
    let bytes = 0
    const counted = (group: ProcessGroup): ProcessGroup => ({
      ...group,
      allToAll(sent, received) {
        bytes += sent.length
        return group.allToAll(sent, received)
      },
      allGather(own, all) {
        bytes += size * own.length
        return group.allGather(own, all)
      },
    })
    const sums = localGroup(size).map((group, rank) => new CompressedSum(rank === 0 ? counted(group) : group))
    await sumsOf(sums, (rank) => numbersOf(rank, 0))
    expect(bytes).toBe(2 * 2 * 24) // 23 elements in three pieces of 8
  })
})

describe('training with gradientCompression', () => {
  const { create } = startTrainers()
  const points = clusters(35, [6])
  const train = (options: Partial<TrainerOptions>) =>
    Promise.all(
      localGroup(2).map(async (group) => {
        const trainer = await create({ ...options, processGroup: group })
        await trainer.train(points, { totalSteps: 40 })
        const weights = flat(await trainer.parameters())
        await trainer.dispose()
        return weights
      }),
    )

  it('is refused for other types', async () => {
    const gradientCompression = 'float16' as 'bfloat16'
    await expect(create({ gradientCompression })).rejects.toThrow(errorWith('invalid-option', 'gradientCompression'))
  })

  it.each([
    ['AdamW', { optimizer: adamw({ lr: 1e-3 }), clipNorm: 1 }],
    ['SAM', { optimizer: sam(sgd({ lr: 0.05 }), { rho: 0.05 }) }],
  ] as const)('%s: all processes have the same weights, close to those without it', async (_, options) => {
    const [exact] = await train(options)
    const [first, second] = await train({ ...options, gradientCompression: 'bfloat16' })
    expect(second).toEqual(first)
    const difference = Math.max(...first!.map((weight, i) => Math.abs(weight - exact![i]!)))
    expect(difference).toBeGreaterThan(1e-6)
    expect(difference).toBeLessThan(5e-3)
  })
})
