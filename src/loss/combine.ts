import { scalar } from '../ir/leaf.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { checkNumber, describeValue, invalidOption, nonNegative } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { isObject } from '../util/record.js'
import { checkLoss, type Loss, type LossGraph, type MeanTerm, meanTermsOf } from './loss.js'

/** One of the losses that `combine` adds up. */
export interface LossTask {
  /** Loss that names its output and targets. */
  readonly loss: Loss
  /** Factor >= 0 of this task's loss in the sum; with 0 the task is only measured. Default 1. */
  readonly weight?: number
}

type BuiltTask = { readonly task: string; readonly weight: number; readonly graph: LossGraph }

/**
 * Weighted sum of several losses, for a model with several outputs:
 *
 *     L = sum_k w_k L_k   over tasks k, each L_k a mean of its own
 *
 * Metrics are reported as `<task>/<metric>`; `count` is the number of targets of all tasks. IRE's curvature is the
 * weighted sum of the tasks' Fisher diagonals: the sampled gradient is sum_k sqrt(w_k B_k / B) g_k, with the tasks'
 * counts B_k and their sum B, so that E[B g^2] = sum_k w_k E[B_k g_k^2]. It exists if every task with a weight above 0
 * has one.
 *
 * @throws OnnxIreError `invalid-option`, when built onto a model also if two tasks give an input the same name
 * @example
 * ```ts
 * combine({
 *   digit: { loss: crossEntropy({ logits: 'digit', labels: 'digit' }) },
 *   angle: { loss: mse({ output: 'angle', targets: 'angle' }), weight: 0.5 },
 * })
 * ```
 */
export function combine(tasks: Readonly<Record<string, LossTask>>): Loss {
  if (!isObject(tasks))
    throw new OnnxIreError(
      'invalid-option',
      `combine: the tasks are ${describeValue(tasks)}; pass an object such as { digit: { loss: crossEntropy() } }`,
    )
  const entries = Object.entries(tasks)
  for (const [task, given] of entries) {
    if (!isObject(given)) throw invalidOption('combine', task, given, 'an object { loss, weight }')
    const { loss, weight = 1 } = given
    checkLoss(`combine: ${task}`, loss)
    checkNumber('combine', `${task}.weight`, weight, nonNegative)
  }
  if (!entries.some(([, { weight = 1 }]) => weight > 0))
    throw new OnnxIreError('invalid-option', 'combine: no task has a weight above 0; at least one must')
  const unnamed = entries.find(([task]) => task === '' || task.includes('/'))
  if (unnamed)
    throw new OnnxIreError(
      'invalid-option',
      `combine: '${unnamed[0]}' is not a valid task name; it must not be empty or contain '/'`,
    )
  return {
    name: `combined of ${entries.map(([task, { loss }]) => `${task} (${loss.name})`).join(', ')}`,
    build(outputs) {
      const built = entries.map(([task, { loss, weight = 1 }]) => ({ task, weight, graph: loss.build(outputs) }))
      const chunked = built.find(({ graph }) => graph.withSeeds)
      if (chunked)
        throw new OnnxIreError(
          'invalid-option',
          `combine: the loss of '${chunked.task}' computes its own gradients, which cannot be combined: omit its option 'chunk'`,
        )
      const trained = built.filter(({ weight }) => weight > 0)
      const total = (select: (graph: LossGraph) => Value) =>
        add(built.map(({ graph }) => castLike(built, select(graph))))
      const counts = total(({ count }) => count)
      const targets = mergeUnique(built, ({ targets }) => targets, 'inputs')
      const sampled = buildSampled(built, counts)
      const loss = add(trained.map(({ weight, graph }) => scale(castLike(built, graph.loss), weight)))
      return {
        loss,
        targets,
        labels: mergeUnique(built, ({ labels }) => labels ?? new Map(), 'labels'),
        count: counts,
        ...(built.some(({ graph }) => graph.weight) ? { weight: total(({ weight, count }) => weight ?? count) } : {}),
        meanTerms: {
          loss,
          terms: mergeByTask(trained, ({ weight, graph }) => buildMeanTerms(built, graph, weight, counts)),
        },
        predictions: mergeByTask(built, ({ graph }) => graph.predictions ?? new Map()),
        ...(sampled ? { sampled } : {}),
      }
    },
  }
}

