import { describe, expect, it } from 'vitest'
import { fromArrays, labelColumn } from '../../../src/data/arrays.js'
import { type AugmentImagesOptions, augmentImages } from '../../../src/data/augment/augment-images.js'
import type { AugmentationSpec } from '../../../src/data/augment/registry.js'
import { batches } from '../../../src/data/batches.js'
import { imageColumn } from '../../../src/data/image/image-column.js'
import { tensor } from '../../../src/ir/tensor.js'
import { Random } from '../../../src/util/random.js'
import { rejectedMessage, thrownMessage } from '../../thrown.js'
import { noise } from './pictures.js'

const n = 12
const bytes = Uint8Array.from(noise(3, 8 * n, 8).data)
const pixels = tensor('uint8', [n, 8, 8, 3], bytes)
const image = { mean: [0.5, 0.4, 0.3], std: [0.2, 0.3, 0.4] }
const plain = fromArrays({ x: imageColumn(pixels, image), label: labelColumn(Array.from({ length: n }, (_, i) => i)) })
const augmented = (augmentations: readonly AugmentationSpec[], more: Partial<AugmentImagesOptions> = {}) =>
  augmentImages(plain, { input: 'x', augmentations, image, ...more })

const standard: AugmentationSpec[] = [{ kind: 'crop', padding: 2 }, { kind: 'flip' }, { kind: 'cutout', size: 4 }]

async function epoch(seed: number, number: number, start = 0, data = augmented(standard)) {
  const seen: string[] = []
  for await (const { tensors } of batches(data, { batchSize: 4, shuffle: new Random(seed), epoch: number, start }))
    seen.push(String(tensors['x']?.data))
  return seen
}

describe('augmentImages', () => {
  it('is the same in every run, and differs between epochs', async () => {
    const first = await epoch(1, 0)
    expect(await epoch(1, 0)).toEqual(first)
    expect(await epoch(1, 0, 2)).toEqual(first.slice(2)) // resumed
    expect(await epoch(1, 1)).not.toEqual(first)
    expect(await epoch(2, 0)).not.toEqual(first)
  })

  it('does not change batches in evaluation', async () => {
    expect(await augmented(standard).batch([3, 1])).toEqual(await plain.batch([3, 1]))
  })

  it('passes pixel values to augmentations and normalizes the result', async () => {
    const random = new Random(1)
    const same = await augmented([{ kind: 'flip', probability: 0 }]).batch([0, 5], { random })
    const { x, label } = await plain.batch([0, 5])
    expect(same['label']).toEqual(label)
    expect(same['x']?.dims).toEqual([2, 3, 8, 8])
    for (const [i, value] of (same['x']!.data as Float32Array).entries())
      expect(value).toBeCloseTo(Number(x!.data[i]), 5)
  })

  it('gives augmentations the channels in the order RGB', async () => {
    const reversed = { mean: image.mean.toReversed(), std: image.std.toReversed(), order: 'BGR' } as const
    const spec: AugmentationSpec[] = [{ kind: 'rand-augment', operations: 2, magnitude: 9 }]
    const bgr = augmentImages(fromArrays({ x: imageColumn(pixels, reversed) }), {
      input: 'x',
      augmentations: spec,
      image: reversed,
    })
    const [a, b] = [augmented(spec), bgr].map((data) => data.batch([0, 5, 7], { random: new Random(4) }))
    const [x, y] = [(await a!)['x']!.data as Float32Array, (await b!)['x']!.data as Float32Array]
    const place = (i: number) => 192 * Math.floor(i / 192) + 64 * (2 - (Math.floor(i / 64) % 3)) + (i % 64)
    for (const [i, value] of x.entries()) expect(y[place(i)]).toBeCloseTo(value, 5)
  })

  it('fills padding with black and holes with the mean for every normalization', async () => {
    const random = new Random(1)
    const far = await augmented([{ kind: 'crop', padding: 60 }]).batch([0, 1, 2, 3], { random })
    const black = image.mean.map((mean, c) => Math.fround(-mean / image.std[c]!))
    const channel = (i: number) => Math.floor(i / 64) % 3
    const beside = (far['x']!.data as Float32Array).filter((value, i) => Math.abs(value - black[channel(i)]!) < 1e-6)
    expect(beside.length).toBeGreaterThan(500)
    const holes = await augmented([{ kind: 'cutout', size: 16 }]).batch([0, 1], { random })
    for (const value of holes['x']!.data as Float32Array) expect(value).toBeCloseTo(0, 6)
  })

  it('accepts NCHW and NHWC', async () => {
    const other = augmentImages(fromArrays({ x: imageColumn(pixels, { ...image, layout: 'NHWC' }) }), {
      input: 'x',
      augmentations: [...standard, { kind: 'rand-augment' }],
      image: { ...image, layout: 'NHWC' },
    })
    const same = augmented([...standard, { kind: 'rand-augment' }])
    const [a, b] = [
      await same.batch([0, 1, 2], { random: new Random(4) }),
      await other.batch([0, 1, 2], { random: new Random(4) }),
    ]
    expect(b['x']?.dims).toEqual([3, 8, 8, 3])
    const [planar, packed] = [a['x']!.data, b['x']!.data]
    for (let i = 0; i < packed.length; i++) {
      const [example, p, c] = [Math.floor(i / 192), Math.floor((i % 192) / 3), i % 3]
      expect(packed[i]).toBe(planar[example * 192 + c * 64 + p])
    }
  })

  it('changes the size in training and evaluation', async () => {
    const data = augmented([{ kind: 'resized-crop', size: [5, 6] }, { kind: 'flip' }])
    expect((await data.batch([0, 1], { random: new Random(1) }))['x']?.dims).toEqual([2, 3, 5, 6])
    expect((await data.batch([0, 1]))['x']?.dims).toEqual([2, 3, 5, 6])
  })

  it('rejects invalid options and images', async () => {
    const message = (options: Partial<AugmentImagesOptions>) =>
      thrownMessage('invalid-option', () => augmented([], options))
    expect(message({ image: { std: [1, 0, 1] } })).toMatch("option 'std' is 0")
    expect(message({ image: { scale: 0 } })).toMatch("option 'scale' is 0")
    const kind = [JSON.parse('{ "kind": "blur" }')]
    expect(thrownMessage('invalid-option', () => augmented(kind))).toMatch("option 'kind' is 'blur'")
    expect(thrownMessage('invalid-option', () => augmented([{ kind: 'flip', p: 1 } as AugmentationSpec]))).toMatch(
      'no option',
    )
    const context = { random: new Random(1) }
    const batch = (options: Partial<AugmentImagesOptions>) => async () =>
      augmented(standard, options).batch([0], context)
    expect(await rejectedMessage('invalid-option', batch({ image: { mean: [1, 2] } }))).toMatch('one per channel: 3')
    expect(await rejectedMessage('invalid-data', batch({ input: 'y' }))).toMatch("there is no tensor 'y'")
    expect(await rejectedMessage('invalid-data', batch({ input: 'label' }))).toMatch("'label' is int64 [1]")
  })
})
