import type { DType } from '../../ir/dtype.js'
import { constant, int64s, internConstant, tensorFrom } from '../../ir/leaf.js'
import { type Dim, isStatic, productOf } from '../../ir/shape.js'
import { sizeOf } from '../../ir/tensor.js'
import type { Value } from '../../ir/value.js'
import { columnsOfChannels, columnsOfImages } from '../../op/compose/columns.js'
import { samePads } from '../../op/compose/pooling.js'
import { reverseTaps } from '../../op/compose/reversal.js'
import { reshapeLike, swapFirst, withRank } from '../../op/compose/shape.js'
import { channelsOf } from '../../op/compose/statistics.js'
import {
  hasWeightTiles,
  inputGradientByTiles,
  inputTileSide,
  weightGradientByTiles,
} from '../../op/compose/winograd.js'
import { knownNumbers } from '../../op/contents.js'
import { type convolution, kernelOf, transposedWindowOf } from '../../op/definitions/convolution.js'
import type { folding } from '../../op/definitions/pooling.js'
import { op } from '../../op/op.js'
import type { WindowAxis } from '../../op/window.js'
import { extentOf, windowOf } from '../../op/window.js'
import { OnnxIreError } from '../../util/errors.js'
import type { Rules } from '../rule.js'
import {
  depthwiseWeightGradient,
  depthwiseWeightGradientPerImage,
  hasDepthwiseForm,
  hasImageForm,
} from './depthwise-weight-gradient.js'
import { gradientsOfProduct } from './normalized-product.js'

/** Swaps input and output channels within every group: weights [g m, c, ...] of known shape to [g c, m, ...]. */
function transposeGroups(w: Value, group: number): Value {
  const [outputs, c, ...kernel] = w.shape as readonly number[]
  const m = outputs! / group
  if (group === 1) return swapFirst(w)
  if (m === 1 && c === 1) return w
  return op.Reshape(op.Transpose(op.Reshape(w, [group, m, c!, -1]), { perm: [0, 2, 1, 3] }), [group * c!, m, ...kernel])
}

/** If at least this many elements follow the last window of SAME padding, onnxruntime moves those of a convolution. */
const minConvolutionRest = 3

/** Gradients of the operands of a sliding-window operator, the data's first. */
type Gradients = readonly [dx: Value, ...others: Value[]]

/**
 * Throws `not-differentiable` for SAME padding of an axis whose last window ends `least` elements or more before the
 * end: ONNX defines no padding then, but onnxruntime's CPU provider a negative one, so that its windows begin later.
 */
export function rejectMovedWindows(
  operator: string,
  x: Value,
  window: readonly WindowAxis[],
  autoPad: string,
  least: number,
): void {
  if (!autoPad.startsWith('SAME')) return
  for (const [i, axis] of window.entries()) {
    const [{ stride }, extent, length] = [axis, extentOf(axis), x.shape?.[i + 2]]
    if (typeof extent !== 'number') continue
    const last = typeof length === 'number' ? length - (Math.ceil(length / stride) - 1) * stride : stride
    if (last - extent < least) continue
    throw new OnnxIreError(
      'not-differentiable',
      `${operator}: auto_pad '${autoPad}' with a stride of ${stride} above the kernel's extent of ${extent}: onnxruntime's windows begin elsewhere than ONNX defines; export the model with explicit pads`,
    )
  }
}

/**
 * Calls `gradients` with windows of known padding. SAME padding of symbolic lengths is unknown: a Pad node then pads
 * x, and the gradient is cropped.
 * @param kernel spatial lengths of the kernel as a 1-D int64 tensor
 * @param gradients gets x, its windows and a function that pads another tensor with the spatial lengths of x in the
 *   same way
 */
export function withKnownPadding(
  x: Value,
  kernel: Value,
  window: readonly WindowAxis[],
  autoPad: string,
  gradients: (x: Value, window: readonly WindowAxis[], pad: (like: Value) => Value) => Gradients,
): Gradients {
  if (window.every(({ before, after }) => typeof before === 'number' && typeof after === 'number'))
    return gradients(x, window, (like) => like)
  const { before, after } = samePads(x, kernel, window, autoPad)
  const none = int64s([0, 0])
  const pad = (like: Value) => op.Pad(like, op.Concat([none, before, none, after], { axis: 0 }))
  const unpadded = window.map((axis) => ({ ...axis, before: 0, after: 0 }))
  const [dpadded, ...others] = gradients(pad(x), unpadded, pad)
  const axes = window.map((_, i) => i + 2)
  return [op.Slice(dpadded, before, op.Add(before, op.Shape(x, { start: 2 })), axes), ...others]
}