function buildSampled(built: readonly BuiltTask[], counts: Value): LossGraph['sampled'] {
  const trained = built.filter(({ weight }) => weight > 0)
  if (trained.some(({ graph }) => !graph.sampled)) return undefined
  const losses = trained.map(({ weight, graph }) =>
    op.Mul(sampledFactor(built, graph, weight, counts), castLike(built, graph.sampled!.loss)),
  )
  return { loss: add(losses), noise: mergeUnique(trained, ({ sampled }) => sampled!.noise, 'noise') }
}

/** sqrt(w_k B_k / B) */
const sampledFactor = (built: readonly BuiltTask[], graph: LossGraph, weight: number, counts: Value): Value =>
  op.Sqrt(scale(op.Div(castLike(built, graph.count), op.Max([counts, 1])), weight))

/** Builds the mean terms of one task, scaled as in the sum. */
function buildMeanTerms(
  built: readonly BuiltTask[],
  graph: LossGraph,
  factor: number,
  counts: Value,
): ReadonlyMap<string, MeanTerm> {
  const single = { loss: graph.loss, weight: graph.weight ?? graph.count, ...optionalSampled(graph.sampled?.loss) }
  return new Map(
    [...(meanTermsOf(graph) ?? new Map<string, MeanTerm>([['', single]]))].map(([name, { loss, weight, sampled }]) => [
      name,
      {
        loss: scale(castLike(built, loss), factor),
        weight: castLike(built, weight),
        ...optionalSampled(sampled && op.Mul(sampledFactor(built, graph, factor, counts), castLike(built, sampled))),
      },
    ]),
  )
}

const optionalSampled = (sampled: Value | undefined): Pick<MeanTerm, 'sampled'> => (sampled ? { sampled } : {})

/** Merges a map of every task, with names prefixed by `<task>/`; the name '' becomes the task's name. */
const mergeByTask = <T>(
  built: readonly BuiltTask[],
  select: (task: BuiltTask) => ReadonlyMap<string, T>,
): ReadonlyMap<string, T> =>
  new Map(
    built.flatMap((each) =>
      [...select(each)].map(([name, value]) => [name === '' ? each.task : `${each.task}/${name}`, value] as const),
    ),
  )

const scale = (x: Value, factor: number): Value => (factor === 1 ? x : op.Mul(x, factor))

/** Casts to the type of the first task's loss: losses of float32 and float64 outputs are added in one type. */
function castLike([first]: readonly BuiltTask[], x: Value): Value {
  const { loss } = first!.graph
  return x.dtype === loss.dtype ? x : op.CastLike(x, scalar(loss.dtype, 0))
}

const add = (values: readonly Value[]): Value => values.reduce((a, b) => op.Add(a, b))

/** Merges a map of every task. Throws `invalid-option` if two tasks use the same name. */
function mergeUnique<T>(
  built: readonly BuiltTask[],
  select: (graph: LossGraph) => ReadonlyMap<string, T>,
  what: string,
): ReadonlyMap<string, T> {
  const owners = new Map<string, string>()
  return new Map(
    built.flatMap(({ task, graph }) =>
      [...select(graph)].map(([name, value]) => {
        const owner = owners.get(name)
        if (owner !== undefined)
          throw new OnnxIreError(
            'invalid-option',
            `combine: the ${what} of '${owner}' and of '${task}' both have the name '${name}'; rename one of them in its loss`,
          )
        owners.set(name, task)
        return [name, value] as const
      }),
    ),
  )
}
