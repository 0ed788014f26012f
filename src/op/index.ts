import { type OperatorFunction, operators } from './apply.js'
import { attention } from './attention.js'
import { basic } from './basic.js'
import { blockQuantization } from './block-quantization.js'
import { control } from './control.js'
import { convolution } from './convolution.js'
import { folding } from './folding.js'
import { normalization } from './normalization.js'
import { pooling } from './pooling.js'
import { quantization } from './quantization.js'
import { recurrent } from './recurrent.js'
import { region } from './region.js'
import { resize } from './resize.js'
import { sampling } from './sampling.js'
import { selection } from './selection.js'
import { signal } from './signal.js'
import { textual } from './text.js'

/** Every operator this library knows, in the form of the newest operator set it writes. */
export const definitions = {
  ...basic,
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
export const op = operators(definitions) as { readonly [K in OperatorName]: OperatorFunction<Definitions[K]> }
