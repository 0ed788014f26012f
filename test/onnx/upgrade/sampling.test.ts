import { describe, it } from 'vitest'
import { int, text } from '../build.js'
import { checkOriginal, type Operand, type Original } from './original.js'

const image: Operand = { dims: [1, 2, 4, 5] }
const grid: Operand = {
  dims: [1, 2, 3, 2],
  values: [-0.9, 0.33, 0.12, -0.41, 0.77, 0.58, 0.2, 0.93, -0.3, -0.72, 1.2, -0.15],
  fixed: true,
}
const old = (opset: number, rest: Omit<Original, 'opset' | 'domain'>): Original => ({ ...rest, opset, domain: '' })

const gridSample = (mode: string | undefined): Original =>
  old(16, {
    name: `${mode}`,
    operator: 'GridSample',
    operands: [image, grid],
    attributes: mode ? { mode: text(mode) } : {},
  })

describe('GridSample before operator set 20', () => {
  it.each([undefined, 'bilinear', 'bicubic', 'nearest'])('in mode %s', (mode) => checkOriginal(gridSample(mode)))
})

describe('RoiAlign before operator set 16', () => {
  it('does not move regions by half a pixel', () =>
    checkOriginal(
      old(10, {
        name: 'RoiAlign',
        operator: 'RoiAlign',
        operands: [
          image,
          { dims: [2, 4], values: [0.41, 0.33, 3.37, 2.59, 1.27, 0.69, 4.13, 3.21], fixed: true },
          { dims: [2], values: [0, 0], dtype: 'int64' },
        ],
        attributes: { output_height: int(2), output_width: int(2), sampling_ratio: int(2) },
      }),
    ))
})

describe('DFT before operator set 20', () => {
  const transform = (name: string, x: readonly number[], attributes: NonNullable<Original['attributes']>): Original =>
    old(17, { name, operator: 'DFT', operands: [{ dims: x }], attributes })

  it.each([
    transform('the default axis is 1', [2, 4, 3, 1], {}),
    transform('the axis is an attribute', [2, 3, 5, 2], { axis: int(2), inverse: int(1) }),
    transform('one-sided', [2, 6, 1], { onesided: int(1) }),
  ])('$name', checkOriginal)
})
