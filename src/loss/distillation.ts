import { constant, input } from '../ir/leaf.js'
import { unknownDim } from '../ir/shape.js'
import { leavesOf, topological } from '../ir/topology.js'
import type { Graph, Value } from '../ir/value.js'
import { importGraph } from '../onnx/import/import-graph.js'
import type { Model } from '../onnx/model.js'
import { cloneNode, type Substitution } from '../op/inline.js'
import { op } from '../op/op.js'
import { disableDropout } from '../op/rewrite.js'
import { checkNames, checkNumber, invalidOption, positiveCount, unit } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { buildChunkedLoss } from './chunked-cross-entropy.js'
import { type ClassScores, findClassScores, negativeLogLikelihood, sampleLabels, weighLabels } from './class-scores.js'
import type { Loss, LossGraph } from './loss.js'
import { countAndWeight, type LossWeightOptions, sum, weighTargets, weightedMean } from './sample-weights.js'
import { findScoreHead } from './score-chunks.js'

/** Name of the data's logits of the teacher, for its largest classes: floats [..., k]. */
export const teacherLogitsName = 'teacher_logits'
/** Name of the data's classes of `teacherLogitsName`: int64 [..., k]. */
export const teacherClassesName = 'teacher_classes'

/** Options of `distillation`. */
export interface DistillationOptions extends LossWeightOptions {
  /**
   * Model that is imitated. It runs on the inputs of the trained model, as a part of the graph, and is not trained.
   * 'data': the tensors `teacher_logits` and `teacher_classes` of the data, as `addTeacher` computes them. A logit of
   * -infinity is a probability of 0.
   */
  readonly teacher: Model | 'data'
  /** Output of the teacher that holds the logits. Default: the only output. */
  readonly teacherLogits?: string | undefined
  /** Divisor of all logits, > 0: the larger, the more the less probable classes count. Default 2. */
  readonly temperature?: number | undefined
  /** Share of the teacher in [0, 1]; the rest is that of the labels. Default 0.5. */
  readonly weight?: number | undefined
  /** Name of the data's labels; null, with the weight 1, for data without labels. Default 'labels'. */
  readonly labels?: string | null | undefined
  /** Output of the trained model that holds the logits. Default: the only output. */
  readonly logits?: string
  /** Axis of the classes, as in `crossEntropy`. */
  readonly axis?: number
  /** Label of examples (or positions) to ignore. Default: none. */
  readonly ignoreIndex?: number
  /** Number of positions whose logits are in memory at once, as in `crossEntropy`. Default: all. */
  readonly chunk?: number | 'auto'
}

/**
 * Knowledge distillation (Hinton et al. 2015, arXiv 1503.02531) from a larger model to the trained one: the weighted
 * mean over examples or positions of
 *
 *     l = -(1 - a) log p[y] + a T^2 KL(q || p'),   p' = softmax(z / T),   q = softmax(t / T)
 *
 * with logits z and p = softmax(z), logits t of the teacher, temperature T and weight a. With a teacher in the data, q
 * has only the stored classes, and is normalized over them. With `chunk` neither the logits of the model nor those of
 * the teacher are stored for all positions. IRE samples labels from softmax(z).
 *
 * @throws OnnxIreError `invalid-option`; when built onto a model also `invalid-shape` and `unsupported-operator`
 * @example
 * ```ts
 * const teacher = await readModel('resnet-50.onnx')
 * const trainer = await Trainer.create(small, { loss: distillation({ teacher, temperature: 4 }), optimizer, runtime })
 * ```
 */
