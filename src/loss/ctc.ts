import { body } from '../ir/body.js'
import { dtypes } from '../ir/dtype.js'
import { constant, input, scalar, tensorFrom } from '../ir/leaf.js'
import { type Dim, formatShape, unknownDim } from '../ir/shape.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { checkNames, checkNumber, count } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { findClassScores } from './class-scores.js'
import type { Loss } from './loss.js'
import {
  countAndWeight,
  type LossWeightOptions,
  sum,
  targetInputs,
  weighTargets,
  weightedMean,
} from './sample-weights.js'

/** Options of `ctc`. */
export interface CtcOptions extends Pick<LossWeightOptions, 'sampleWeights'> {
  /**
   * Output of the model that holds the logits, [N, T, C]. A trailing Softmax or LogSoftmax is recognized and bypassed.
   * Default: the only output.
   */
  readonly logits?: string
  /** Whether the logits are [T, N, C]. Default false. */
  readonly timeFirst?: boolean
  /** Name of the data's labels: int64 [N, L], padded with the blank at the end. Default 'labels'. */
  readonly labels?: string
  /** Class of the blank, which is no label. Default 0. */
  readonly blank?: number
  /** Name of the data's numbers of steps T that count: int64 [N]. Default: all steps of every example. */
  readonly inputLengths?: string
  /** Name of the data's numbers of labels: int64 [N]. Default: the labels that are not the blank. */
  readonly targetLengths?: string
  /**
   * Whether the loss of an example is divided by its number of labels (at least 1), as PyTorch's mean. Default false.
   */
  readonly divideByLength?: boolean
}

/** A log-probability that is none: finite, so that differences of two are no NaN. */
const never = -1e30

/**
 * Connectionist temporal classification (Graves et al. 2006): -log of the probability that the steps spell the labels,
 * summed over all alignments, for text recognition and speech. A step is a class or the blank; equal classes of
 * adjacent steps are one label. Averaged over the examples:
 *
 *     l = -log sum_paths product_t p[t, path[t]],   p = softmax(z)
 *
 * The sum is computed step by step in log space over the labels with blanks between them:
 *
 *     alpha[t, s] = log p[t, s] + log (e^alpha[t - 1, s] + e^alpha[t - 1, s - 1] + [skip allowed] e^alpha[t - 1, s - 2])
 *
 * Follows PyTorch's ctc_loss (https://docs.pytorch.org/docs/stable/generated/torch.nn.CTCLoss.html) with reduction
 * 'none', averaged. Examples with more labels than their steps can spell do not count; `tooLong` of the metrics is their
 * number. No targets are sampled: IRE needs `curvature: 'hutchinson'` or 'empirical'.
 *
 * @throws OnnxIreError `invalid-option`; when built onto a model also `invalid-shape`
 */
export function ctc(options: CtcOptions = {}): Loss {
  const lengthNames = ['inputLengths', 'targetLengths', 'divideByLength']
  checkNames('ctc', options, ['logits', 'timeFirst', 'labels', 'blank', ...lengthNames, 'sampleWeights'])
  const { labels: name = 'labels', blank = 0, timeFirst = false, divideByLength = false } = options
  checkNumber('ctc', 'blank', blank, count)
  return {
    name: 'ctc',
    build(outputs) {
      const { z, logP, examples, steps, classes } = findLogits(outputs, options)
      const given = input(name, 'int64', [examples, unknownDim()])
      const lengths = (option: 'inputLengths' | 'targetLengths', otherwise: () => Value) =>
        options[option] === undefined ? otherwise() : input(options[option], 'int64', [examples])
      const isLabel = op.Not(op.Equal(given, int64(blank)))
      const targetLengths = lengths('targetLengths', () =>
        op.ReduceSum(op.Cast(isLabel, { to: dtypes.int64.onnx }), [1], { keepdims: 0 }),
      )
      const stepCount = typeof steps === 'number' ? int64(steps) : op.Gather(op.Shape(z), int64(timeFirst ? 0 : 1))
      const inputLengths = lengths('inputLengths', () => op.Expand(stepCount, op.Shape(targetLengths)))
      const position = op.Range(int64(0), op.Gather(op.Shape(given), int64(1)), int64(1))
      const isWithin = op.Less(position, op.Unsqueeze(targetLengths, [1]))
      const labels = op.Where(isWithin, given, int64(blank))

      const isPossible = op.LessOrEqual(stepsNeeded(labels, targetLengths, blank), inputLengths)
      const losses = negativeLogLikelihoods({
        logP: timeFirst ? logP : op.Transpose(logP, { perm: [1, 0, 2] }),
        labels,
        blank,
        inputLengths,
        targetLengths,
      })
      const divided = divideByLength ? op.Div(losses, op.Max([op.CastLike(targetLengths, losses), 1])) : losses
      const weighting = weighTargets(targetLengths, z, options, 'ctc', isPossible)
      const sized = [options.inputLengths && inputLengths, options.targetLengths && targetLengths].filter((x) => !!x)
      return {
        loss: weightedMean(op.Where(isPossible, divided, 0), weighting),
        targets: mergeLengths(targetInputs(given, weighting, 'ctc'), sized as Value[]),
        labels: new Map([[name, { classes, ignoreIndex: undefined }]]),
        ...countAndWeight(weighting),
        predictions: new Map([
          [
            '',
            {
              kind: 'sequences',
              logits: timeFirst ? op.Transpose(z, { perm: [1, 0, 2] }) : z,
              labels,
              blank,
              inputLengths,
              targetLengths,
              tooLong: sum(op.Cast(op.Not(isPossible), { to: dtypes.float32.onnx })),
            },
          ],
        ]),
      }
    },
  }
}

