import { body } from '../../ir/body.js'
import { type DType, dtypes } from '../../ir/dtype.js'
import { constant, input, int64s, scalar, tensorFrom } from '../../ir/leaf.js'
import { formatShape } from '../../ir/shape.js'
import type { Body, Value } from '../../ir/value.js'
import { op } from '../../op/op.js'
import { OnnxIreError } from '../../util/errors.js'
import { getOwn } from '../../util/record.js'
import { resizeUpgrades } from './resize.js'
import type { Rewrite, Upgrades } from './rewrite.js'
import { attributeToInput, type OldNode, withoutAttributes } from './rewrite.js'

// Broadcasting

/**
 * Appends axes of length 1 to `b`, so that its first axis meets axis `axis` of `a` under the broadcasting of today,
 * which aligns shapes at their ends.
 */
function alignAt(operator: string, a: Value, b: Value, axis: number): Value {
  if (!a.shape || !b.shape) {
    throw new OnnxIreError(
      'invalid-shape',
      `${operator}: broadcasting along axis ${axis}, as before operator set 7, needs operands of known rank`,
    )
  }
  const missing = a.shape.length - (axis < 0 ? axis + a.shape.length : axis) - b.shape.length
  if (missing < 0) {
    throw new OnnxIreError(
      'invalid-shape',
      `${operator}: ${formatShape(b.shape)} does not fit into ${formatShape(a.shape)} from axis ${axis} on`,
    )
  }
  const rank = b.shape.length
  return missing === 0
    ? b
    : op.Unsqueeze(
        b,
        Array.from({ length: missing }, (_, i) => rank + i),
      )
}

/**
 * Broadcasting before operator set 7: only if `broadcast` was 1, and then of the second operand to the first, its axes
 * aligned with those of the first from `axis` on (with the last ones if `axis` was absent).
 */
const alignOperands: Rewrite = (node) => {
  const { broadcast, axis, ...attributes } = node.attributes
  const [a, b] = node.inputs
  const aligned = broadcast === 1 && typeof axis === 'number' && a && b ? alignAt(node.operator, a, b, axis) : b
  return { ...node, attributes, inputs: [a ?? null, aligned ?? null] }
}

// Element-wise operators

/** `consumed_inputs` of operator set 1 allowed working in place. It never changed a result. */
const withoutConsumed = withoutAttributes('consumed_inputs')

/** Names of element types that Cast accepted before operator set 6, if they differ from onnxruntime's names. */
const typeNames: Readonly<Record<string, DType>> = { FLOAT: 'float32', DOUBLE: 'float64' }

const castByNumber: Rewrite = (node) => {
  const name = `${node.attributes['to'] ?? ''}`.toUpperCase()
  const dtype = getOwn(typeNames, name) ?? (name.toLowerCase() as DType)
  if (!Object.hasOwn(dtypes, dtype)) {
    throw new OnnxIreError('unsupported-operator', `Cast to '${name}' is not supported`)
  }
  return { ...node, attributes: { ...node.attributes, to: dtypes[dtype].onnx } }
}

/** The bounds of Clip became inputs, of the operand's type. */
const clipBoundsToInputs: Rewrite = (node) => {
  const { min, max, ...attributes } = node.attributes
  const [x] = node.inputs
  const bound = (value: unknown) => (typeof value === 'number' && x ? scalar(x.dtype, value) : null)
  return { ...node, attributes, inputs: [x ?? null, bound(min), bound(max)] }
}

/** Operator set 6 changed the defaults of Selu to numbers with more digits. */
const seluDefaults: Rewrite = (node) => {
  const { alpha, gamma, consumed_inputs: _, ...attributes } = node.attributes
  const [oldAlpha, oldGamma] = [Math.fround(1.6732), Math.fround(1.0507)]
  return { ...node, attributes: { ...attributes, alpha: alpha ?? oldAlpha, gamma: gamma ?? oldGamma } }
}

/**
 * Before operator set 7 the slope of PRelu had one element or one per channel; now it is broadcast, aligned at the
 * end.
 */
const slopePerChannel: Rewrite = (node) => {
  const [x, slope] = node.inputs
  const perChannel = x && slope?.shape?.length === 1 && slope.shape[0] !== 1
  return perChannel ? { ...node, inputs: [x, alignAt(node.operator, x, slope, 1)] } : node
}

// Dropout

