import { constant, tensorFrom } from '../ir/leaf.js'
import { sizeOf } from '../ir/tensor.js'
import type { Value } from '../ir/value.js'
import { parseEinsum } from '../op/einsum.js'
import { op } from '../op/op.js'
import { dimsOf } from './types.js'

/** A tensor whose axes have labels, all different. */
interface Labeled {
  readonly x: Value
  readonly labels: readonly string[]
}

/** Einsum as matrix products of two operands after the other. */
export function einsum(operands: readonly Value[], equation: string): Value {
  const shapes = operands.map(dimsOf)
  const subscripts = parseEinsum(equation, shapes)
  const lengths = new Map<string, number>()
  for (const [i, labels] of subscripts.operands.entries())
    for (const [axis, label] of labels.entries())
      lengths.set(label, Math.max(lengths.get(label) ?? 1, shapes[i]![axis]!))
  const [first, ...rest] = operands.map((x, i) => takeDiagonals(x, subscripts.operands[i]!))
  let result = withoutRepeated(first!, lengths)
  for (const [i, next] of rest.entries()) {
    const later = new Set([...subscripts.output, ...rest.slice(i + 1).flatMap(({ labels }) => labels)])
    result = multiply(result, withoutRepeated(next, lengths), later)
  }
  const { x, labels } = sumOthers(result, new Set(subscripts.output))
  const found = subscripts.output.filter((label) => labels.includes(label))
  const ordered = permute(x, labels, found)
  return op.Reshape(
    ordered,
    subscripts.output.map((label) => (labels.includes(label) ? lengths.get(label)! : 1)),
  )
}

/** The diagonals of axes with the same label. */
function takeDiagonals(x: Value, labels: readonly string[]): Labeled {
  const again = labels.findIndex((label, axis) => labels.indexOf(label) < axis)
  if (again < 0) return { x, labels }
  const dims = dimsOf(x)
  const first = labels.indexOf(labels[again]!)
  const n = dims[again]!
  const identity = Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0))
  const along = dims.map((_, axis) => (axis === first || axis === again ? n : 1))
  const kept = op.Mul(x, constant(tensorFrom(x.dtype, along, identity)))
  return takeDiagonals(
    op.ReduceSum(kept, [again], { keepdims: 0 }),
    labels.filter((_, axis) => axis !== again),
  )
}

/** Removes axes of length 1 that are repeated to the length of another operand, or are of length 1 everywhere. */
function withoutRepeated({ x, labels }: Labeled, lengths: ReadonlyMap<string, number>): Labeled {
  const dims = dimsOf(x)
  const kept = labels.flatMap((label, axis) => (dims[axis] === lengths.get(label) && dims[axis] !== 1 ? [axis] : []))
  if (kept.length === labels.length) return { x, labels }
  return {
    x: op.Reshape(
      x,
      kept.map((axis) => dims[axis]!),
    ),
    labels: kept.map((axis) => labels[axis]!),
  }
}

/** Sums over the axes whose labels are not in `kept`. */
function sumOthers({ x, labels }: Labeled, kept: ReadonlySet<string>): Labeled {
  const axes = labels.flatMap((label, axis) => (kept.has(label) ? [] : [axis]))
  if (axes.length === 0) return { x, labels }
  return { x: op.ReduceSum(x, axes, { keepdims: 0 }), labels: labels.filter((label) => kept.has(label)) }
}

const permute = (x: Value, from: readonly string[], to: readonly string[]): Value =>
  to.every((label, axis) => label === from[axis])
    ? x
    : op.Transpose(x, { perm: to.map((label) => from.indexOf(label)) })

/** The product of two tensors, summed over the labels of both that are not in `kept`. */
function multiply(a: Labeled, b: Labeled, kept: ReadonlySet<string>): Labeled {
  const left = sumOthers(a, new Set([...b.labels, ...kept]))
  const right = sumOthers(b, new Set([...a.labels, ...kept]))
  const isShared = (label: string) => left.labels.includes(label) && right.labels.includes(label)
  const batch = left.labels.filter((label) => isShared(label) && kept.has(label))
  const summed = left.labels.filter((label) => isShared(label) && !kept.has(label))
  const rows = left.labels.filter((label) => !isShared(label))
  const columns = right.labels.filter((label) => !isShared(label))
  const matrix = ({ x, labels }: Labeled, first: readonly string[], second: readonly string[]) => {
    const lengthOf = (label: string) => dimsOf(x)[labels.indexOf(label)]!
    const [outer, m, n] = [batch, first, second].map((list) => list.map(lengthOf)) as [number[], number[], number[]]
    const ordered = permute(x, labels, [...batch, ...first, ...second])
    return { outer, m, n, x: op.Reshape(ordered, [...outer, sizeOf(m), sizeOf(n)]) }
  }
  const [lines, stacks] = [matrix(left, rows, summed), matrix(right, summed, columns)]
  return {
    x: op.Reshape(op.MatMul(lines.x, stacks.x), [...lines.outer, ...lines.m, ...stacks.n]),
    labels: [...batch, ...rows, ...columns],
  }
}