// Gradient of the input

/**
 * Gradient of Conv with respect to its input: every window adds its gradient times the weights to the elements it
 * covers. Only the spatial lengths of `x` are used. At stride 1 this is a convolution with flipped kernels, which
 * onnxruntime's CPU provider runs twice as fast as ConvTranspose; with one spatial axis also at larger strides.
 * @param tiles whether to use Winograd's tiles where they are fast on a CPU
 */
export function inputGradient(
  dy: Value,
  w: Value,
  window: readonly WindowAxis[],
  group: number,
  x: Value,
  tiles: boolean,
): Value {
  const tails = window.map((axis, i) => tailOf(axis, x.shape?.[i + 2], dy.shape?.[i + 2]))
  if (!tails.every((tail) => tail !== undefined)) return transposeAndCrop(dy, w, window, group, x)
  const length = x.shape?.[2]
  if (window.length === 1 && typeof length === 'number') {
    const dx = inputGradientByPhases(dy, w, window[0]!, group, length)
    if (dx) return dx
  }
  const pads = flippedPads(w, window, tails)
  const m = pads && tiles && inputTileSide(x, w, dy, window, group)
  if (m) return inputGradientByTiles(dy, w, window, x, m)
  return pads
    ? op.Conv(dy, flipKernels(w, group), { group, dilations: dilationsOf(window), pads })
    : op.ConvTranspose(dy, w, {
        ...stepsOf(window, group),
        pads: [...beforeOf(window), ...tails.map((tail) => Math.max(0, tail))],
        output_padding: tails.map((tail) => Math.max(0, -tail)),
      })
}

const beforeOf = (window: readonly WindowAxis[]) => window.map(({ before }) => before as number)
const dilationsOf = (window: readonly WindowAxis[]) => window.map(({ dilation }) => dilation)
const stepsOf = (window: readonly WindowAxis[], group: number) => ({
  group,
  strides: window.map(({ stride }) => stride),
  dilations: dilationsOf(window),
})

/**
 * Elements by which the last window exceeds x, negative if it leaves elements uncovered; undefined if known only at
 * run time.
 */
function tailOf(axis: WindowAxis, length: Dim | undefined, windows: Dim | undefined): number | undefined {
  const extent = extentOf(axis)
  if (typeof length === 'number' && typeof windows === 'number' && typeof extent === 'number') {
    return (windows - 1) * axis.stride + extent - (axis.before as number) - length
  }
  return axis.stride === 1 ? (axis.after as number) : undefined
}

/** Pads of the convolution with flipped kernels; undefined unless every stride is 1 and no pad is negative. */
function flippedPads(w: Value, window: readonly WindowAxis[], tails: readonly number[]): readonly number[] | undefined {
  if (!isStatic(w.shape) || window.some(({ stride }) => stride !== 1)) return undefined
  const reach = window.map((axis) => (extentOf(axis) as number) - 1)
  const pads = [...beforeOf(window), ...tails].map((pad, i) => reach[i % reach.length]! - pad)
  return pads.every((pad) => pad >= 0) ? pads : undefined
}

/**
 * Largest number of multiplications by padding zeros per tap and output channel for which phases are fastest, measured
 * on onnxruntime's CPU provider: 0.2 to 0.9 of the time of ConvTranspose.
 */
const maxPhasePadding = 128

/** Longest kernel for phases, whose taps a constant of the squared length selects. */
const maxPhaseKernel = 512

/**
 * Input gradient along one spatial axis with a stride s > 1, as one convolution. Element s q + r of the padded x meets
 * the taps r, r + s, ... only: dx[s q + r] = sum over u of w[r + s u] dy[q - u]. Each phase r becomes a set of output
 * channels, and phases are interleaved at the end. With two axes interleaving takes longer than ConvTranspose.
 * Undefined for kernels for which ConvTranspose is faster.
 */
