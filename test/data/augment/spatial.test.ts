import { describe, expect, it } from 'vitest'
import type { FloatImage } from '../../../src/data/augment/float-image.js'
import {
  cutout,
  type RandomCropOptions,
  type RandomResizedCropOptions,
  randomCrop,
  randomFlip,
  randomResizedCrop,
} from '../../../src/data/augment/spatial.js'
import { imageColumn } from '../../../src/data/image/image-column.js'
import { tensor } from '../../../src/ir/tensor.js'
import { Random } from '../../../src/util/random.js'
import { thrownMessage } from '../../thrown.js'
import { at, equals, noise } from './pictures.js'

const picture = noise(3, 6, 7)
const draws = 2000

/** Counts how often each outcome occurs; all must have the same probability. */
function expectUniform(counts: ReadonlyMap<string, number>, outcomes: number): void {
  expect(counts.size).toBe(outcomes)
  const expected = draws / outcomes
  for (const count of counts.values()) expect(Math.abs(count - expected)).toBeLessThan(5 * Math.sqrt(expected))
}

describe('randomCrop', () => {
  /** The positions that a cropped part may come from, found by trying all of them. */
  function places(made: FloatImage, padding: number, outside: (c: number, y: number, x: number) => number): string[] {
    const found: string[] = []
    for (let top = -padding; top <= 6 + padding - made.rows; top++)
      for (let left = -padding; left <= 7 + padding - made.columns; left++)
        if (equals(made, (c, y, x) => at(picture, c, top + y, left + x) ?? outside(c, top + y, left + x)))
          found.push(`${top} ${left}`)
    return found
  }
  function drawn(options: RandomCropOptions, padding: number, outside: (c: number, y: number, x: number) => number) {
    const { apply } = randomCrop(options)
    const random = new Random(3)
    const counts = new Map<string, number>()
    for (let i = 0; i < draws; i++) {
      const [place, ...others] = places(apply(picture, random), padding, outside)
      expect(others).toEqual([])
      counts.set(place!, (counts.get(place!) ?? 0) + 1)
    }
    return counts
  }

  it('crops at every position of the padded image equally often', () => {
    expectUniform(
      drawn({ padding: 2 }, 2, () => 0),
      25,
    )
    expectUniform(
      drawn({ padding: 1, fill: 'mean' }, 1, (c) => 100 + c),
      9,
    )
    expectUniform(
      drawn({ padding: 0, size: [4, 5], fill: 9 }, 0, () => 9),
      9,
    )
  })

  it('mirrors at the border', () => {
    const mirror = (p: number, size: number) => (p < 0 ? -p : p >= size ? 2 * size - 2 - p : p)
    expectUniform(
      drawn({ padding: 2, fill: 'reflect' }, 2, (c, y, x) => at(picture, c, mirror(y, 6), mirror(x, 7))!),
      25,
    )
  })

  it('pads by 4 by default, and crops the center in evaluation', () => {
    const { apply, applyInEvaluation } = randomCrop()
    const corners = new Set<number>()
    for (let seed = 0; seed < 300; seed++) corners.add(apply(noise(1, 1, 1), new Random(seed)).data[0]!)
    expect(corners.size).toBe(2)
    expect(applyInEvaluation?.(picture)).toBe(picture)
    const small = randomCrop({ size: [3, 4] }).applyInEvaluation!(picture)
    expect(equals(small, (c, y, x) => at(picture, c, y + 2, x + 2)!)).toBe(true) // 3 / 2 rounds to 2, as in torchvision
    expect([small.rows, small.columns]).toEqual([3, 4])
  })

  it('rejects invalid options and images', () => {
    const message = (options: object) =>
      thrownMessage('invalid-option', () => randomCrop(options).apply(picture, new Random(1)))
    expect(message({ padding: -1 })).toMatch("option 'padding' is -1")
    expect(message({ fill: 'white' })).toMatch("option 'fill' is 'white'")
    expect(message({ fill: 300 })).toMatch("option 'fill' is 300")
    expect(message({ size: 0 })).toMatch("option 'size' is 0")
    expect(message({ size: 7 })).toMatch('[6, 7]')
    expect(message({ fill: 'reflect', padding: 6 })).toMatch("'padding' is 6")
  })
})

describe('randomFlip', () => {
  it('flips half of the images', () => {
    const random = new Random(1)
    const { apply } = randomFlip()
    let flipped = 0
    for (let i = 0; i < draws; i++) {
      const made = apply(picture, random)
      if (equals(made, (c, y, x) => at(picture, c, y, 6 - x)!)) flipped++
      else expect(made).toBe(picture)
    }
    expect(Math.abs(flipped - draws / 2)).toBeLessThan(4 * Math.sqrt(draws / 4))
    expect(randomFlip({ probability: 0 }).apply(picture, random)).toBe(picture)
    expect(thrownMessage('invalid-option', () => randomFlip({ probability: 2 }))).toMatch("option 'probability' is 2")
  })
})

