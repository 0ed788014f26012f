import attention from './attention.js'
import basic from './basic.js'
import control from './control.js'
import convolution from './convolution.js'
import { joined } from './family.js'
import microsoftActivation from './microsoft-activation.js'
import microsoftAttention from './microsoft-attention.js'
import microsoftLinalg from './microsoft-linalg.js'
import microsoftNormalization from './microsoft-normalization.js'
import normalization from './normalization.js'
import pooling from './pooling.js'
import quantization from './quantization.js'
import recurrent from './recurrent.js'
import resize from './resize.js'
import sampling from './sampling.js'
import selection from './selection.js'
import sequence from './sequence.js'
import signal from './signal.js'
import text from './text.js'
import training from './training.js'

/** Every operator there is, for functions that cannot wait: whoever writes graphs by hand calls them. */
export const everyOperator = joined([
  attention,
  basic,
  control,
  convolution,
  microsoftActivation,
  microsoftAttention,
  microsoftLinalg,
  microsoftNormalization,
  normalization,
  pooling,
  quantization,
  recurrent,
  resize,
  sampling,
  selection,
  sequence,
  signal,
  text,
  training,
])