function inputGradientByPhases(
  dy: Value,
  w: Value,
  axis: WindowAxis,
  group: number,
  length: number,
): Value | undefined {
  const windows = dy.shape![2]
  if (!isStatic(w.shape) || typeof windows !== 'number' || axis.stride === 1 || axis.dilation !== 1) return undefined
  const { stride } = axis
  const [outputs, c, kernel] = w.shape as readonly [number, number, number]
  const m = outputs / group
  if (kernel === 1 || kernel > maxPhaseKernel) return undefined
  const taps = Math.ceil(kernel / stride)
  if (((taps * stride - kernel) * m) / kernel > maxPhasePadding) return undefined
  // Zeros before the first tap, if they fit, let x begin at phase 0.
  const shift = (stride - ((axis.before as number) % stride)) % stride
  const front = kernel + shift <= taps * stride ? shift : 0
  const offset = (axis.before as number) + front
  const first = Math.floor(offset / stride)
  if (first >= taps) return undefined
  const groups = Math.max(Math.ceil((offset + length) / stride), windows) - first
  // One product writes the taps of all phases, several times as fast as Pad, Transpose and a reversal. Phases come before
  // channels: onnxruntime divides each transposed matrix among its threads, so a few large ones are faster than one per
  // channel.
  const rows = op.Reshape(transposeGroups(w, group), [group, 1, c * m, kernel])
  const kernels = op.Reshape(op.MatMul(rows, phaseMatrices(w.dtype, axis, taps, front)), [group * stride * c, m, taps])
  const y = op.Conv(dy, kernels, { group, pads: [taps - 1 - first, groups + first - windows] })
  const apart = op.Reshape(y, [0, group, stride, c, groups])
  const dx = op.Reshape(op.Transpose(apart, { perm: [0, 1, 3, 4, 2] }), [0, group * c, -1])
  const start = offset - first * stride
  return start === 0 && groups * stride === length ? dx : op.Slice(dx, [start], [start + length], [2])
}

/**
 * Matrices [stride, kernel, taps] of ones and zeros that select the taps of each phase from a kernel, the last one first.
 * `front` zeros stand before the first tap.
 */
const phaseMatrices = (dtype: DType, { kernel, stride }: WindowAxis, taps: number, front: number): Value =>
  internConstant(`phases ${dtype} ${kernel} ${stride} ${front}`, () => {
    const length = kernel as number
    const ones = new Uint8Array(stride * length * taps)
    for (let tap = 0; tap < length; tap++) {
      const [phase, turn] = [(tap + front) % stride, Math.floor((tap + front) / stride)]
      ones[(phase * length + tap) * taps + taps - 1 - turn] = 1
    }
    return constant(tensorFrom(dtype, [stride, length, taps], ones))
  })

/** Flips every kernel and swaps channels: [g m, c, ...] to [g c, m, ...]. */
const flipKernels = (w: Value, group: number): Value => reverseTaps(transposeGroups(w, group))

/** Input gradient for lengths known only at run time: the largest possible extent, cropped to the length of x. */
function transposeAndCrop(dy: Value, w: Value, window: readonly WindowAxis[], group: number, x: Value): Value {
  const whole = op.ConvTranspose(dy, w, {
    ...stepsOf(window, group),
    pads: [...beforeOf(window), ...window.map(() => 0)],
    output_padding: window.map(({ stride, after }) => Math.max(0, stride - 1 - (after as number))),
  })
  const axes = window.map((_, i) => i + 2)
  return op.Slice(
    whole,
    axes.map(() => 0),
    op.Shape(x, { start: 2 }),
    axes,
  )
}

// Gradient of the weights

/** Largest number of taps for which columns are fastest, measured on onnxruntime's CPU provider. */
const maxColumnTaps = 15
/** Largest number of windows per image for which one product over all images is fastest, measured likewise. */
const maxWindows = 512

/**
 * Gradient of Conv's weights [g m, c, ...]: dw[o, i, t] = sum over images and windows of dy[o, window] x[i, window at
 * tap t]. Six forms of this sum, each used for the shapes for which it was measured to be the fastest.
 */
