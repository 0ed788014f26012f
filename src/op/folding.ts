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
} from '../ir/shape.js'
import type { Value } from '../ir/value.js'
import { OnnxIreError } from '../util/errors.js'
import { define, ints } from './define.js'
import { checkLengths, shapeFrom } from './movement.js'
import { windowOf } from './window.js'

const windows = { dilations: ints.optional, pads: ints.optional, strides: ints.optional }

/** [N, C * taps, windows] -> [N, C, ...image] */
function folded(x: Shape | undefined, image: Shape | undefined, block: Shape | undefined): Shape | undefined {
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
function unpooled(x: Shape | undefined, attributes: UnpoolAttributes): Shape | undefined {
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

/** Operators that put windows back where they came from. */
export const folding = {
  Col2Im: define({
    inputs: ['x', 'image_shape', 'block_shape'],
    attributes: windows,
    since: 18,
    infer: ({ inputs: [x, image, block] }) => ({
      dtype: x.dtype,
      shape: folded(x.shape, checkLengths(shapeFrom(image)), checkLengths(shapeFrom(block))),
    }),
  }),
  MaxUnpool: define({
    inputs: ['x', 'indices', 'output_shape?'],
    attributes: { kernel_shape: ints.required, pads: ints.optional, strides: ints.optional },
    since: 11,
    infer: ({ inputs: [x, , to], attributes }) => ({ dtype: x.dtype, shape: unpooledShape(x, to, attributes) }),
  }),
}

function unpooledShape(x: Value, to: Value | null, attributes: UnpoolAttributes): Shape | undefined {
  const smallest = unpooled(x.shape, attributes)
  return to ? (checkLengths(shapeFrom(to)) ?? smallest?.map(unknownDim)) : smallest
}
