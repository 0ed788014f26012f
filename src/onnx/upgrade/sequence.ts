import { scalar } from '../../ir/leaf.js'
import { axisOf, type Dim } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import { knownNumbers, lengthOf } from '../../op/contents.js'
import { op } from '../../op/op.js'
import { OnnxIreError } from '../../util/errors.js'
import { form, type Reading, unsupported } from './form.js'
import { Sequence } from './sequence-value.js'
import type { Upgrade } from './upgrade.js'

function elementsOf(node: Reading, index: number): readonly Value[] {
  const value = node.operand(index)
  if (value instanceof Sequence) return value.elements
  throw new OnnxIreError('invalid-model', `takes a sequence as its input number ${index}, not a tensor`)
}

/** Where in a sequence; `last` where nothing is said. Counts from the end when negative. */
function positionOf(node: Reading, index: number, length: number, last: number): number {
  const value = node.optional(index)
  if (!value) return last
  const position = knownNumbers(value)?.[0]
  if (position === undefined) throw unsupported('a position in a sequence that is known only when the model runs')
  const at = position < 0 ? position + length : position
  if (at < 0 || at > last)
    throw new OnnxIreError('invalid-model', `position ${position} is outside of a sequence of ${length} tensors`)
  return at
}

/** A dimension in pieces of `size`, the last of them possibly shorter. */
function pieces(length: Dim | undefined, size: number): number[] {
  if (typeof length !== 'number')
    throw unsupported('a sequence whose number of tensors is known only when the model runs')
  if (!(size >= 1) || length / size > 2 ** 16)
    throw new OnnxIreError('invalid-model', `${length} elements cannot be split into pieces of ${size}`)
  return Array.from({ length: Math.ceil(length / size) }, (_, i) => Math.min(size, length - i * size))
}

function split(node: Reading): Value[] {
  const [x, sizes] = [node.operand(0), node.optional(1)]
  const axis = node.number('axis', 0)
  const length = x.shape?.[axisOf(axis, x.shape.length)]
  if (!sizes) {
    const parts = [...op.Split(x, pieces(length, 1), { axis })]
    return node.number('keepdims', 1) ? parts : parts.map((part) => op.Squeeze(part, [axis]))
  }
  if (sizes.shape?.length === 1 && lengthOf(sizes) !== undefined) return [...op.Split(x, sizes, { axis })]
  const size = sizes.shape?.length === 0 ? knownNumbers(sizes)?.[0] : undefined
  if (size === undefined) throw unsupported('pieces whose size is known only when the model runs')
  return [...op.Split(x, pieces(length, size), { axis })]
}

/** Sequences of tensors, resolved where a model makes and uses them at known positions. */
export const sequenceForms: Readonly<Record<string, Upgrade>> = {
  SequenceConstruct: (node) => [new Sequence(node.inputs.filter((value) => value !== null))],
  SequenceEmpty: form(['dtype'], () => [new Sequence([])]),
  SplitToSequence: form(['axis', 'keepdims'], (node) => [new Sequence(split(node))]),
  SequenceAt: form([], (node) => {
    const elements = elementsOf(node, 0)
    node.operand(1)
    return [elements[positionOf(node, 1, elements.length, elements.length - 1)]!]
  }),
  SequenceInsert: form([], (node) => {
    const elements = elementsOf(node, 0)
    const at = positionOf(node, 2, elements.length, elements.length)
    return [new Sequence(elements.toSpliced(at, 0, node.operand(1)))]
  }),
  SequenceErase: form([], (node) => {
    const elements = elementsOf(node, 0)
    return [new Sequence(elements.toSpliced(positionOf(node, 1, elements.length, elements.length - 1), 1))]
  }),
  SequenceLength: form([], (node) => [scalar('int64', elementsOf(node, 0).length)]),
  ConcatFromSequence: form(['axis', 'new_axis'], (node) => {
    const [elements, axis] = [elementsOf(node, 0), node.number('axis')]
    if (axis === undefined) throw new OnnxIreError('invalid-model', "needs its attribute 'axis'")
    const stacked = node.number('new_axis', 0) !== 0
    return [op.Concat(stacked ? elements.map((x) => op.Unsqueeze(x, [axis])) : elements, { axis })]
  }),
  Identity: (node) => (node.inputs[0] instanceof Sequence ? [node.inputs[0]] : node),
}
