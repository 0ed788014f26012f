import { activation } from './activation.js'
import { operators } from './apply.js'
import { elementwise } from './elementwise.js'
import { generation } from './generation.js'
import { indexing } from './indexing.js'
import { linalg } from './linalg.js'
import { logical } from './logical.js'
import { movement } from './movement.js'
import { reduction } from './reduction.js'
import { slicing } from './slicing.js'
import { softmax } from './softmax.js'

/** The operators that most models are written in, and gradients too: arithmetic, matrix products, and moving elements about. */
export const basic = {
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
}

/** As functions from values to values; `operators(basic, convolution)` makes those of other families too. */
export const op = operators(basic)
