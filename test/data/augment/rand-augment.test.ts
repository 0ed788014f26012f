import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import type { FloatImage } from '../../../src/data/augment/float-image.js'
import { randAugment, randAugmentOperations } from '../../../src/data/augment/rand-augment.js'
import { Random } from '../../../src/util/random.js'
import { thrownMessage } from '../../thrown.js'
import { noise } from './pictures.js'

interface Reference {
  readonly shape: readonly [channels: number, rows: number, columns: number]
  readonly image: string
  readonly results: readonly { readonly name: string; readonly magnitude: number; readonly pixels: string }[]
}

/** Results of torchvision for 31 magnitudes, created by tools/torch/rand_augment.py. */
const references: readonly Reference[] = JSON.parse(readFileSync(new URL('torchvision.json', import.meta.url), 'utf8'))
/**
 * Operations that blend in float32 and cut off fractions: the last bit of a factor may select one of two neighbors.
 */
const blended = ['Brightness', 'Color', 'Contrast', 'Sharpness']

describe('operations of RandAugment', () => {
  it.each(randAugmentOperations)('$name > equals the pixels of torchvision', ({ name, apply }) => {
    let compared = 0
    for (const { shape, image, results } of references) {
      const [channels, rows, columns] = shape
      const data = Float32Array.from(Buffer.from(image, 'hex'))
      for (const { pixels, magnitude } of results.filter((result) => result.name === name)) {
        const made = apply({ channels, rows, columns, data, mean: [] }, magnitude / 30)
        const expected = [...Buffer.from(pixels, 'hex')]
        expect(made).toMatchObject({ channels, rows, columns })
        if (blended.includes(name))
          for (const [i, value] of made.data.entries()) expect(Math.abs(value - expected[i]!)).toBeLessThanOrEqual(1)
        else expect([...made.data]).toEqual(expected)
        compared++
      }
      expect([...data]).toEqual([...Buffer.from(image, 'hex')]) // the image itself stays
    }
    expect(compared).toBeGreaterThanOrEqual(3)
  })
})

describe('randAugment', () => {
  const full = noise(3, 20, 21)
  const picture = { ...full, data: full.data.map((value) => 30 + Math.floor(0.8 * value)) } // no operation leaves it
  const { apply } = randAugment()
  /** Every result that one operation can have at the default strength, by its name. */
  const results = (from: FloatImage) =>
    randAugmentOperations.flatMap(({ name, signed, apply }) =>
      (signed ? [0.3, -0.3] : [0.3]).map((m) => [name, apply(from, m).data.join()] as const),
    )

  it('applies two operations, all equally likely, with random signs', () => {
    const single = randAugment({ operations: 1 })
    const known = results(picture)
    expect(new Set(known.map(([, pixels]) => pixels)).size).toBe(known.length)
    const counts = new Map<string, number>()
    const random = new Random(5)
    const draws = 2800
    for (let i = 0; i < draws; i++) {
      const made = single.apply(picture, random).data.join()
      const found = known.filter(([, pixels]) => pixels === made)
      expect(found).toHaveLength(1)
      counts.set(made, (counts.get(made) ?? 0) + 1)
    }
    // Each of the 14 operations occurs 200 +- 14 times, half of them with each sign.
    for (const [name, pixels] of known) {
      const share = randAugmentOperations.find((each) => each.name === name)?.signed ? 28 : 14
      expect(Math.abs((counts.get(pixels) ?? 0) - draws / share)).toBeLessThan(4 * Math.sqrt(draws / share))
    }
    const twice = new Set(
      randAugmentOperations.flatMap(({ signed, apply }) =>
        (signed ? [0.3, -0.3] : [0.3]).flatMap((m) => results(apply(picture, m)).map(([, pixels]) => pixels)),
      ),
    )
    for (let i = 0; i < 50; i++) expect(twice.has(apply(picture, random).data.join())).toBe(true)
  })

  it('rounds to bytes first', () => {
    const { data } = picture
    const off = { ...picture, data: data.map((value, i) => value + [0.4, -0.4, 0][i % 3]!) }
    for (let seed = 0; seed < 20; seed++)
      expect(apply(off, new Random(seed)).data).toEqual(apply(picture, new Random(seed)).data)
  })

  it('rejects invalid options and images', () => {
    const options = (given: object) => thrownMessage('invalid-option', () => randAugment(given))
    expect(options({ magnitude: 31 })).toMatch("option 'magnitude' is 31; it must be an integer in [0, 30]")
    expect(options({ operations: 0 })).toMatch("option 'operations' is 0")
    expect(options({ bins: 1 })).toMatch("option 'bins' is 1")
    expect(options({ strength: 1 })).toMatch("there is no option 'strength'")
    expect(thrownMessage('invalid-data', () => apply(noise(4, 3, 3), new Random(1)))).toMatch('4 channels')
  })
})
