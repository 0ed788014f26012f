import type { Shape } from '../ir/shape.js'
import type { TensorType, Value } from '../ir/value.js'
import { OnnxIreError } from '../util/errors.js'
import { define, int, ints } from './define.js'
import { type WindowAttributes, windowAttributes, windowOf, windowsAlong, windowsAlongCeil } from './window.js'

const attributes = { ...windowAttributes, kernel_shape: ints.required, ceil_mode: int(0) }

interface PoolAttributes extends WindowAttributes {
  readonly kernel_shape: readonly number[]
  readonly ceil_mode: number
}

function pooledShape(x: Shape | undefined, attributes: PoolAttributes): Shape | undefined {
  const rank = attributes.kernel_shape.length
  if (!attributes.kernel_shape.every((length) => Number.isInteger(length) && length >= 1)) {
    throw new OnnxIreError(
      'invalid-shape',
      `kernel_shape [${attributes.kernel_shape.join(', ')}] needs positive lengths`,
    )
  }
  if (!x) return undefined
  if (x.length !== rank + 2)
    throw new OnnxIreError('invalid-shape', `a kernel of ${rank} axes needs data [N, C, ...] of ${rank + 2}`)
  const spatial = x.slice(2)
  const along = attributes.ceil_mode ? windowsAlongCeil : windowsAlong
  const window = windowOf(attributes, attributes.kernel_shape, spatial)
  return [x[0]!, x[1]!, ...spatial.map((length, axis) => along(length, window[axis]!, attributes.auto_pad))]
}

const pooled = (x: Value, attributes: PoolAttributes): TensorType => ({
  dtype: x.dtype,
  shape: pooledShape(x.shape, attributes),
})

/** Spatial axes reduced to length 1. */
const globallyPooled = ({ inputs: [x] }: { readonly inputs: readonly [Value] }): TensorType => {
  if (x.shape && x.shape.length < 2) throw new OnnxIreError('invalid-shape', 'needs data [N, C, ...]')
  return { dtype: x.dtype, shape: x.shape?.map((dim, axis) => (axis < 2 ? dim : 1)) }
}

/** Pools over the spatial axes of [N, C, ...]. */
export const pooling = {
  MaxPool: define({
    inputs: ['x'],
    outputs: ['y', 'indices?'],
    attributes: { ...attributes, storage_order: int(0) },
    since: 12,
    infer: ({ inputs: [x], attributes }) => {
      const y = pooled(x, attributes)
      return [y, { dtype: 'int64', shape: y.shape }]
    },
  }),
  AveragePool: define({
    inputs: ['x'],
    attributes: { ...attributes, count_include_pad: int(0) },
    since: 19,
    infer: ({ inputs: [x], attributes }) => pooled(x, attributes),
  }),
  LpPool: define({
    inputs: ['x'],
    attributes: { ...attributes, p: int(2) },
    since: 18,
    infer: ({ inputs: [x], attributes }) => pooled(x, attributes),
  }),
  GlobalAveragePool: define({ inputs: ['x'], since: 1, infer: globallyPooled }),
  GlobalMaxPool: define({ inputs: ['x'], since: 1, infer: globallyPooled }),
  GlobalLpPool: define({ inputs: ['x'], attributes: { p: int(2) }, since: 2, infer: globallyPooled }),
}
