import { addDims, type Dim, formatShape, mulDims, type Shape, subDims, unknownDim } from '../../ir/shape.js'
import type { TensorType, Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import { type Call, define, int, ints } from '../define.js'
import { biasFlops, convolutionFlops, product, size } from '../flops.js'
import {
  extentOf,
  split,
  type WindowAttributes,
  type WindowAxis,
  windowAttributes,
  windowOf,
  windowsAlong,
} from '../window.js'
import { matchDims } from './slicing.js'

/** Attributes of convolutions and of their quantized forms. */
export const convolutionAttributes = { ...windowAttributes, group: int(1), kernel_shape: ints.optional }
const transposedAttributes = { ...convolutionAttributes, output_padding: ints.optional, output_shape: ints.optional }

type Convolution = Call<readonly ['x', 'w', 'b?'], typeof convolutionAttributes>
type TransposedConvolution = Call<readonly ['x', 'w', 'b?'], typeof transposedAttributes>

/** Spatial lengths of the weights, from `kernel_shape` where their own are symbols. */
export function kernelOf(w: Shape, kernelShape: readonly number[] | undefined): readonly Dim[] {
  const spatial = w.slice(2)
  if (!kernelShape?.length) return spatial
  if (kernelShape.length !== spatial.length)
    throw new OnnxIreError('invalid-shape', `kernel_shape [${kernelShape.join(', ')}] for weights ${formatShape(w)}`)
  return spatial.map((dim, axis) => matchDims(dim, kernelShape[axis]!))
}

/** Throws `invalid-shape` unless data and weights have spatial axes, as far as their ranks are known. */
function checkRanks(x: Shape | undefined, w: Shape | undefined): void {
  const ranks = [x, w].flatMap((shape) => (shape ? [shape.length] : []))
  if (ranks.some((rank) => rank < 3 || rank !== ranks[0]))
    throw new OnnxIreError('invalid-shape', 'needs data [N, C, ...] and weights of equal rank of 3 or more')
}

function checkConvolution(w: Shape, group: number, outputChannels: Dim, bias: Value | null): void {
  if (!Number.isInteger(group) || group < 1 || (typeof w[0] === 'number' && w[0] % group !== 0)) {
    throw new OnnxIreError('invalid-shape', `group ${group} does not divide ${w[0]} channels`)
  }
  const length = bias?.shape?.[0]
  if (
    bias?.shape &&
    (bias.shape.length !== 1 ||
      (typeof length === 'number' && typeof outputChannels === 'number' && length !== outputChannels))
  ) {
    throw new OnnxIreError('invalid-shape', `the bias needs the shape [${outputChannels}]`)
  }
}

function meet(channels: Dim, needed: Dim): void {
  if (typeof channels === 'number' && typeof needed === 'number' && channels !== needed) {
    throw new OnnxIreError('invalid-shape', `the weights are for ${needed} channels, not ${channels}`)
  }
}

function inferConvolution({ inputs: [x, w, b], attributes }: Convolution): TensorType {
  checkRanks(x.shape, w.shape)
  if (!x.shape || !w.shape) return { dtype: x.dtype, shape: (x.shape ?? w.shape)?.map(unknownDim) }
  checkConvolution(w.shape, attributes.group, w.shape[0]!, b)
  meet(x.shape[1]!, mulDims(w.shape[1]!, attributes.group))
  const spatial = x.shape.slice(2)
  const window = windowOf(attributes, kernelOf(w.shape, attributes.kernel_shape), spatial)
  return {
    dtype: x.dtype,
    shape: [
      x.shape[0]!,
      w.shape[0]!,
      ...spatial.map((length, axis) => windowsAlong(length, window[axis]!, attributes.auto_pad)),
    ],
  }
}

interface TransposedAttributes extends WindowAttributes {
  readonly output_padding?: readonly number[] | undefined
  readonly output_shape?: readonly number[] | undefined
}

/**
 * One spatial axis of a transposed convolution, described by the windows of the convolution that it transposes. These
 * windows cover the output except its last `trim` elements.
 */
interface TransposedAxis extends WindowAxis {
  readonly trim: number
  /** Length of the output along this axis. */
  readonly output: Dim
}

/**
 * The windows of the convolution that ConvTranspose is the adjoint of. What the output would exceed a given
 * `output_shape` (or length * stride under SAME_*) by is padding, cut off on both sides; `output_padding` undoes
 * padding at the end. Throws `unsupported-operator` if SAME_* exceeds the windows, which onnxruntime does not pad.
 */
export function transposedWindowOf(
  attributes: TransposedAttributes,
  kernel: readonly Dim[],
  spatial: readonly Dim[],
): readonly TransposedAxis[] {
  const same = attributes.auto_pad.startsWith('SAME')
  const padded = windowOf(same ? { ...attributes, auto_pad: 'NOTSET', pads: undefined } : attributes, kernel, spatial)
  const given = perAxis('output_shape', attributes.output_shape?.slice(-spatial.length), spatial.length)
  const outputPadding = perAxis('output_padding', attributes.output_padding, spatial.length)
  return padded.map((axis, index) => {
    const length = spatial[index]!
    const extra = outputPadding?.[index] ?? 0
    const output = given?.[index] ?? (same ? mulDims(length, axis.stride) : undefined)
    if (output === undefined) return { ...lessAtEnd(axis, extra), output: fullLength(length, axis, extra) }
    const excess = given
      ? subDims(fullLength(length, { ...axis, before: 0, after: 0 }, extra), output)
      : subDims(addDims(extentOf(axis), extra), axis.stride)
    if (!given && typeof excess === 'number' && excess < 0)
      throw new OnnxIreError(
        'unsupported-operator',
        `auto_pad '${attributes.auto_pad}' with a stride of ${axis.stride} above the kernel's extent of ${extentOf(axis)}: onnxruntime returns fewer elements than ONNX defines, length times stride: export the model with explicit pads and output_padding`,
      )
    const cut = typeof excess === 'number' ? Math.max(0, excess) : excess
    return {
      ...lessAtEnd(
        { ...axis, ...split(cut, attributes.auto_pad) },
        extra + (typeof excess === 'number' ? (cut as number) - excess : 0),
      ),
      output,
    }
  })
}

/** An axis whose end padding shrinks by `less`; what is left over has to be trimmed. */
function lessAtEnd(axis: WindowAxis, less: number): WindowAxis & { trim: number } {
  const after = subDims(axis.after, less)
  return typeof after === 'number' && after < 0 ? { ...axis, after: 0, trim: -after } : { ...axis, after, trim: 0 }
}

/** (length - 1) stride + extent + output padding - pads */
function fullLength(length: Dim, axis: WindowAxis, outputPadding: number): Dim {
  const rest = subDims(subDims(addDims(extentOf(axis), outputPadding), axis.before), axis.after)
  const steps = mulDims(length, axis.stride)
  return typeof rest === 'number' ? addDims(steps, rest - axis.stride) : addDims(subDims(steps, axis.stride), rest)
}

function perAxis(name: string, given: readonly number[] | undefined, rank: number): readonly number[] | undefined {
  if (!given?.length) return undefined
  if (given.length !== rank || !given.every((length) => Number.isInteger(length) && length >= 0)) {
    throw new OnnxIreError(
      'invalid-shape',
      `${name} [${given.join(', ')}]: needs a number for each of ${rank} spatial axes`,
    )
  }
  return given
}

function inferTransposedConvolution({ inputs: [x, w, b], attributes }: TransposedConvolution): TensorType {
  checkRanks(x.shape, w.shape)
  if (!x.shape || !w.shape) return { dtype: x.dtype, shape: (x.shape ?? w.shape)?.map(unknownDim) }
  const channels = mulDims(w.shape[1]!, attributes.group)
  checkConvolution(w.shape, attributes.group, channels, b)
  meet(x.shape[1]!, w.shape[0]!)
  const window = transposedWindowOf(attributes, kernelOf(w.shape, attributes.kernel_shape), x.shape.slice(2))
  return { dtype: x.dtype, shape: [x.shape[0]!, channels, ...window.map(({ output }) => output)] }
}

/**
 * Convolutions over one or more spatial axes; data [N, C, ...], weights [M, C / group, ...] ([C, M / group, ...]
 * transposed).
 */
export const convolution = {
  Conv: define({
    inputs: ['x', 'w', 'b?'],
    attributes: convolutionAttributes,
    since: 11,
    weights: ['w', 'b'],
    layer: 'own',
    filterAxes: { w: () => [0] },
    maxOpset: { webgpu: 24 },
    flops: ([, w, b], [y]) => convolutionFlops(w, y!, b),
    infer: inferConvolution,
  }),
  ConvTranspose: define({
    inputs: ['x', 'w', 'b?'],
    attributes: transposedAttributes,
    since: 11,
    weights: ['w', 'b'],
    layer: 'own',
    filterAxes: { w: () => [1] },
    maxOpset: { webgpu: 21 },
    // Each input element is spread over M/g k1 k2 ... elements.
    flops: ([x, w, b], [y]) => 2 * size(x) * product(w.shape?.slice(1)) + biasFlops(b, y!),
    infer: inferTransposedConvolution,
  }),
}
