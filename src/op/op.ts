import { type OperatorFunction, operatorFunction } from './apply.js'
import type { Definition } from './define.js'
import { activation } from './definitions/activation.js'
import { attention } from './definitions/attention.js'
import { blockedLayout } from './definitions/blocked-layout.js'
import { control } from './definitions/control.js'
import { convolution } from './definitions/convolution.js'
import { elementwise, logical } from './definitions/elementwise.js'
import { fused } from './definitions/fused.js'
import { generation } from './definitions/generation.js'
import { indexing, selection } from './definitions/indexing.js'
import { linalg } from './definitions/linalg.js'
import { movement } from './definitions/movement.js'
import { normalization } from './definitions/normalization.js'
import { folding, pooling } from './definitions/pooling.js'
import { blockQuantization, quantization } from './definitions/quantization.js'
import { recurrent } from './definitions/recurrent.js'
import { reduction } from './definitions/reduction.js'
import { resize } from './definitions/resize.js'
import { region, sampling } from './definitions/sampling.js'
import { signal } from './definitions/signal.js'
import { slicing } from './definitions/slicing.js'
import { softmax } from './definitions/softmax.js'
import { textual } from './definitions/text.js'

/** All operators of this library, in the form of the newest operator set it writes. */
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

type Functions<Family> = { readonly [K in keyof Family]: OperatorFunction<Family[K]> }

const functionsOf = <Family extends object>(family: Family): Functions<Family> =>
  Object.fromEntries(
    Object.entries(family as unknown as Readonly<Record<string, Definition>>).map(([name, definition]) => [
      name,
      operatorFunction(name, definition),
    ]),
  ) as unknown as Functions<Family>

/** ONNX operators as functions from values to values: `op.Mul(a, b)`, `op.Softmax(x, { axis: -1 })`. */
export const op: { readonly [K in OperatorName]: OperatorFunction<Definitions[K]> } = functionsOf(definitions)

/** Operators for lowerings, as functions. */
export const layout = functionsOf(blockedLayout)
export const fusedOp = functionsOf(fused)

const all = { ...definitions, ...blockedLayout, ...fused } as unknown as Readonly<Record<string, Definition>>

/** The definition of a node's operator. */
export const definitionOf = (operator: string): Definition => all[operator]!