/** Before operator set 7 Dropout was in training mode unless `is_test` was 1; since then it returns its input. */
const dropoutTestAttribute: Rewrite = (node) => {
  const { is_test, ratio = 0.5, ...attributes } = node.attributes
  const [x] = node.inputs
  if (is_test === 1 || !x) return { ...node, attributes: { ...attributes, ratio } }
  const [y, mask] = op.Dropout(x, scalar(x.dtype, Number(ratio)), constant(tensorFrom('bool', [], [1])))
  return [y, op.Cast(mask, { to: dtypes[x.dtype].onnx })]
}

/** The ratio of Dropout as an operand; null for the default. */
const ratioOf = ({ inputs: [x], attributes: { ratio } }: OldNode): Value | null =>
  typeof ratio === 'number' && x ? scalar(x.dtype, ratio) : null

/** The mask had the type of `x` before operator set 10, and is boolean since. */
const dropoutBooleanMask: Rewrite = (node) => {
  const [x] = node.inputs
  if (node.outputCount < 2 || !x) return node
  const [y, mask] = op.Dropout(x, ratioOf(node))
  return [y, op.Cast(mask, { to: dtypes[x.dtype].onnx })]
}

const dropoutRatioToInput: Rewrite = (node) => {
  const { ratio: _, ...attributes } = node.attributes
  const [x] = node.inputs
  return { ...node, attributes, inputs: [x ?? null, ratioOf(node)] }
}

// Shapes, slices and padding

/** The target of Reshape became an input. */
const reshapeTargetToInput: Rewrite = (node) => {
  const { consumed_inputs: _, ...attributes } = node.attributes
  return attributeToInput('shape', 1)({ ...node, attributes })
}

/** Tile repeated along one axis, both given as tensors; now the repeats of every axis are one tensor. */
const repeatsOfEveryAxis: Rewrite = (node) => {
  const [x, tiles, axis] = node.inputs
  if (!x || !tiles || !axis) return node
  const ones = op.Expand(int64s([1]), op.Shape(op.Shape(x)))
  return { ...node, inputs: [x, op.ScatterElements(ones, op.Reshape(axis, [1]), op.Reshape(tiles, [1]))] }
}

/** The axis of Concat was 1 by default until operator set 4 required it. */
const explicitAxis: Rewrite = (node) => ({ ...node, attributes: { axis: 1, ...node.attributes } })

/** `starts`, `ends` and `axes` of Slice became inputs. */
const sliceBoundsToInputs: Rewrite = (node) => {
  const { starts, ends, axes, ...attributes } = node.attributes
  const [x = null] = node.inputs
  const bound = (values: OldNode['attributes'][string] | undefined) =>
    values === undefined ? null : int64s(values as readonly number[])
  return { ...node, attributes, inputs: [x, bound(starts), bound(ends), bound(axes)] }
}

const paddingsToPads: Rewrite = (node) => {
  const { paddings, ...attributes } = node.attributes
  return { ...node, attributes: paddings === undefined ? attributes : { pads: paddings, ...attributes } }
}

/** `pads` and `value` of Pad became inputs, the value in the operand's type. */
const padsToInputs: Rewrite = (node) => {
  const { pads, value = 0, ...attributes } = node.attributes
  const [x = null] = node.inputs
  const constant = x && value !== 0 ? scalar(x.dtype, value as number) : null
  return { ...node, attributes, inputs: [x, pads === undefined ? null : int64s(pads as readonly number[]), constant] }
}

/** Equal parts of Split: as many as the node has outputs; since operator set 18 `num_outputs` is their number. */
const splitIntoEqualParts: Rewrite = (node) =>
  node.inputs[1] || 'num_outputs' in node.attributes
    ? node
    : { ...node, attributes: { ...node.attributes, num_outputs: node.outputCount } }

// Normalization and softmax

/** `spatial` = 0 requested statistics per element of a sample. Operator set 9 removed them. */
const spatialOnly: Rewrite = (node) => {
  if (node.attributes['spatial'] === 0) {
    throw new OnnxIreError(
      'unsupported-operator',
      'BatchNormalization with spatial = 0 (statistics per element) was removed from ONNX by operator set 9; export the model with one statistic per channel',
    )
  }
  return withoutAttributes('spatial')(node)
}

/**
 * Before operator set 14 more than one output meant training mode: running mean and variance, batch mean and
 * variance.
 */
