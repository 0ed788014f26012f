import { scalar } from '../../ir/leaf.js'
import { axisOf, type Dim } from '../../ir/shape.js'
import { Value } from '../../ir/value.js'
import { knownNumbers, vectorLength } from '../../op/contents.js'
import { op } from '../../op/op.js'
import { OnnxIreError } from '../../util/errors.js'
import { defineRewrite, type NodeReader, type Rewrite, unsupportedError } from './rewrite.js'

/** A sequence of tensors during import. Its elements are separate values; the imported graph has no sequences. */
export class Sequence extends Value {
  readonly elements: readonly Value[]

  constructor(elements: readonly Value[]) {
    super({ dtype: elements[0]?.dtype ?? 'float32', shape: undefined }, { kind: 'input' })
    this.elements = elements
  }
}

/** The error for a sequence where only tensors are allowed: in bodies, as outputs and for most operators. */
export const sequenceError = (place: string): OnnxIreError =>
  new OnnxIreError(
    'unsupported-operator',
    `${place} a sequence of tensors. Only sequences that are built and read at constant positions are supported (SplitToSequence, SequenceAt, ConcatFromSequence ...): export the model with Split and Concat instead`,
  )

function readElements(node: NodeReader, index: number): readonly Value[] {
  const value = node.operand(index)
  if (value instanceof Sequence) return value.elements
  throw new OnnxIreError('invalid-model', `needs a sequence as its input number ${index}, got a tensor`)
}

/**
 * The position in a sequence that input `index` gives; negative ones count from the end. `last` if the input is
 * absent.
 */
function readPosition(node: NodeReader, index: number, length: number, last: number): number {
  const value = node.optionalOperand(index)
  if (!value) return last
  const position = knownNumbers(value)?.[0]
  if (position === undefined) throw unsupportedError('a position in a sequence that is not constant')
  const at = position < 0 ? position + length : position
  if (at < 0 || at > last)
    throw new OnnxIreError('invalid-model', `position ${position} is outside a sequence of ${length} tensors`)
  return at
}

/** The lengths of the pieces of an axis: `size`, except that the last one may be shorter. */
function pieceLengths(length: Dim | undefined, size: number): number[] {
  if (typeof length !== 'number') throw unsupportedError('a sequence whose number of tensors is not constant')
  if (!(size >= 1) || length / size > 2 ** 16)
    throw new OnnxIreError('invalid-model', `${length} elements cannot be split into pieces of ${size}`)
  return Array.from({ length: Math.ceil(length / size) }, (_, i) => Math.min(size, length - i * size))
}

function splitToSequence(node: NodeReader): Value[] {
  const [x, sizes] = [node.operand(0), node.optionalOperand(1)]
  const axis = node.number('axis', 0)
  const length = x.shape?.[axisOf(axis, x.shape.length)]
  if (!sizes) {
    const parts = [...op.Split(x, pieceLengths(length, 1), { axis })]
    return node.number('keepdims', 1) ? parts : parts.map((part) => op.Squeeze(part, [axis]))
  }
  if (sizes.shape?.length === 1 && vectorLength(sizes) !== undefined) return [...op.Split(x, sizes, { axis })]
  const size = sizes.shape?.length === 0 ? knownNumbers(sizes)?.[0] : undefined
  if (size === undefined) throw unsupportedError('a split into pieces whose size is not constant')
  return [...op.Split(x, pieceLengths(length, size), { axis })]
}

/** Rewrites of the sequence operators, for sequences that are built and read at constant positions. */
export const sequenceRewrites: Readonly<Record<string, Rewrite>> = {
  SequenceConstruct: (node) => [new Sequence(node.inputs.filter((value) => value !== null))],
  SequenceEmpty: defineRewrite(['dtype'], () => [new Sequence([])]),
  SplitToSequence: defineRewrite(['axis', 'keepdims'], (node) => [new Sequence(splitToSequence(node))]),
  SequenceAt: defineRewrite([], (node) => {
    const elements = readElements(node, 0)
    node.operand(1)
    return [elements[readPosition(node, 1, elements.length, elements.length - 1)]!]
  }),
  SequenceInsert: defineRewrite([], (node) => {
    const elements = readElements(node, 0)
    const at = readPosition(node, 2, elements.length, elements.length)
    return [new Sequence(elements.toSpliced(at, 0, node.operand(1)))]
  }),
  SequenceErase: defineRewrite([], (node) => {
    const elements = readElements(node, 0)
    return [new Sequence(elements.toSpliced(readPosition(node, 1, elements.length, elements.length - 1), 1))]
  }),
  SequenceLength: defineRewrite([], (node) => [scalar('int64', readElements(node, 0).length)]),
  ConcatFromSequence: defineRewrite(['axis', 'new_axis'], (node) => {
    const [elements, axis] = [readElements(node, 0), node.number('axis')]
    if (axis === undefined) throw new OnnxIreError('invalid-model', "needs its attribute 'axis'")
    const stacked = node.number('new_axis', 0) !== 0
    return [op.Concat(stacked ? elements.map((x) => op.Unsqueeze(x, [axis])) : elements, { axis })]
  }),
  Identity: (node) => (node.inputs[0] instanceof Sequence ? [node.inputs[0]] : node),
}
