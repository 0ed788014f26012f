import { OnnxIreError } from '../errors.js'
import { isFloat } from '../ir/dtype.js'
import { input, scalar } from '../ir/leaf.js'
import { axisOf, formatShape, unknownDim } from '../ir/shape.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/index.js'
import type { Loss, LossGraph } from './loss.js'
import { inFullPrecision, outputNamed } from './output.js'

export interface CrossEntropyOptions {
  /** The output that holds the logits. A trailing Softmax or LogSoftmax there is recognised and bypassed. Default: the only output. */
  readonly logits?: string
  /** The name under which the data gives the labels: int64, the logits' shape without the class axis. Default 'labels'. */
  readonly labels?: string
  /** The axis of the classes. Default: that of the bypassed Softmax, else the last; 1 for [N, C, H, W]. */
  readonly axis?: number
  /** Share of the target spread evenly over all classes, in [0, 1). Default 0. */
  readonly labelSmoothing?: number
  /** A label that marks examples (or positions) to leave out. Default: none. */
  readonly ignoreIndex?: number
}

/**
 * Softmax cross-entropy from logits, averaged over all labels that are not ignored:
 * -(1 - s) log p[label] - s mean_c log p[c], p = softmax(z), s = label smoothing.
 * Its labels are sampled as the arg-max of z plus standard Gumbel noise, which is a draw from softmax(z).
 */
export function crossEntropy(options: CrossEntropyOptions = {}): Loss {
  const { labelSmoothing = 0, labels: labelsName = 'labels' } = options
  if (!(labelSmoothing >= 0 && labelSmoothing < 1))
    throw new OnnxIreError('invalid-option', `crossEntropy: labelSmoothing is ${labelSmoothing}; it lies in [0, 1)`)
  return {
    name: 'cross-entropy',
    build(outputs) {
      const output = outputNamed(outputs, options.logits, 'crossEntropy')
      const { logits: z, axis } = logitsOf(output, options.axis)
      // A Softmax keeps the shape, also where inference knows that of its result only.
      const labels = input(labelsName, 'int64', (z.shape ?? output.shape!).toSpliced(axis, 1))
      return lossGraph(inFullPrecision(z), axis, labels, labelsName, labelSmoothing, options.ignoreIndex)
    },
  }
}

/** The value before a trailing Softmax or LogSoftmax, and the class axis. */
function logitsOf(output: Value, axis?: number): { logits: Value; axis: number } {
  let logits = output
  let classes = axis
  // Views between the Softmax and the output do not change what is compared, so they may be passed over.
  while (logits.source.kind === 'node' && logits.source.operator === 'Identity') logits = logits.source.inputs[0]!
  if (!isFloat(logits.dtype) || !logits.shape || logits.shape.length === 0)
    throw new OnnxIreError(
      'invalid-option',
      `crossEntropy: the logits are ${logits.dtype}${formatShape(logits.shape)}; they have to be floating-point with a class axis`,
    )
  const rank = logits.shape.length
  const { source } = logits
  if (source.kind === 'node' && (source.operator === 'Softmax' || source.operator === 'LogSoftmax')) {
    const normalized = axisOf(source.attributes['axis'] as number, rank)
    // One along another axis than the classes is part of the model.
    if (classes === undefined || axisOf(classes, rank) === normalized) {
      classes = normalized
      logits = source.inputs[0]!
    }
  }
  return { logits, axis: axisOf(classes ?? -1, rank) }
}

function lossGraph(
  z: Value,
  axis: number,
  labels: Value,
  labelsName: string,
  smoothing: number,
  ignoreIndex: number | undefined,
): LossGraph {
  const kept = ignoreIndex === undefined ? null : op.Not(op.Equal(labels, scalar('int64', ignoreIndex)))
  const weight = kept ? op.CastLike(kept, z) : null
  const count = weight ? op.ReduceSum(weight, { keepdims: 0 }) : op.CastLike(op.Size(labels), z)
  const mean = (each: Value): Value =>
    weight
      ? op.Div(op.ReduceSum(op.Mul(each, weight), { keepdims: 0 }), op.Max([count, 1]))
      : op.ReduceMean(each, { keepdims: 0 })
  const logP = op.LogSoftmax(z, { axis })
  const nll = (target: Value) => {
    const index = kept ? op.Where(kept, target, scalar('int64', 0)) : target
    return op.Neg(op.Squeeze(op.GatherElements(logP, op.Unsqueeze(index, [axis]), { axis }), [axis]))
  }
  const each =
    smoothing === 0
      ? nll(labels)
      : op.Sub(op.Mul(nll(labels), 1 - smoothing), op.Mul(op.ReduceMean(logP, [axis], { keepdims: 0 }), smoothing))
  const hit = op.Equal(op.ArgMax(z, { axis, keepdims: 0 }), labels)
  const noise = input(`noise/${labelsName}`, z.dtype, z.shape)
  const sampled = op.ArgMax(op.Add(z, noise), { axis, keepdims: 0 })
  return {
    loss: mean(each),
    targets: new Map([[labelsName, labels]]),
    labels: new Map([[labelsName, { classes: z.shape?.[axis] ?? unknownDim(), ignoreIndex }]]),
    count,
    correct: op.ReduceSum(op.CastLike(kept ? op.And(hit, kept) : hit, z), { keepdims: 0 }),
    sampled: { loss: mean(nll(sampled)), noise: new Map([[noise.name!, { value: noise, distribution: 'gumbel' }]]) },
  }
}