const trainingByOutputs: Rewrite = (node) => {
  if (node.outputCount <= 1) return node
  const [x, scale, bias, mean, variance] = node.inputs as readonly Value[]
  const outputs = op.BatchNormalization(x!, scale!, bias!, mean!, variance!, { ...node.attributes, training_mode: 1 })
  if (node.outputCount <= 3) return outputs
  const flat = op.Reshape(x!, [0, 0, -1])
  const batchMean = op.ReduceMean(flat, [0, 2], { keepdims: 1 })
  const centered = op.Sub(flat, batchMean)
  const batchVariance = op.ReduceMean(op.Mul(centered, centered), [0, 2], { keepdims: 0 })
  return [...outputs, op.Squeeze(batchMean, [0, 2]), batchVariance]
}

/** Scale and bias of GroupNormalization, one per group, are repeated for the channels of the group. */
const affinePerChannel: Rewrite = (node) => {
  const [x, scale, bias] = node.inputs as readonly Value[]
  const groups = node.attributes['num_groups'] as number
  const perGroup = op.Div(op.Shape(x!, { start: 1, end: 2 }), groups)
  const repeat = (affine: Value) =>
    op.Reshape(op.Expand(op.Unsqueeze(affine, [1]), op.Concat([int64s([groups]), perGroup], { axis: 0 })), [-1])
  return { ...node, inputs: [x!, repeat(scale!), repeat(bias!)] }
}

/**
 * Before operator set 13 the axes from `axis` (default 1) on were flattened into one, and the operator ran over that
 * one; since then it runs over `axis` alone (default -1). Over the last axis both are the same.
 */
const overFlattenedAxes =
  (operator: (x: Value, attributes: { readonly axis: number }) => Value): Rewrite =>
  (node) => {
    const [x] = node.inputs
    const axis = (node.attributes['axis'] as number | undefined) ?? 1
    const rank = x?.shape?.length
    if (!x || axis === -1 || (rank !== undefined && axis === rank - 1)) return { ...node, attributes: { axis } }
    return [op.Reshape(operator(op.Flatten(x, { axis }), { axis: -1 }), op.Shape(x))]
  }

// Scan

/** The first `length` elements along the first axis. */
const takeFirst = (x: Value, length: Value): Value => op.Slice(x, int64s([0]), length, int64s([0]))

/** Appends zeros along the first axis, up to `length` elements. */
function padTo(x: Value, length: Value): Value {
  const missing = op.Sub(length, op.Shape(x, { start: 0, end: 1 }))
  return op.Pad(x, op.Concat([int64s([0]), missing], { axis: 0 }), null, int64s([0]))
}

/**
 * Scan of operator set 8, whose operands have a batch axis before the sequence axis: a Scan over the examples, with the
 * Scan of today as its body. If sequence lengths are given, each sequence is cut to its length, and its results are
 * padded with zeros.
 */
const nestOverBatch: Rewrite = ({ inputs: [lengths, ...operands], attributes }) => {
  const {
    body: inner,
    directions,
    num_scan_inputs,
  } = attributes as {
    body: Body
    directions?: readonly number[]
    num_scan_inputs: number
  }
  if (operands.includes(null)) throw new OnnxIreError('invalid-model', 'a state or a scanned input is absent')
  const batches = [...(operands as Value[]), ...(lengths ? [op.Unsqueeze(lengths, int64s([1]))] : [])]
  const states = operands.length - num_scan_inputs
  const examples = batches.map((x) => input('example', x.dtype, x.shape?.slice(1)))
  return op.Scan(batches, {
    num_scan_inputs: batches.length,
    body: body(examples, (...example) => {
      const length = lengths ? example.pop()! : undefined
      const results = op.Scan(
        example.map((x, i) => (length && i >= states ? takeFirst(x, length) : x)),
        { body: inner, num_scan_inputs, scan_input_directions: directions },
      )
      const fullLength = op.Shape(example[states]!, { start: 0, end: 1 })
      return results.map((y, i) => (length && i >= states ? padTo(y, fullLength) : y))
    }),
  })
}

const scanUpgrades: Upgrades = { Scan: { 9: nestOverBatch } }

// Other operators

const countToInput: Rewrite = (node) => {
  const { k, ...attributes } = node.attributes
  const [x] = node.inputs
  return { ...node, attributes, inputs: [x ?? null, typeof k === 'number' ? int64s([k]) : null] }
}

