import { activation } from './activation.js'
import { type OperatorFunction, operatorFunction } from './apply.js'
import { attention } from './attention.js'
import { blockQuantization } from './block-quantization.js'
import { control } from './control.js'
import { convolution } from './convolution.js'
import type { Definition } from './define.js'
import { elementwise } from './elementwise.js'
import { folding } from './folding.js'
import { generation } from './generation.js'
import { indexing } from './indexing.js'
import { linalg } from './linalg.js'
import { logical } from './logical.js'
import { movement } from './movement.js'
import { normalization } from './normalization.js'
import { pooling } from './pooling.js'
import { quantization } from './quantization.js'
import { recurrent } from './recurrent.js'
import { reduction } from './reduction.js'
import { region } from './region.js'
import { resize } from './resize.js'
import { sampling } from './sampling.js'
import { signal } from './signal.js'
import { slicing } from './slicing.js'
import { softmax } from './softmax.js'
import { textual } from './text.js'

/** Every operator this library knows, in the form of the newest operator set it writes. */
export const definitions = {
  ...generation,
  ...activation,
  ...logical,
  ...elementwise,
  ...linalg,
  ...movement,
  ...reduction,
  ...indexing,
  ...slicing,
  ...normalization,
  ...softmax,
  ...control,
  ...recurrent,
  ...quantization,
  ...blockQuantization,
  ...attention,
  ...convolution,
  ...pooling,
  ...resize,
  ...sampling,
  ...region,
  ...folding,
  ...signal,
  ...textual,
}

export type Definitions = typeof definitions

/** The same with the types of the single operators forgotten. */
const table = definitions as unknown as Readonly<Record<string, Definition>>

export type OperatorName = keyof Definitions

/** What an operator of a node is: nodes are made of known operators only. */
export const definitionOf = (operator: string): Definition => table[operator]!

export const isOperator = (name: string): name is OperatorName => Object.hasOwn(definitions, name)

/** ONNX operators as functions from values to values: `op.Mul(a, b)`, `op.Softmax(x, { axis: -1 })`. */
export const op = Object.fromEntries(
  Object.entries(table).map(([name, definition]) => [name, operatorFunction(name, definition)]),
) as unknown as { readonly [K in OperatorName]: OperatorFunction<Definitions[K]> }