/** Finds the logits, and the dims N, T and C. */
function findLogits(
  outputs: ReadonlyMap<string, Value>,
  { logits, timeFirst = false, blank = 0 }: Pick<CtcOptions, 'logits' | 'timeFirst' | 'blank'>,
) {
  const { z, logP, shape } = findClassScores(outputs, logits, -1, 'ctc')
  if (shape.length !== 3)
    throw new OnnxIreError(
      'invalid-option',
      `ctc: the logits have the shape ${formatShape(shape)}; they must be [N, T, C], or [T, N, C] with option 'timeFirst'`,
    )
  const [first, second, classes] = shape as [Dim, Dim, Dim]
  if (typeof classes === 'number' && blank >= classes)
    throw new OnnxIreError('invalid-option', `ctc: option 'blank' is ${blank}, but the model has ${classes} classes`)
  return timeFirst
    ? { z, logP, examples: second, steps: first, classes }
    : { z, logP, examples: first, steps: second, classes }
}

const int64 = (value: number): Value => scalar('int64', value)
const shapeOf = (...dims: readonly number[]): Value => constant(tensorFrom('int64', [dims.length], dims))

function mergeLengths(inputs: ReadonlyMap<string, Value>, lengths: readonly Value[]): ReadonlyMap<string, Value> {
  const merged = new Map(inputs)
  for (const value of lengths) {
    if (merged.has(value.name!))
      throw new OnnxIreError('invalid-option', `ctc: two inputs have the name '${value.name}'; rename one of them`)
    merged.set(value.name!, value)
  }
  return merged
}

/** Number of steps that spell labels: one per label, and a blank between equal ones. */
function stepsNeeded(labels: Value, targetLengths: Value, blank: number): Value {
  const before = op.Slice(op.Pad(labels, shapeOf(0, 1, 0, 0), int64(blank)), [0], [-1], [1])
  const repeats = op.And(op.Equal(labels, before), op.Not(op.Equal(labels, int64(blank))))
  return op.Add(targetLengths, op.ReduceSum(op.Cast(repeats, { to: dtypes.int64.onnx }), [1], { keepdims: 0 }))
}

/** Log-probabilities of steps, [T, N, C], with the labels that they spell, padded with the blank. */
interface Alignment {
  readonly logP: Value
  readonly labels: Value
  readonly blank: number
  readonly inputLengths: Value
  readonly targetLengths: Value
}

/** -log of the probability of the labels of every example: [N]. */
function negativeLogLikelihoods({ logP, labels, blank, inputLengths, targetLengths }: Alignment): Value {
  const { dtype } = logP
  // blank, y1, blank, y2, ..., blank: S = 2 L + 1 states.
  const between = op.Expand(int64(blank), op.Shape(labels))
  const pairs = op.Reshape(op.Concat([op.Unsqueeze(between, [2]), op.Unsqueeze(labels, [2])], { axis: 2 }), [0, -1])
  const states = op.Pad(pairs, shapeOf(0, 0, 0, 1), int64(blank))
  const twoBefore = op.Slice(op.Pad(states, shapeOf(0, 2, 0, 0), int64(blank)), [0], [-2], [1])
  const isSkip = op.And(op.Not(op.Equal(states, int64(blank))), op.Not(op.Equal(states, twoBefore)))
  const skip = op.Where(isSkip, scalar(dtype, 0), scalar(dtype, never))

  const stepCount = op.Slice(op.Shape(logP), [0], [1])
  const index = op.Expand(op.Unsqueeze(states, [0]), op.Concat([stepCount, shapeOf(1, 1)], { axis: 0 }))
  const emitted = op.GatherElements(logP, index, { axis: 2 })
  const step = op.Range(int64(0), op.Squeeze(stepCount, [0]), int64(1))
  const isStep = op.Less(op.Unsqueeze(step, [1]), op.Unsqueeze(inputLengths, [0])) // [T, N]

  // Before the first step the state is the first blank.
  const isFirst = op.Equal(op.Range(int64(0), op.Gather(op.Shape(states), int64(1)), int64(1)), int64(0))
  const start = op.Expand(op.Where(isFirst, scalar(dtype, 0), scalar(dtype, never)), op.Shape(states))
  const { shape } = states
  const of = body(
    [input('alpha', dtype, shape), input('emitted', dtype, shape), input('isStep', 'bool', [shape![0]!])],
    (alpha, emit, isOn) => {
      const padded = op.Pad(alpha!, shapeOf(0, 2, 0, 0), scalar(dtype, never))
      const ways = [alpha!, op.Slice(padded, [1], [-1], [1]), op.Add(op.Slice(padded, [0], [-2], [1]), skip)]
      const stacked = op.Concat(
        ways.map((way) => op.Unsqueeze(way, [0])),
        { axis: 0 },
      )
      const next = op.Add(op.ReduceLogSumExp(stacked, [0], { keepdims: 0 }), emit!)
      return [op.Where(op.Unsqueeze(isOn!, [1]), next, alpha!)]
    },
  )
  const [alpha] = op.Scan([start, emitted, isStep], { body: of, num_scan_inputs: 2 })
  // The last state is the last label or the blank after it.
  const last = op.Mul(targetLengths, int64(2))
  const at = (state: Value) => op.GatherElements(alpha!, op.Unsqueeze(state, [1]), { axis: 1 })
  const hasLabel = op.Unsqueeze(op.Greater(targetLengths, int64(0)), [1])
  const onLabel = op.Where(hasLabel, at(op.Max([op.Sub(last, int64(1)), int64(0)])), scalar(dtype, never))
  const ends = op.Concat([at(last), onLabel], { axis: 1 })
  return op.Neg(op.ReduceLogSumExp(ends, [1], { keepdims: 0 }))
}