/** The axis of DFT, 1 by default, became an input. */
const dftAxisToInput: Rewrite = (node) => {
  const { axis = 1, ...attributes } = node.attributes
  const [x = null, length = null] = node.inputs
  return { ...node, attributes, inputs: [x, length, scalar('int64', Number(axis))] }
}

const sampleModes: Readonly<Record<string, string>> = { bilinear: 'linear', bicubic: 'cubic' }

/** The modes of GridSample lost their prefix "bi", which holds for images only. */
const modesOfAnyRank: Rewrite = (node) => {
  const mode = String(node.attributes.mode ?? 'bilinear')
  return { ...node, attributes: { ...node.attributes, mode: getOwn(sampleModes, mode) ?? mode } }
}

/** Before operator set 16 RoiAlign did not shift regions by half a pixel. */
const wholePixels: Rewrite = (node) => ({
  ...node,
  attributes: { ...node.attributes, coordinate_transformation_mode: 'output_half_pixel' },
})

/** Before operator set 7 an attribute requested all steps as output; since then the presence of the output does. */
const recurrent = { 7: withoutAttributes('output_sequence') }

const axesToInput = attributeToInput('axes', 1)

const forEach = (operators: readonly string[], changes: Readonly<Record<number, Rewrite>>): Upgrades =>
  Object.fromEntries(operators.map((operator) => [operator, changes]))

const unary = ['Neg', 'Abs', 'Sqrt', 'Reciprocal', 'Exp', 'Log', 'Tanh', 'Ceil', 'Floor', 'Relu', 'LeakyRelu', 'Elu']
const reductions = ['Mean', 'Max', 'Min', 'Prod', 'L1', 'L2', 'LogSum', 'LogSumExp', 'SumSquare']

/**
 * Changes of ai.onnx operators, by operator and by the version of the operator set that introduced the change
 * (https://github.com/onnx/onnx/blob/main/docs/Changelog.md).
 */
export const upgrades: Upgrades = {
  ...forEach([...unary, 'Sigmoid', 'HardSigmoid', 'Min', 'Max', 'Sum', 'Mean'], { 6: withoutConsumed }),
  ...forEach(['Add', 'Sub', 'Mul', 'Div'], { 6: withoutConsumed, 7: alignOperands }),
  ...forEach(['Pow', 'Equal', 'Greater', 'Less', 'And', 'Or', 'Xor'], { 7: alignOperands }),
  PRelu: { 6: withoutConsumed, 7: slopePerChannel },
  Selu: { 6: seluDefaults },
  Cast: { 6: castByNumber },
  Clip: { 6: withoutConsumed, 11: clipBoundsToInputs },

  Dropout: { 6: withoutConsumed, 7: dropoutTestAttribute, 10: dropoutBooleanMask, 12: dropoutRatioToInput },

  Reshape: { 5: reshapeTargetToInput },
  Squeeze: { 13: axesToInput },
  Unsqueeze: { 13: axesToInput },
  Tile: { 6: repeatsOfEveryAxis },
  Concat: { 4: explicitAxis },
  Slice: { 10: sliceBoundsToInputs },
  Pad: { 2: paddingsToPads, 11: padsToInputs },
  Split: { 13: attributeToInput('split', 1), 18: splitIntoEqualParts },
  Scatter: { 11: (node) => ({ ...node, operator: 'ScatterElements' }) },

  ReduceSum: { 13: axesToInput },
  ...forEach(
    reductions.map((kind) => `Reduce${kind}`),
    { 18: axesToInput },
  ),
  TopK: { 10: countToInput },

  BatchNormalization: {
    6: withoutConsumed,
    7: withoutAttributes('is_test'),
    9: spatialOnly,
    14: trainingByOutputs,
  },
  InstanceNormalization: { 6: withoutConsumed },
  GroupNormalization: { 21: affinePerChannel },
  Softmax: { 13: overFlattenedAxes(op.Softmax) },
  LogSoftmax: { 13: overFlattenedAxes(op.LogSoftmax) },
  Hardmax: { 13: overFlattenedAxes(op.Hardmax) },

  // Since operator set 7 C of Gemm is broadcast in any case; version 11 only made C optional.
  Gemm: { 7: withoutAttributes('broadcast') },
  RNN: recurrent,
  GRU: recurrent,
  LSTM: recurrent,
  DFT: { 20: dftAxisToInput },
  GridSample: { 20: modesOfAnyRank },
  RoiAlign: { 16: wholePixels },
  ...resizeUpgrades,
  ...scanUpgrades,
}
