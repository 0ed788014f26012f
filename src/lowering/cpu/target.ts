import { dtypes } from '../../ir/dtype.js'
import { constantNumber } from '../../ir/leaf.js'
import { isStatic } from '../../ir/shape.js'
import { sizeOf } from '../../ir/tensor.js'
import type { Value } from '../../ir/value.js'
import { apply } from '../../op/apply.js'
import { attentionExpansions } from '../../op/compose/attention.js'
import { explicitPads } from '../../op/compose/explicit-pads.js'
import { type ScanAttributes, scanImages, scannedConvolution } from '../../op/compose/image-scan.js'
import { reverseTaps } from '../../op/compose/reversal.js'
import type { Definition } from '../../op/define.js'
import type { attention } from '../../op/definitions/attention.js'
import type { control } from '../../op/definitions/control.js'
import type { convolution } from '../../op/definitions/convolution.js'
import type { elementwise } from '../../op/definitions/elementwise.js'
import type { linalg } from '../../op/definitions/linalg.js'
import type { movement } from '../../op/definitions/movement.js'
import type { normalization } from '../../op/definitions/normalization.js'
import type { pooling } from '../../op/definitions/pooling.js'
import type { reduction } from '../../op/definitions/reduction.js'
import { definitionOf, layout, op } from '../../op/op.js'
import type { AnyLowering, Lowerings, Target } from '../lowering.js'
import { affineMap, mapChannels } from './affine-map.js'
import { batchNormalization, hasParallelForm } from './batch-normalization.js'
import { spreadBlocks, spreadOf } from './strided-depthwise.js'
import { addsRows, sumOfRows } from './sum-of-rows.js'
import { sumRowProducts, sumsOfProducts } from './sums-of-products.js'
import { multiplyStacks, reorder, transposedOperands, transposedProduct } from './transposed-products.js'

type Families = typeof attention &
  typeof control &
  typeof convolution &
  typeof elementwise &
  typeof linalg &
  typeof movement &
  typeof normalization &
  typeof pooling &
  typeof reduction

/**
 * Lowerings for onnxruntime's CPU provider: convolutions whose kernels are faster in blocked layout (see
 * `blockedLayout`), which its own optimizer converts only if their weights are constant, and nodes whose kernels use one
 * thread only or run slower than others that compute the same.
 * @param block number of channels in a block; undefined without blocked layout
 */
export function cpuTarget(block?: number): Target {
  const lowerings = {
    Conv: ([x, w, bias], attributes) => {
      if (block === undefined) return null
      const kernels = blockKernels(x, w, attributes.group, block)
      return kernels && toPlain(blockedConv(toBlocked(x), kernels, bias, attributes))
    },
    ConvTranspose: ([x, w, bias], attributes) => {
      if (block === undefined || !isDepthwise(w, attributes.group) || attributes.group % block > 0) return null
      const spread = spreadOf(x, w, attributes)
      if (!spread) return null
      const kernels = blockDepthwiseKernels(reverseTaps(w))
      return toPlain(blockedConv(spreadBlocks(toBlocked(x), spread.strides, block), kernels, bias, spread.attributes))
    },
    Scan: ([x, kernels], attributes) =>
      block !== undefined && x && kernels ? blockedScan(x, kernels, attributes, block) : null,
    Add: ([a, b]) => {
      const map = affineMap(a, b)
      return map && mapChannels(map)
    },
    MatMul: ([a, b]) => {
      const product = transposedOperands(a, b)
      return product && multiplyStacks(product)
    },
    Transpose: ([x], { perm }) => {
      const transposed = transposedProduct(x, perm)
      return transposed && reorder(multiplyStacks(transposed.product), transposed.order)
    },
    BatchNormalization: (inputs, attributes) =>
      hasParallelForm(inputs, attributes) ? batchNormalization(inputs, attributes) : null,
    ReduceSum: ([x, axes], { keepdims }) => {
      const sums = sumsOfProducts(x, axes)
      if (sums) return sumRowProducts(sums, keepdims === 1)
      return addsRows(x, axes) ? sumOfRows(x, keepdims === 1) : null
    },
    LpPool: ([x], attributes) => {
      const padded = explicitPads('LpPool', x, attributes)
      return padded && op.LpPool(x, padded)
    },
    MaxPool: ([x], attributes) => {
      const padded = explicitPads('MaxPool', x, attributes)
      return padded && op.MaxPool(x, padded)
    },
    RotaryEmbedding: (inputs, attributes) =>
      hasSharedAngles(inputs) ? attentionExpansions.RotaryEmbedding(inputs, attributes) : null,
    // The mask of Relu's gradient: onnxruntime runs Cast in one thread, whatever the number of threads.
    Cast: ([x], attributes) => {
      const compared = positiveOperand(x, attributes)
      return compared && op.HardSigmoid(compared, { alpha: maskSlope, beta: 0 })
    },
  } satisfies Lowerings<Families>
  return { provider: 'cpu', lowerings: lowerings as unknown as Readonly<Record<string, AnyLowering>>, downlevel: {} }
}