export function distillation(options: DistillationOptions): Loss {
  checkNames('distillation', options, Object.keys(optionNames))
  const { teacher, temperature = 2, weight = 0.5, labels = 'labels', chunk, logits, axis } = options
  checkNumber('distillation', 'temperature', temperature, { min: 1e-3, max: 1e3 })
  checkNumber('distillation', 'weight', weight, unit)
  if (chunk !== undefined && chunk !== 'auto') checkNumber('distillation', 'chunk', chunk, positiveCount)
  if (teacher !== 'data' && typeof teacher?.proto !== 'object')
    throw invalidOption('distillation', 'teacher', teacher, "a model, or 'data'")
  if (labels === null && (weight !== 1 || chunk !== undefined || options.ignoreIndex !== undefined))
    throw new OnnxIreError(
      'invalid-option',
      "distillation: option 'labels' is null, which needs weight: 1, and neither chunk nor ignoreIndex",
    )
  let imported: Graph | undefined
  return {
    name: 'distillation',
    build(outputs) {
      const scores = findClassScores(outputs, logits, axis, 'distillation')
      if (teacher !== 'data') imported ??= disableDropout(importGraph(teacher))
      const known = imported ? connectTeacher(imported, outputs, options, scores) : readTeacher(scores)
      const built =
        chunk === undefined
          ? buildWhole(scores, known, { ...options, temperature, weight, labels })
          : buildChunked(scores, known, { ...options, temperature, weight, chunk, labels: labels ?? '' })
      return addInputs(built, known.inputs)
    },
  }
}

const optionNames: Readonly<Record<keyof DistillationOptions, true>> = {
  ...{ teacher: true, teacherLogits: true, temperature: true, weight: true, labels: true, logits: true, axis: true },
  ...{ ignoreIndex: true, chunk: true, sampleWeights: true, mask: true },
}

/** Logits of a teacher. */
interface Teacher {
  /** Logits as the teacher computes them, before a Softmax. */
  readonly logits: Value
  /** Classes of the logits; null for all classes in order. */
  readonly classes: Value | null
  /** Inputs that the data feed in addition to those of the trained model. */
  readonly inputs: ReadonlyMap<string, Value>
}

/** Connects the graph of a teacher to the inputs of the trained model, by name. */
function connectTeacher(
  { inputs, parameters, outputs }: Graph,
  student: ReadonlyMap<string, Value>,
  { teacherLogits }: DistillationOptions,
  { axis, shape }: ClassScores,
): Teacher {
  const own = new Map(
    leavesOf(student.values()).flatMap((leaf) => (leaf.source.kind === 'input' ? [[leaf.name!, leaf] as const] : [])),
  )
  const copies: Substitution = new Map()
  const added = new Map<string, Value>()
  for (const [name, value] of inputs) {
    const given = own.get(name)
    if (!given) added.set(name, value)
    else copies.set(value, given.dtype === value.dtype ? given : op.CastLike(given, value))
  }
  // The teacher may have tensors of the same names as the trained model.
  for (const value of parameters.values())
    if (value.source.kind === 'parameter') copies.set(value, constant(value.source.tensor))
  for (const node of topological(outputs.values()))
    for (const [i, copy] of cloneNode(node, copies).entries()) copies.set(node.outputs[i]!, copy)
  const connected = new Map([...outputs].map(([name, value]) => [name, copies.get(value) ?? value]))
  const { logits, shape: found } = findClassScores(connected, teacherLogits, axis, 'distillation')
  const [wanted, classes] = [shape[axis], found[axis]]
  if (
    found.length !== shape.length ||
    (typeof wanted === 'number' && typeof classes === 'number' && wanted !== classes)
  )
    throw new OnnxIreError(
      'invalid-option',
      `distillation: the logits of the model are [${shape.join(', ')}], those of the teacher [${found.join(', ')}]: both need the same classes`,
    )
  const used = new Set(leavesOf([logits]))
  return { logits, classes: null, inputs: new Map([...added].filter(([, value]) => used.has(value))) }
}

/** In place of a logit of -infinity: its probability is 0, also in float16 and at temperatures of hundreds. */
const lowestLogit = -3e4

/** The teacher that the data contain. */
function readTeacher({ z, axis, shape }: ClassScores): Teacher {
  const dims = shape.with(axis, unknownDim())
  const logits = input(teacherLogitsName, z.dtype, dims)
  const classes = input(teacherClassesName, 'int64', dims)
  return {
    // Positions that are ignored may have no class.
    logits: op.Max([logits, lowestLogit]),
    classes,
    inputs: new Map([logits, classes].map((value) => [value.name!, value])),
  }
}

/** log softmax(x / T) along an axis. */
const logSoftmax = (x: Value, temperature: number, axis: number): Value =>
  op.LogSoftmax(temperature === 1 ? x : op.Div(x, temperature), { axis })

