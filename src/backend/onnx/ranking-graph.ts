import { dtypes } from '../../ir/dtype.js'
import { constant, tensorFrom } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import type { GraphSpec } from '../../onnx/export/export-graph.js'
import { op } from '../../op/op.js'
import { FLOAT32_MAX, formulaToOnnx, sumElements } from '../../optim/expr/onnx.js'
import { flatByMagnitude, flatByValue, smoothedSquare, smoothedValue } from '../../optim/update-formulas.js'
import { Chunks } from './chunks.js'
import { listed, type Named, stacked } from './flat.js'
import { kthLargest } from './kth-largest.js'

/** What decides the graph of a refresh. */
export interface RankingForm {
  /** Of the ranked tensors, none of which is empty. */
  readonly dims: readonly (readonly number[])[]
  /** Whether F is smoothed, and kept. */
  readonly smoothed: boolean
  /** Whether F has a sign, and is ranked with it. */
  readonly signed: boolean
}

/**
 * Elements of a chunk, at the most. Counts within one are sums of float32, which holds every whole number up to this, so they
 * are exact in whatever order they are added; those of several chunks are added as int32.
 */
const CHUNK = 2 ** 24

/**
 * `refreshMask` as one graph, for tensors by their number.
 *
 * Inputs: `g/<i>`, the estimates; `k`, and where F has a sign `below` = N + 1 - k, in int32; where F is smoothed `F/<i>`,
 * `beta`, `take`. Outputs: `n/<i>`; where F is smoothed `next/F/<i>`; and `numbers`: the largest F that is flat, then of every
 * chunk how many are flat, are 0 and are finite. If not all are, all else means nothing.
 */
export function rankingGraph({ dims, smoothed, signed }: RankingForm, most: number = CHUNK): GraphSpec {
  const inputs: Named = new Map()
  const outputs: Named = new Map()
  const chunks = new Chunks(dims, most)
  const tensors = (name: string) => chunks.cut(dims.map((own, i) => listed(inputs, `${name}/${i}`, own)))
  let values = tensors('g')
  if (smoothed) {
    const scalars = { beta: listed(inputs, 'beta'), take: listed(inputs, 'take') }
    const before = tensors('F')
    const formula = signed ? smoothedValue : smoothedSquare
    values = values.map((g, i) => formulaToOnnx(formula, { F: before[i]!, g }, scalars).outputs['F']!)
  }
  const k = listed(inputs, 'k', [], 'int32')
  const cut = signed
    ? signedCut(values, k, listed(inputs, 'below', [], 'int32'))
    : cutOf(
        values.map((x) => op.Abs(x)),
        k,
      )
  const marked = values.map((F) => formulaToOnnx(signed ? flatByValue : flatByMagnitude, { F }, { cut }))
  const counts = marked.flatMap(({ squares }, i) => [
    squares['flat']!,
    squares['zero']!,
    counted(op.LessOrEqual(op.Abs(values[i]!), FLOAT32_MAX)),
  ])
  const give = (name: string, made: readonly Value[]) =>
    chunks.joined(made).forEach((x, i) => {
      outputs.set(`${name}/${i}`, x)
    })
  give(
    'n',
    marked.map(({ outputs: made }) => made['n']!),
  )
  if (smoothed) give('next/F', values)
  outputs.set('numbers', stacked([cut, ...counts]))
  return { name: 'ranking', inputs, outputs }
}

/** The k-th largest number of all chunks, which is at least 0. */
function cutOf(chunks: readonly Value[], k: Value): Value {
  const rows = chunks.map(inRows)
  return kthLargest((t) => added(rows.map((x) => counted(op.GreaterOrEqual(x, t)))), k)
}

/** The k-th largest of numbers with signs: one below 0 is minus the `below`-th largest of their negatives. */
function signedCut(chunks: readonly Value[], k: Value, below: Value): Value {
  const isPositive = op.GreaterOrEqual(added(chunks.map((x) => counted(op.GreaterOrEqual(x, 0)))), k)
  const sign = op.Sub(op.Mul(toFloat(isPositive), 2), 1)
  const magnitude = cutOf(
    chunks.map((x) => op.Mul(x, sign)),
    op.Where(isPositive, k, below),
  )
  return op.Mul(magnitude, sign)
}

const toFloat = (condition: Value): Value => op.Cast(condition, { to: dtypes.float32.onnx })

/** How often something holds in a chunk. */
const counted = (condition: Value): Value => sumElements(toFloat(condition))

/** The sum of a count of every chunk, in int32. */
const added = (counts: readonly Value[]): Value =>
  counts.map((count) => op.Cast(count, { to: dtypes.int32.onnx })).reduce((sum, count) => op.Add(sum, count))

/** A flat chunk in rows, filled up by what no positive number counts, so that no sum over it has to be. */
function inRows(x: Value): Value {
  const [length] = x.shape as readonly [number]
  const columns = 2 ** Math.ceil(Math.log2(length) / 2)
  const rows = Math.ceil(length / columns)
  const missing = rows * columns - length
  if (missing === 0) return op.Reshape(x, [rows, columns])
  const filling = constant(tensorFrom('float32', [missing], new Float32Array(missing).fill(-1)))
  return op.Reshape(op.Concat([x, filling], { axis: 0 }), [rows, columns])
}
