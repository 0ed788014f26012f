import { scalar } from '../ir/leaf.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { checkNumber, nonNegative } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { type Loss, type LossGraph, type Mean, meansOf } from './loss.js'

/** One of several things a model learns. */
export interface Task {
  /** A loss that names its output and targets. */
  readonly loss: Loss
  /** Factor >= 0 of this task's loss in the sum; 0 only measures it. Default 1. */
  readonly weight?: number
}

type Built = readonly { readonly task: string; readonly weight: number; readonly graph: LossGraph }[]

/**
 * Several losses at once: sum_k w_k L_k over tasks k, each its own mean. Metrics are reported as `<task>/<metric>`.
 * `count` is the number of all tasks' targets.
 *
 * IRE's curvature is the sum of the tasks' diagonals, each with its weight: the sampled gradient is
 * sum_k sqrt(w_k B_k / B) g_k, B_k and B the tasks' counts and their sum, so that E[B g^2] = sum_k w_k E[B_k g_k^2].
 * It is there where every task of some weight has one.
 *
 * Throws `invalid-option`, when built also where two tasks give an input the same name.
 */
export function combine(tasks: Readonly<Record<string, Task>>): Loss {
  const entries = Object.entries(tasks)
  for (const [task, { weight = 1 }] of entries) checkNumber('combine', `${task}.weight`, weight, nonNegative)
  if (!entries.some(([, { weight = 1 }]) => weight > 0))
    throw new OnnxIreError('invalid-option', 'combine: no task has a weight above 0, so there is nothing to learn')
  const unnamed = entries.find(([task]) => task === '' || task.includes('/'))
  if (unnamed)
    throw new OnnxIreError(
      'invalid-option',
      `combine: '${unnamed[0]}' is no name of a task; use some letters and no '/'`,
    )
  return {
    name: `combined of ${entries.map(([task, { loss }]) => `${task} (${loss.name})`).join(', ')}`,
    build(outputs) {
      const built = entries.map(([task, { loss, weight = 1 }]) => ({ task, weight, graph: loss.build(outputs) }))
      const total = (of: (graph: LossGraph) => Value) => addUp(built.map(({ graph }) => like(built, of(graph))))
      const counts = total(({ count }) => count)
      const targets = merged(built, ({ targets }) => targets, 'inputs')
      const sampled = sampledOf(built, counts)
      const weighing = built.filter(({ weight }) => weight > 0)
      const loss = addUp(weighing.map(({ weight, graph }) => scaled(like(built, graph.loss), weight)))
      return {
        loss,
        targets,
        labels: merged(built, ({ labels }) => labels ?? new Map(), 'labels'),
        count: counts,
        ...(built.some(({ graph }) => graph.weight) ? { weight: total(({ weight, count }) => weight ?? count) } : {}),
        means: { loss, each: byTask(weighing, ({ weight, graph }) => meansOfTask(built, graph, weight, counts)) },
        compared: byTask(built, ({ graph }) => graph.compared ?? new Map()),
        ...(sampled ? { sampled } : {}),
      }
    },
  }
}

function sampledOf(built: Built, counts: Value): LossGraph['sampled'] {
  const weighing = built.filter(({ weight }) => weight > 0)
  if (weighing.some(({ graph }) => !graph.sampled)) return undefined
  const losses = weighing.map(({ weight, graph }) =>
    op.Mul(sampledFactor(built, graph, weight, counts), like(built, graph.sampled!.loss)),
  )
  return { loss: addUp(losses), noise: merged(weighing, ({ sampled }) => sampled!.noise, 'noise') }
}

/** sqrt(w_k B_k / B) */
const sampledFactor = (built: Built, graph: LossGraph, weight: number, counts: Value): Value =>
  op.Sqrt(scaled(op.Div(like(built, graph.count), op.Max([counts, 1])), weight))

/** The means of one task, as they stand in the sum. */
function meansOfTask(built: Built, graph: LossGraph, factor: number, counts: Value): ReadonlyMap<string, Mean> {
  const alone = { loss: graph.loss, weight: graph.weight ?? graph.count, ...sampledOnly(graph.sampled?.loss) }
  return new Map(
    [...(meansOf(graph) ?? new Map<string, Mean>([['', alone]]))].map(([name, { loss, weight, sampled }]) => [
      name,
      {
        loss: scaled(like(built, loss), factor),
        weight: like(built, weight),
        ...sampledOnly(sampled && op.Mul(sampledFactor(built, graph, factor, counts), like(built, sampled))),
      },
    ]),
  )
}

const sampledOnly = (sampled: Value | undefined): Pick<Mean, 'sampled'> => (sampled ? { sampled } : {})

/** What each task has, by name behind its own. */
const byTask = <T>(built: Built, of: (one: Built[number]) => ReadonlyMap<string, T>): ReadonlyMap<string, T> =>
  new Map(
    built.flatMap((one) =>
      [...of(one)].map(([inner, value]) => [inner === '' ? one.task : `${one.task}/${inner}`, value] as const),
    ),
  )

const scaled = (x: Value, factor: number): Value => (factor === 1 ? x : op.Mul(x, factor))

/** Losses of float32 and float64 outputs add up in the first's type. */
function like([first]: Built, x: Value): Value {
  const { loss } = first!.graph
  return x.dtype === loss.dtype ? x : op.CastLike(x, scalar(loss.dtype, 0))
}

const addUp = (values: readonly Value[]): Value => values.reduce((a, b) => op.Add(a, b))

function merged<T>(
  built: Built,
  of: (graph: LossGraph) => ReadonlyMap<string, T>,
  what: string,
): ReadonlyMap<string, T> {
  const owners = new Map<string, string>()
  return new Map(
    built.flatMap(({ task, graph }) =>
      [...of(graph)].map(([name, value]) => {
        const before = owners.get(name)
        if (before !== undefined)
          throw new OnnxIreError(
            'invalid-option',
            `combine: the ${what} of '${before}' and of '${task}' are both named '${name}'; give each task's loss a name of its own`,
          )
        owners.set(name, task)
        return [name, value] as const
      }),
    ),
  )
}