function weightGradient(
  x: Value,
  w: Value,
  dy: Value,
  window: readonly WindowAxis[],
  group: number,
  { tiles, perImage }: Forms,
): Value {
  if (!isStatic(w.shape)) return weightGradientByConvolution(x, w, dy, window, group)
  const [outputs, c, ...kernel] = w.shape
  const taps = sizeOf(kernel)
  const depthwise = c === 1 && outputs === group && taps > 1
  if (depthwise && perImage && hasImageForm(x, dy)) return depthwiseWeightGradientPerImage(x, w, dy, window)
  if (depthwise && hasDepthwiseForm(kernel, window)) return op.Reshape(depthwiseWeightGradient(x, dy, window), w.shape)
  if (tiles && hasWeightTiles(x, w, dy, window, group)) return weightGradientByTiles(x, w, dy, window)
  if (taps > maxColumnTaps) return weightGradientByConvolution(x, w, dy, window, group)
  const windows = productOf(dy.shape!.slice(2))
  // One product over all images needs images as a spatial axis, and Conv supports at most three.
  const apart = kernel.length > 2 || (typeof windows === 'number' && windows > maxWindows)
  const m = outputs! / group
  return op.Reshape(
    apart
      ? overEachImage(columnsOfImages(x, kernel, window, c! * group), dy, group, m)
      : overAllImages(columnsOfChannels(x, kernel, window), dy, group, m, c! * taps),
    w.shape,
  )
}

/** Product over all images at once: [g, m, N windows] [g, c taps, N windows]^T. */
function overAllImages(columns: Value, dy: Value, group: number, m: number, rows: number): Value {
  if (group === 1) return op.Gemm(op.Reshape(swapFirst(dy), [m, -1]), op.Reshape(columns, [rows, -1]), { transB: 1 })
  return op.MatMul(
    op.Reshape(swapFirst(dy), [group, m, -1]),
    op.Transpose(op.Reshape(columns, [group, rows, -1]), { perm: [0, 2, 1] }),
  )
}

/** Sum of the products of each image: sum over N of [g, m, windows] [g, c taps, windows]^T. */
function overEachImage(columns: Value, dy: Value, group: number, m: number): Value {
  const rows = op.Reshape(columns, [0, group, (columns.shape![1] as number) / group, -1])
  const product = op.MatMul(op.Reshape(dy, [0, group, m, -1]), op.Transpose(rows, { perm: [0, 1, 3, 2] }))
  return op.ReduceSum(product, [0], { keepdims: 0 })
}

/**
 * Gradient of Conv's weights as a convolution of x with dy in which images act as channels, and strides and dilations
 * are swapped: [N, g c, ...] and [N, g m, ...] give [c, g m, taps]. It needs no static lengths.
 */
function weightGradientByConvolution(
  x: Value,
  w: Value,
  dy: Value,
  window: readonly WindowAxis[],
  group: number,
): Value {
  const product = op.Conv(channelsFirst(x, w, group), swapFirst(dy), {
    group,
    strides: window.map(({ dilation }) => dilation),
    dilations: window.map(({ stride }) => stride),
    pads: [...window.map(({ before }) => before as number), ...window.map(({ after }) => after as number)],
  })
  const dw = swapFirst(product)
  const exact = window.every(
    (axis, i) => (uncoveredElements(axis, x.shape![i + 2]!, dy.shape![i + 2]!) ?? axis.stride - 1) < axis.dilation,
  )
  const axes = window.map((_, i) => i + 2)
  return exact
    ? dw
    : op.Slice(
        dw,
        axes.map(() => 0),
        op.Shape(w, { start: 2 }),
        axes,
      )
}

/**
 * Number of elements at the end of the padded axis that no window covers; they would add a tap. Undefined if not
 * static.
 */
function uncoveredElements(axis: WindowAxis, length: Dim, windows: Dim): number | undefined {
  const extent = extentOf(axis)
  if (typeof length !== 'number' || typeof windows !== 'number' || typeof extent !== 'number') return undefined
  return length + (axis.before as number) + (axis.after as number) - extent - (windows - 1) * axis.stride
}

/** Moves channels to the front: [N, g c, ...] to [c, g N, ...]. */
function channelsFirst(x: Value, w: Value, group: number): Value {
  const swapped = swapFirst(x)
  if (group === 1) return swapped
  const spatial = Array<number>(x.shape!.length - 2).fill(0)
  if (w.shape![1] === 1) return op.Reshape(swapped, [1, -1, ...spatial])
  const c = op.Shape(w, { start: 1, end: 2 })
  const grouped = op.Reshape(x, op.Concat([int64s([0, group]), c, int64s([-1])], { axis: 0 }))
  return op.Reshape(
    op.Transpose(grouped, { perm: [2, 1, 0, 3] }),
    op.Concat([c, int64s([-1]), op.Shape(x, { start: 2 })], { axis: 0 }),
  )
}

const biasGradient = (b: Value | null, dy: Value) => b && channelsOf(dy).perChannel(dy)

