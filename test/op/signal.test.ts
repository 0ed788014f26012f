import { describe, expect, it } from 'vitest'
import { input, scalar } from '../../src/ir/leaf.js'
import { op } from '../../src/op/op.js'
import { evaluate } from '../grad/evaluate.js'

const float = (...shape: (number | string)[]) => input('x', 'float32', shape)
const whole = (value: number) => scalar('int64', value)

describe('DFT and STFT > shapes', () => {
  it('DFT > returns the transform length', () => {
    expect(op.DFT(float('N', 'L', 1)).shape).toEqual(['N', 'L', 2])
    expect(op.DFT(float('N', 'L', 2), whole(7), whole(0)).shape).toEqual([7, 'L', 2])
    expect(op.DFT(float('N', 'L', 1), null, null, { onesided: 1 }).shape).toEqual(['N', 'floor(L/2)+1', 2])
    expect(op.DFT(float('N', 'K', 2), null, null, { onesided: 1, inverse: 1 }).shape).toEqual(['N', 'K*2-2', 1])
    expect(op.DFT(float('N', 5, 2), whole(9), null, { onesided: 1, inverse: 1 }).shape).toEqual(['N', 9, 1])
  })

  it('STFT > returns one row per frame', () => {
    expect(op.STFT(float('N', 10, 1), whole(3), null, whole(4)).shape).toEqual(['N', 3, 3, 2])
    expect(op.STFT(float('N', 'L', 1), whole(2), float('W'), { onesided: 0 }).shape).toEqual([
      'N',
      'floor((L-W)/2)+1',
      'W',
      2,
    ])
  })
})

describe('signal-processing constants', () => {
  it('windows > have the given size', async () => {
    const [hann, hamming, blackman] = [
      op.HannWindow(whole(6)),
      op.HammingWindow(whole(5)),
      op.BlackmanWindow(whole(7), { periodic: 0 }),
    ]
    expect([hann.shape, hamming.shape, blackman.shape]).toEqual([[6], [5], [7]])
    expect((await evaluate(hann, hamming, blackman)).map(({ length }) => length)).toEqual([6, 5, 7])
    expect(op.HannWindow(input('size', 'int64', []), { output_datatype: 11 })).toMatchObject({ dtype: 'float64' })
  })

  it('MelWeightMatrix > has one column per filter', async () => {
    const bank = op.MelWeightMatrix(whole(4), whole(16), whole(8000), scalar('float32', 0), scalar('float32', 4000))
    expect(bank.shape).toEqual([9, 4])
    expect((await evaluate(bank))[0]).toHaveLength(36)
  })
})

describe('DFT and STFT > invalid signals', () => {
  it.each([
    ['three components', () => op.DFT(float(2, 4, 3))],
    ['an axis over the components', () => op.DFT(float(2, 4, 2), null, whole(-1))],
    ['a one-sided spectrum of a complex signal', () => op.DFT(float(2, 4, 2), null, null, { onesided: 1 })],
    ['an axis outside the rank', () => op.DFT(float(2, 4, 2), null, whole(3))],
    ['frames longer than the signal', () => op.STFT(float(1, 5, 1), whole(2), null, whole(8))],
    ['frames that do not move', () => op.STFT(float(1, 5, 1), whole(0), null, whole(2))],
  ])('%s > rejects', (_, build) => {
    expect(build).toThrow(expect.objectContaining({ code: 'invalid-shape' }))
  })

  it('frames of length 0 > rejects', () => {
    expect(() => op.STFT(float(1, 5, 1), whole(1))).toThrow('needs a window or a frame_length')
  })
})
