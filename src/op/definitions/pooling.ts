import {
  addDims,
  divDims,
  exactQuotient,
  formatShape,
  mulDims,
  productOf,
  type Shape,
  subDims,
  unknownDim,
} from '../../ir/shape.js'
import type { TensorType, Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import { checkShape } from '../contents.js'
import { define, int, ints } from '../define.js'
import { noFlops, perInput, product, size } from '../flops.js'
import { type WindowAttributes, windowAttributes, windowOf, windowsAlong, windowsAlongCeil } from '../window.js'
import { checkLengths, shapeFrom } from './movement.js'

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
  checkSameDilations(attributes)
  if (!x) return undefined
  if (x.length !== rank + 2)
    throw new OnnxIreError('invalid-shape', `a kernel of ${rank} axes needs data [N, C, ...] of ${rank + 2}`)
  const spatial = x.slice(2)
  const along = attributes.ceil_mode ? windowsAlongCeil : windowsAlong
  const window = windowOf(attributes, attributes.kernel_shape, spatial)
  return [x[0]!, x[1]!, ...spatial.map((length, axis) => along(length, window[axis]!, attributes.auto_pad))]
}

/** Throws `unsupported-operator` for SAME pads of dilated windows, which onnxruntime computes without the dilations. */
function checkSameDilations({ auto_pad, dilations, kernel_shape }: PoolAttributes): void {
  if (auto_pad.startsWith('SAME') && dilations?.some((dilation, axis) => dilation > 1 && kernel_shape[axis]! > 1))
    throw new OnnxIreError(
      'unsupported-operator',
      `auto_pad '${auto_pad}' with dilations [${dilations.join(', ')}]: onnxruntime computes the padding without dilations, and returns fewer elements than ONNX defines: export the model with explicit pads`,
    )
}

const inferPool = (x: Value, attributes: PoolAttributes): TensorType => ({
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
    maxOpset: { webgpu: 21 },
    flops: (_, [y], { kernel_shape }) => product(kernel_shape) * size(y!),
    infer: ({ inputs: [x], attributes }) => {
      const y = inferPool(x, attributes)
      return [y, { dtype: 'int64', shape: y.shape }]
    },
  }),
  AveragePool: define({
    inputs: ['x'],
    attributes: { ...attributes, count_include_pad: int(0) },
    since: 19,
    maxOpset: { webgpu: 24 },
    flops: (_, [y], { kernel_shape }) => product(kernel_shape) * size(y!),
    infer: ({ inputs: [x], attributes }) => inferPool(x, attributes),
  }),
  LpPool: define({
    inputs: ['x'],
    attributes: { ...attributes, p: int(2) },
    since: 18,
    flops: (_, [y], { kernel_shape }) => 2 * product(kernel_shape) * size(y!),
    infer: ({ inputs: [x], attributes }) => inferPool(x, attributes),
  }),
  GlobalAveragePool: define({
    inputs: ['x'],
    since: 1,
    keepsClasses: true,
    maxOpset: { webgpu: 21 },
    flops: perInput(1),
    infer: globallyPooled,
  }),
  GlobalMaxPool: define({
    inputs: ['x'],
    since: 1,
    maxOpset: { webgpu: 21 },
    flops: perInput(1),
    infer: globallyPooled,
  }),
  GlobalLpPool: define({
    inputs: ['x'],
    attributes: { p: int(2) },
    since: 2,
    flops: perInput(2),
    infer: globallyPooled,
  }),
}

const windows = { dilations: ints.optional, pads: ints.optional, strides: ints.optional }

/** [N, C * taps, windows] -> [N, C, ...image] */
function inferCol2Im(x: Shape | undefined, image: Shape | undefined, block: Shape | undefined): Shape | undefined {
  if (x && x.length !== 3)
    throw new OnnxIreError('invalid-shape', `needs columns [N, C * taps, windows], not ${formatShape(x)}`)
  if (!image) return undefined
  const [n, rows] = x ?? [unknownDim(), unknownDim()]
  const taps = block ? productOf(block) : unknownDim()
  const channels = exactQuotient(rows!, taps)
  if (channels === undefined && typeof rows === 'number' && typeof taps === 'number')
    throw new OnnxIreError('invalid-shape', `${rows} rows are no whole number of blocks of ${taps} taps`)
  return [n!, channels ?? divDims(rows!, taps), ...image]
}

interface UnpoolAttributes {
  readonly kernel_shape: readonly number[]
  readonly pads?: readonly number[] | undefined
  readonly strides?: readonly number[] | undefined
}

/** (length - 1) stride + kernel - pads: the shortest axis that MaxPool takes to `length`. */
function inferMaxUnpool(x: Shape | undefined, attributes: UnpoolAttributes): Shape | undefined {
  const { kernel_shape } = attributes
  if (!x) return undefined
  if (x.length !== kernel_shape.length + 2)
    throw new OnnxIreError('invalid-shape', `a kernel of ${kernel_shape.length} axes over data ${formatShape(x)}`)
  const spatial = x.slice(2)
  const window = windowOf({ ...attributes, auto_pad: 'NOTSET' }, kernel_shape, spatial)
  const lengths = window.map(({ kernel, stride, before, after }, axis) => {
    const rest = subDims(subDims(subDims(kernel, stride), before), after)
    return addDims(mulDims(spatial[axis]!, stride), rest)
  })
  return checkLengths([x[0]!, x[1]!, ...lengths])
}

/** Inverses of window extraction: Col2Im and MaxUnpool. */
export const folding = {
  Col2Im: define({
    inputs: ['x', 'image_shape', 'block_shape'],
    attributes: windows,
    since: 18,
    hostInputs: ['image_shape', 'block_shape'],
    flops: perInput(1),
    infer: ({ inputs: [x, image, block] }) => ({
      dtype: x.dtype,
      shape: inferCol2Im(x.shape, checkLengths(shapeFrom(image)), checkLengths(shapeFrom(block))),
    }),
  }),
  MaxUnpool: define({
    inputs: ['x', 'indices', 'output_shape?'],
    attributes: { kernel_shape: ints.required, pads: ints.optional, strides: ints.optional },
    since: 11,
    hostInputs: ['output_shape'],
    acceptsInt32: true,
    flops: noFlops,
    infer: ({ inputs: [x, indices, to], attributes }) => {
      checkShape('indices', indices, x.shape)
      return { dtype: x.dtype, shape: unpooledShape(x, to, attributes) }
    },
  }),
}

function unpooledShape(x: Value, to: Value | null, attributes: UnpoolAttributes): Shape | undefined {
  const smallest = inferMaxUnpool(x.shape, attributes)
  return to ? (checkLengths(shapeFrom(to)) ?? smallest?.map(unknownDim)) : smallest
}