/** KL(q || p) along an axis. Classes with q = 0 add 0, also those with log q = -infinity. */
const divergencesOf = (q: Value, logQ: Value, logP: Value, axis: number): Value =>
  op.ReduceSum(op.Where(op.Equal(q, 0), 0, op.Mul(q, op.Sub(logQ, logP))), [axis], { keepdims: 0 })

type Resolved = DistillationOptions & { readonly temperature: number; readonly weight: number }

/** The loss with all logits at once, which the walk differentiates. */
function buildWhole(
  scores: ClassScores,
  teacher: Teacher,
  options: Resolved & { readonly labels: string | null },
): LossGraph {
  const { temperature, weight, labels } = options
  const { z, axis } = scores
  const logQ = logSoftmax(op.CastLike(teacher.logits, z), temperature, axis)
  const logP = logSoftmax(z, temperature, axis)
  const known = teacher.classes ? op.GatherElements(logP, teacher.classes, { axis }) : logP
  const divergences = divergencesOf(op.Exp(logQ), logQ, known, axis)
  const scaled = op.Mul(divergences, weight * temperature ** 2)
  if (labels === null) {
    const best = op.ArgMax(teacher.logits, { axis, keepdims: 1 })
    const classes = op.Squeeze(teacher.classes ? op.GatherElements(teacher.classes, best, { axis }) : best, [axis])
    const { inputs, ...weighting } = weighTargets(classes, z, options, 'distillation')
    return {
      loss: weightedMean(scaled, weighting),
      targets: inputs,
      ...countAndWeight(weighting),
      predictions: new Map([['', { kind: 'classes', logits: z, axis, labels: classes, mask: weighting.mask }]]),
      sampled: sampleLabels(scores, 'labels', weighting),
    }
  }
  const { labels: y, all, graph, comparison } = weighLabels(scores, labels, options, 'distillation')
  const losses = op.Add(op.Mul(negativeLogLikelihood(scores, y), 1 - weight), scaled)
  return {
    ...graph,
    loss: weightedMean(losses, all),
    predictions: new Map([['', comparison]]),
    sampled: sampleLabels(scores, labels, all),
  }
}

/**
 * The loss with the logits of a chunk of positions at a time. Its gradient by the logits, for v the weight of a
 * position:
 *
 *     dl / dz = v ((1 - a) (p - [c = y]) + a T (p' - q))
 */
function buildChunked(
  scores: ClassScores,
  teacher: Teacher,
  options: Resolved & { readonly labels: string; readonly chunk: number | 'auto' },
): LossGraph {
  const { temperature, weight: share, labels } = options
  const { classes, logits } = teacher
  return buildChunkedLoss(scores, labels, options, {
    labelShare: 1 - share,
    ...(classes ? { perRow: [logits, classes] } : { others: [findScoreHead(logits)] }),
    build({ z, others, perRow }, weight) {
      const [t, chosen] = classes ? perRow : others
      const logP = logSoftmax(z, temperature, 1)
      const logQ = logSoftmax(op.CastLike(t!, z), temperature, 1)
      const q = op.Exp(logQ)
      const known = chosen ? op.GatherElements(logP, chosen, { axis: 1 }) : logP
      const divergences = divergencesOf(q, logQ, known, 1)
      const p = op.Exp(logP)
      const difference = chosen ? op.ScatterElements(p, chosen, op.Neg(q), { axis: 1, reduction: 'add' }) : op.Sub(p, q)
      return {
        loss: op.Mul(sum(op.Mul(divergences, weight)), share * temperature ** 2),
        dz: op.Mul(difference, op.Mul(op.Unsqueeze(weight, [1]), share * temperature)),
      }
    },
  })
}

/** Adds the inputs of a teacher. Throws `invalid-option` if one has the name of another target. */
function addInputs({ withSeeds, ...graph }: LossGraph, inputs: ReadonlyMap<string, Value>): LossGraph {
  const clash = [...inputs.keys()].find((name) => graph.targets.has(name))
  if (clash !== undefined)
    throw new OnnxIreError(
      'invalid-option',
      `distillation: the labels and an input of the teacher both have the name '${clash}': rename the labels`,
    )
  return {
    ...graph,
    targets: new Map([...graph.targets, ...inputs]),
    ...(withSeeds && { withSeeds: (active) => addInputs(withSeeds(active), inputs) }),
  }
}
