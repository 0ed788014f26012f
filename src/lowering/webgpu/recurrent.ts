import { recurrentExpansions } from '../../op/compose/recurrent.js'
import type { recurrent } from '../../op/definitions/recurrent.js'
import type { Lowerings } from '../lowering.js'

/** What the kernels have: the functions of the ONNX page, and no clipping. */
const usual: Readonly<Record<string, readonly string[]>> = {
  GRU: ['Sigmoid', 'Tanh'],
  LSTM: ['Sigmoid', 'Tanh', 'Tanh'],
}

const isUsual = (operator: string, { activations, clip }: Attributes): boolean =>
  clip === undefined &&
  (activations?.every((name, i) => name === usual[operator]![i % usual[operator]!.length]) ?? true)

interface Attributes {
  readonly activations?: readonly string[] | undefined
  readonly clip?: number | undefined
}

/** Other cells run round by round, as a Scan of the CPU. */
export const recurrentLowerings = {
  GRU: (inputs, attributes) => (isUsual('GRU', attributes) ? null : recurrentExpansions.GRU(inputs, attributes)),
  LSTM: (inputs, attributes) => (isUsual('LSTM', attributes) ? null : recurrentExpansions.LSTM(inputs, attributes)),
} satisfies Lowerings<typeof recurrent>