describe('cutout', () => {
  it('removes a square at a random position, clipped at the border', () => {
    const random = new Random(2)
    const { apply } = cutout({ size: 3 })
    const counts = new Map<string, number>()
    for (let i = 0; i < draws; i++) {
      const made = apply(picture, random)
      const places: string[] = []
      for (let row = 0; row < 6; row++)
        for (let column = 0; column < 7; column++) {
          const cut = (y: number, x: number) => Math.abs(y - row) <= 1 && Math.abs(x - column) <= 1
          if (equals(made, (c, y, x) => (cut(y, x) ? 100 + c : at(picture, c, y, x)!))) places.push(`${row} ${column}`)
        }
      expect(places).toHaveLength(1)
      counts.set(places[0]!, (counts.get(places[0]!) ?? 0) + 1)
    }
    expectUniform(counts, 42)
  })

  it('removes several squares', () => {
    const whole = cutout({ size: 14, count: 2 }).apply(picture, new Random(1))
    expect(equals(whole, (c) => 100 + c)).toBe(true)
    expect(thrownMessage('invalid-option', () => cutout({ size: 0 }))).toMatch("option 'size' is 0")
  })
})

describe('randomResizedCrop', () => {
  it('crops parts within the bounds of scale and ratio', () => {
    const side = 200
    // Pixel values encode positions: the slopes of the result give the sides of the crop, and its center the position.
    const ramp = (f: (y: number, x: number) => number): FloatImage => ({
      ...{ channels: 1, rows: side, columns: side, mean: [0] },
      data: Float32Array.from({ length: side * side }, (_, i) => f(Math.floor(i / side), i % side)),
    })
    const slope = (made: FloatImage, step: number) => (made.data[4 * 8 + 4]! - made.data[4 * 8 + 4 - step]!) * 8
    const ramps = [ramp((y) => y), ramp((_, x) => x)]
    const { apply } = randomResizedCrop({ size: 8, scale: [0.2, 0.8], ratio: [0.5, 2] })
    const [shares, logs]: [number[], number[]] = [[], []]
    for (let seed = 0; seed < 600; seed++) {
      const [down, across] = ramps.map((each) => apply(each, new Random(seed)))
      expect([down!.rows, down!.columns]).toEqual([8, 8])
      const [height, width] = [slope(down!, 8), slope(across!, 1)]
      shares.push((height * width) / side ** 2)
      logs.push(Math.log(width / height))
    }
    expect(Math.min(...shares)).toBeGreaterThan(0.19)
    expect(Math.max(...shares)).toBeLessThan(0.81)
    expect(Math.max(...logs.map(Math.abs))).toBeLessThan(Math.log(2) + 0.03)
    const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length
    expect(Math.abs(mean(logs))).toBeLessThan(0.06) // uniform over +-ln 2, less the few that do not fit in: 4 x 0.4 / sqrt(600)
    expect(mean(shares)).toBeGreaterThan(0.43)
    expect(mean(shares)).toBeLessThan(0.52)
  })

  it('resizes like imageColumn', () => {
    const whole: RandomResizedCropOptions = { size: [9, 4], scale: [1, 1], ratio: [7 / 6, 7 / 6] }
    const bytes = Uint8Array.from(
      { length: 126 },
      (_, i) => at(picture, i % 3, Math.floor(i / 21), Math.floor(i / 3) % 7)!,
    )
    const expected = imageColumn(tensor('uint8', [1, 6, 7, 3], bytes), { size: [9, 4], scale: 1 }).rows([0])
    const made = randomResizedCrop(whole).apply(picture, new Random(1))
    expect(made.data).toHaveLength(expected.data.length)
    for (const [i, value] of made.data.entries()) expect(value).toBeCloseTo(Number(expected.data[i]), 3)
  })

  it('falls back to the center if no part fits', () => {
    const wide = noise(1, 2, 40)
    const made = randomResizedCrop({ size: 2, scale: [1, 1], ratio: [1, 1] }).apply(wide, new Random(1))
    expect(equals(made, (_, y, x) => at(wide, 0, y, x + 19)!)).toBe(true)
  })

  it('crops the center in evaluation', () => {
    const { applyInEvaluation } = randomResizedCrop({ size: 4 })
    expect(equals(applyInEvaluation!(picture), (c, y, x) => at(picture, c, y + 1, x + 2)!)).toBe(true)
    const small = randomResizedCrop({ size: 12 }).applyInEvaluation!(picture)
    expect([small.rows, small.columns]).toEqual([12, 12])
  })

  it('rejects invalid options and images', () => {
    const message = (options: Partial<RandomResizedCropOptions>) =>
      thrownMessage('invalid-option', () => randomResizedCrop({ size: 4, ...options }))
    expect(message({ size: 0 })).toMatch("option 'size' is 0")
    expect(message({ scale: [0, 1] })).toMatch("option 'scale' is '[0, 1]'")
    expect(message({ scale: [0.5, 1.5] })).toMatch("option 'scale'")
    expect(message({ ratio: [2, 1] })).toMatch("option 'ratio' is '[2, 1]'")
  })
})