/** Slope with which a HardSigmoid is 1 for numbers of at least 2^-124, and 0 for 0 and below. */
const maskSlope = 2 ** 124

/** The operand y of a comparison y > 0 of float32 that Cast converts to float32. */
export function positiveOperand({ source }: Value, { to }: { readonly to: number }): Value | null {
  if (to !== dtypes.float32.onnx || source.kind !== 'node' || source.operator !== 'Greater') return null
  const [y, limit] = source.inputs
  return y?.dtype === 'float32' && constantNumber(limit) === 0 && limit?.shape?.length === 0 ? y : null
}

/**
 * Whether a RotaryEmbedding turns all examples by the angles of one, as torch.onnx writes it: onnxruntime does not
 * repeat them.
 */
export const hasSharedAngles = ([x, cos]: readonly (Value | null)[]): boolean =>
  cos?.shape?.length === 3 && cos.shape[0] === 1 && x?.shape?.[0] !== 1

/** Whether a convolution is faster in blocked layout, if blocks divide its channels. */
export const gainsFromBlocks = (x: Value, w: Value, group: number): boolean => isDepthwise(w, group) || isNarrow(x, w)

/** Whether a convolution over two axes has a separate kernel [C, 1, ...] of several taps for every channel. */
export const isDepthwise = ({ dtype, shape }: Value, group: number): boolean =>
  dtype === 'float32' &&
  shape?.length === 4 &&
  shape[0] === group &&
  shape[1] === 1 &&
  typeof shape[3] === 'number' &&
  !(shape[2] === 1 && shape[3] === 1)

// The thresholds were measured.

/**
 * Outside blocked layout all taps of an image are copied before they are multiplied, which takes the longer for each
 * product the fewer outputs there are.
 */
const maxOutputs = 64
/** Images of fewer elements do not repay the reordering of weights. */
const minElements = 196

/** Whether a convolution over two axes of one group has several taps and few output channels. */
function isNarrow(x: Value, { dtype, shape }: Value): boolean {
  if (dtype !== 'float32' || shape?.length !== 4 || !isStatic(shape) || !isStatic(x.shape?.slice(1))) return false
  const [outputs, channels, ...kernel] = shape
  const [given, ...lengths] = x.shape!.slice(1) as number[]
  return channels === given && outputs! <= maxOutputs && sizeOf(kernel) > 1 && sizeOf(lengths) >= minElements
}

const blockedDefinition: Definition = { ...definitionOf('Conv'), domain: 'com.microsoft.nchwc', since: 1 }

/** A convolution of an image in blocked layout. */
const blockedConv = (x: Value, w: Value, bias: Value | null, attributes: Readonly<Record<string, unknown>>): Value =>
  apply({
    operator: 'Conv',
    definition: blockedDefinition,
    inputs: [x, w, bias],
    attributes: attributes as Parameters<typeof apply>[0]['attributes'],
  })[0]!

const toPlain = (blocked: Value): Value => layout.ReorderOutput(blocked, { channels: blocked.shape![1] as number })

/** Images [N, C, H, W] in blocked layout. */
const toBlocked = (x: Value): Value =>
  x.source.kind === 'node' && x.source.operator === 'ReorderOutput' ? x.source.inputs[0]! : layout.ReorderInput(x)

/** Kernels of a convolution in blocked layout; null for a convolution that is not faster in it. */
function blockKernels(x: Value, w: Value, group: number, block: number): Value | null {
  if (isDepthwise(w, group)) return group % block === 0 ? blockDepthwiseKernels(w) : null
  if (!isNarrow(x, w)) return null
  const [outputs, channels, ...kernel] = w.shape as readonly number[]
  if (outputs! % block > 0 || channels! % block > 0) return null
  // ReorderInput moves output channels to the end in a third of the time of Transpose.
  const image = layout.ReorderInput(op.Reshape(w, [1, outputs!, channels!, -1]))
  const inBlocks = op.Reshape(image, [outputs! / block, channels! / block, block, sizeOf(kernel), block])
  return op.Reshape(op.Transpose(inBlocks, { perm: [0, 1, 3, 2, 4] }), w.shape as readonly number[])
}

/** Kernels [C, 1, ...] in blocked layout: that of one image with C channels. */
function blockDepthwiseKernels(w: Value): Value {
  const [channels, , , columns] = w.shape as readonly number[]
  return op.Reshape(toBlocked(op.Reshape(w, [1, channels!, -1, columns!])), [channels!, 1, -1, columns!])
}

/** The convolutions of images with their own depthwise kernels (see `scanImages`), in blocked layout. */
function blockedScan(x: Value, kernels: Value, scan: ScanAttributes, block: number): Value[] | null {
  const attributes = scannedConvolution(scan)
  const channels = x.shape?.[1]
  if (!attributes || typeof channels !== 'number' || channels % block > 0) return null
  const blocked = scanImages(toBlocked(x), toBlocked(kernels), (image, own) =>
    blockedConv(image, own, null, attributes),
  )
  return [op.Unsqueeze(toPlain(op.Squeeze(blocked, [1])), [1])]
}
