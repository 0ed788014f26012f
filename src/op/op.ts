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
import { selection } from './selection.js'
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
  ...softmax,
  ...normalization,
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
  ...selection,
  ...signal,
  ...textual,
}

export type Definitions = typeof definitions

export type OperatorName = keyof Definitions

/** ONNX operators as functions from values to values: `op.Mul(a, b)`, `op.Softmax(x, { axis: -1 })`. */
export const op = Object.fromEntries(
  Object.entries(definitions as Readonly<Record<string, Definition>>).map(([name, definition]) => [
    name,
    operatorFunction(name, definition),
  ]),
) as unknown as { readonly [K in OperatorName]: OperatorFunction<Definitions[K]> }

/** The definition of a node's operator. */
export const definitionOf = (operator: string): Definition =>
  (definitions as Readonly<Record<string, Definition>>)[operator]!
