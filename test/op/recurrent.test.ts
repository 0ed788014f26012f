import { describe, expect, it } from 'vitest'
import { input } from '../../src/ir/leaf.js'
import type { Shape } from '../../src/ir/shape.js'
import { op } from '../../src/op/op.js'

const x = (name: string, ...shape: Shape) => input(name, 'float32', shape)
const sequence = x('x', 'T', 'N', 5)

describe('recurrent operators', () => {
  it('LSTM > returns all steps, the last hidden state and the last cell state', () => {
    const outputs = op.LSTM(sequence, x('w', 1, 32, 5), x('r', 1, 32, 8))
    expect(outputs.map(({ shape }) => shape)).toEqual([
      ['T', 1, 'N', 8],
      [1, 'N', 8],
      [1, 'N', 8],
    ])
  })

  it('GRU > both directions, batch first > returns shapes in that layout', () => {
    const outputs = op.GRU(x('x', 'N', 'T', 5), x('w', 2, 24, 5), x('r', 2, 24, 8), {
      direction: 'bidirectional',
      layout: 1,
    })
    expect(outputs.map(({ shape }) => shape)).toEqual([
      ['N', 'T', 2, 8],
      ['N', 2, 8],
    ])
  })

  it('weights of unknown shape > hidden_size sets the number of hidden units', () => {
    const [y] = op.RNN(sequence, x('w', 1, 8, 5), input('r', 'float32', undefined), { hidden_size: 8 })
    expect(y.shape).toEqual(['T', 1, 'N', 8])
  })

  it('an unknown direction, or data without a time axis > rejects', () => {
    const call = (data: Shape, direction: string) => () =>
      op.RNN(x('x', ...data), x('w', 1, 8, 5), x('r', 1, 8, 8), { direction })
    expect(call([3, 2, 5], 'backward')).toThrow(expect.objectContaining({ code: 'invalid-model' }))
    expect(call([2, 5], 'forward')).toThrow(expect.objectContaining({ code: 'invalid-shape' }))
  })
})