/** Throws `not-differentiable` if the rank of an operand is unknown. */
function requireRanks(operator: string, ...operands: readonly Value[]): void {
  if (operands.some(({ shape }) => shape === undefined)) {
    throw new OnnxIreError(
      'not-differentiable',
      `${operator}: its gradient needs operands of known rank; declare the shape of the model's input`,
    )
  }
}

/** Forms of gradients that are fast on some providers only. */
interface Forms {
  /** Winograd's tiles. */
  readonly tiles: boolean
  /** Convolutions of each image with its gradient. */
  readonly perImage: boolean
}

const buildRules = (forms: Forms) =>
  ({
    Conv: ([data, w, b], dy, { attributes }) => {
      const ofProduct = gradientsOfProduct(dy, w)
      if (ofProduct) return [...ofProduct, null]
      const x = withRank(data, w.shape?.length)
      requireRanks('Conv', x, w)
      const { group, auto_pad } = attributes
      const window = windowOf(attributes, kernelOf(w.shape!, attributes.kernel_shape), x.shape!.slice(2))
      rejectMovedWindows('Conv', x, window, auto_pad, minConvolutionRest)
      const [dx, dw] = withKnownPadding(x, op.Shape(w, { start: 2 }), window, auto_pad, (x, window) => [
        inputGradient(dy, w, window, group, x, forms.tiles),
        weightGradient(x, w, dy, window, group, forms),
      ])
      return [dx, dw!, biasGradient(b, dy)]
    },
    // ConvTranspose is the adjoint of a convolution: dx is that convolution of dy, and x and dy swap roles in the
    // weight gradient.
    ConvTranspose: ([data, w, b], dy, { attributes }) => {
      const x = withRank(data, w.shape?.length)
      requireRanks('ConvTranspose', x, w)
      const { group } = attributes
      const window = transposedWindowOf(attributes, kernelOf(w.shape!, attributes.kernel_shape), x.shape!.slice(2))
      if (window.some(({ before, after }) => typeof before !== 'number' || typeof after !== 'number')) {
        throw new OnnxIreError(
          'not-differentiable',
          "ConvTranspose: with output_shape or auto_pad its gradient needs a known kernel shape and known input lengths; declare the shape of the model's input",
        )
      }
      const trimmed = window.flatMap(({ trim }, i) => (trim > 0 ? [{ trim, axis: i + 2 }] : []))
      const reached =
        trimmed.length === 0
          ? dy
          : op.Slice(
              dy,
              trimmed.map(() => 0),
              trimmed.map(({ trim }) => -trim),
              trimmed.map(({ axis }) => axis),
            )
      const dx = op.Conv(reached, w, {
        group,
        strides: window.map(({ stride }) => stride),
        dilations: window.map(({ dilation }) => dilation),
        pads: [...window.map(({ before }) => before as number), ...window.map(({ after }) => after as number)],
      })
      return [dx, weightGradient(reached, w, x, window, group, forms), biasGradient(b, dy)]
    },
  }) satisfies Rules<typeof convolution>

/** Gradient rules of Conv and ConvTranspose. */
export const convolutionRules = buildRules({ tiles: true, perImage: false })

/** The same rules for graphs that are lowered for onnxruntime's CPU provider. */
export const loweredConvolutionRules = buildRules({ tiles: true, perImage: true })

/** The same rules for a GPU, which has kernels of its own for convolutions. */
export const gpuConvolutionRules = buildRules({ tiles: false, perImage: false })

export const foldingRules = {
  // The adjoint of summing windows into an image is extracting them from it.
  Col2Im: ([x, image, block], dy, { attributes }) => {
    const kernel = knownNumbers(block)
    if (!kernel) throw new OnnxIreError('not-differentiable', 'Col2Im: its gradient needs a constant block_shape')
    const lengths = kernel.map((_, axis) => `?axis${axis}`)
    const window = windowOf({ ...attributes, auto_pad: 'NOTSET' }, kernel, lengths)
    const size = op.Reshape(image, [kernel.length])
    const images = op.Reshape(dy, op.Concat([int64s([-1, 1]), size], { axis: 0 }))
    return [reshapeLike(columnsOfImages(images, kernel, window, 1), x), null, null]
  },
  // If indices repeat, ONNX leaves open which element wins: all of them receive the gradient.
  MaxUnpool: ([, indices], dy) => [op.Gather(op.Reshape(dy, [-1]), indices), null, null],
} satisfies Rules<typeof folding>
