import type { Value } from '../../../src/ir/value.js'
import type { recurrent } from '../../../src/op/definitions/recurrent.js'
import { op } from '../../../src/op/op.js'
import type { Case, Cases, Operand } from './case.js'

const float32 = 'RNN, GRU and LSTM have float32 kernels alone'
const [I, H, N] = [3, 2, 2]
const small = (...dims: readonly number[]): Operand => ({ shape: dims, range: [-0.8, 0.8] })

/** x, w, r and b of a layer. */
const weights = (gates: number, steps: number, directions = 1): Operand[] => [
  small(steps, N, I),
  small(directions, gates * H, I),
  small(directions, gates * H, H),
  small(directions, 2 * gates * H),
]
const lens = (...values: readonly number[]): Operand => ({ shape: [values.length], dtype: 'int32', values })
const start = (directions = 1) => small(directions, N, H)

interface Layer {
  readonly name: string
  readonly steps?: number
  readonly directions?: number
  readonly extra?: readonly Operand[]
  /** Operands behind b, from the extra ones. */
  readonly place?: (...extra: Value[]) => (Value | null)[]
  readonly attributes?: Record<string, string | number | string[] | number[]>
}

const cases = (operator: 'RNN' | 'GRU' | 'LSTM', gates: number, layers: readonly Layer[]): readonly Case[] =>
  layers.map(({ name, steps = 3, directions = 1, extra = [], place = (...x) => x, attributes = {} }) => ({
    name: `${operator} ${name}`,
    operands: [...weights(gates, steps, directions), ...extra],
    build: (x, w, r, b, ...rest) =>
      // The three take the same operands but for those at the end.
      (op[operator] as typeof op.LSTM)(
        ...([x, w, r, b, ...place(...rest)] as unknown as [Value, Value, Value, Value]),
        { hidden_size: H, ...attributes },
      ).slice(0, operator === 'LSTM' ? 3 : 2),
    float32,
  }))

const both = { direction: 'bidirectional' }

export const recurrentCases = {
  RNN: cases('RNN', 1, [
    { name: 'of few steps' },
    { name: 'of one step', steps: 1 },
    { name: 'of many steps', steps: 6 },
    {
      name: 'backwards, with a first state',
      extra: [start()],
      place: (h) => [null, h!],
      attributes: { direction: 'reverse' },
    },
    {
      name: 'in both directions, with other functions',
      directions: 2,
      attributes: { ...both, activations: ['Softsign', 'ScaledTanh'], activation_alpha: [0.7], activation_beta: [1.3] },
    },
    {
      name: 'of sequences of different lengths, backwards',
      steps: 4,
      extra: [lens(4, 2)],
      attributes: { direction: 'reverse' },
    },
  ]),
  GRU: cases('GRU', 3, [
    { name: 'of few steps' },
    { name: 'of many steps', steps: 6, extra: [start()], place: (h) => [null, h!] },
    { name: 'with the reset behind the product', attributes: { linear_before_reset: 1 } },
    { name: 'of many steps, with the reset behind the product', steps: 6, attributes: { linear_before_reset: 1 } },
    {
      name: 'in both directions, of sequences of different lengths',
      directions: 2,
      steps: 4,
      extra: [lens(2, 4), start(2)],
      attributes: both,
    },
    {
      name: 'with other functions',
      attributes: { activations: ['HardSigmoid', 'Softsign'], activation_alpha: [0.3], activation_beta: [0.4] },
    },
  ]),
  LSTM: cases('LSTM', 4, [
    { name: 'of few steps' },
    { name: 'of one step, with first states', steps: 1, extra: [start(), start()], place: (h, c) => [null, h!, c!] },
    { name: 'of many steps, with first states', steps: 6, extra: [start(), start()], place: (h, c) => [null, h!, c!] },
    { name: 'of many steps backwards', steps: 6, attributes: { direction: 'reverse' } },
    {
      name: 'with peepholes, in both directions',
      directions: 2,
      extra: [start(2), start(2), small(2, 3 * H)],
      place: (h, c, p) => [null, h!, c!, p!],
      attributes: both,
    },
    {
      name: 'in both directions, of sequences of different lengths',
      directions: 2,
      steps: 4,
      extra: [lens(3, 4)],
      attributes: both,
    },
    { name: 'of many steps, of sequences of different lengths', steps: 6, extra: [lens(6, 2)] },
    {
      name: 'with clipping and other functions',
      attributes: {
        clip: 0.9,
        activations: ['Sigmoid', 'Affine', 'Tanh'],
        activation_alpha: [0.8],
        activation_beta: [0.1],
      },
    },
  ]),
} satisfies Cases<typeof recurrent>
