import { constantNumber, constantTensor, numbersOf } from '../ir/leaf.js'
import { axisOf, sameShape } from '../ir/shape.js'
import type { Node, Value } from '../ir/value.js'
import { knownNumbers } from '../op/contents.js'
import { getOwn } from '../util/record.js'
import { type Code, type Emitter, Index, natural } from './code.js'
import { dimsOf, elementType, literal, unsupported } from './types.js'

/** Writes elements of values. */
export interface ElementWriter {
  readonly emitter: Emitter
  /** The element of a value at a position in its shape. */
  element(value: Value, index: Index): Code
  /**
   * Four elements from a position on along an axis, where that position is a multiple of four; undefined if they are
   * not in a row of memory.
   */
  vector(value: Value, index: Index, axis: number): Code | undefined
}

/** Writes the element of output number `output` at a position in its shape. */
type View = (writer: ElementWriter, node: Node, index: Index, output: number) => Code

const reshaped: View = (writer, { inputs: [x] }, index) => writer.element(x!, index.reshaped(dimsOf(x!)))

/** The position in an operand of a position in the shape that it is broadcast to. */
export function broadcastIndex(emitter: Emitter, index: Index, shape: readonly number[]): Index {
  if (sameShape(shape, index.shape)) return index
  if (shape.every((dim) => dim === 1))
    return Index.at(
      emitter,
      shape,
      shape.map(() => natural(0)),
    )
  const lead = index.shape.length - shape.length
  const leadingOnes = index.shape.slice(0, lead).every((dim) => dim === 1)
  if (lead > 0 && leadingOnes && sameShape(shape, index.shape.slice(lead))) return index.reshaped(shape)
  return Index.at(
    emitter,
    shape,
    shape.map((_, axis) => index.coordinates[axis + lead]!),
  )
}

/** The position of an index tensor's element along an axis; negative ones count from the end. */
export function positionOf({ emitter }: ElementWriter, index: Code, length: number): Code {
  return emitter.let(`u32(select(${index.text}, ${index.text} + ${length}i, ${index.text} < 0i))`, index)
}

/** Selects by a condition between two elements. */
const choose = ({ emitter }: ElementWriter, condition: Code, yes: Code, no: Code): Code =>
  emitter.let(`select(${no.text}, ${yes.text}, ${condition.text})`, condition, yes, no)

const withAxis = (coordinates: readonly Code[], axis: number, coordinate: Code): readonly Code[] =>
  coordinates.map((c, at) => (at === axis ? coordinate : c))

function known(value: Value | null | undefined, what: string): readonly number[] {
  const tensor = constantTensor(value)
  const numbers = tensor ? numbersOf(tensor) : knownNumbers(value)
  if (!numbers) throw unsupported(`${what} that depend on the data`)
  return numbers
}

/** start and step of every axis of a Slice. */
function slicing({ inputs: [x, starts, , axes, steps] }: Node): readonly (readonly [start: number, step: number])[] {
  const dims = dimsOf(x!)
  const result = dims.map((): readonly [number, number] => [0, 1])
  const from = known(starts, 'bounds of Slice')
  const along = axes ? known(axes, 'axes of Slice') : from.map((_, axis) => axis)
  const by = steps ? known(steps, 'steps of Slice') : from.map(() => 1)
  for (const [i, axis] of along.entries()) {
    const length = dims[axisOf(axis, dims.length)]!
    const start = from[i]! < 0 ? from[i]! + length : from[i]!
    const step = by[i]!
    result[axisOf(axis, dims.length)] = [
      step > 0 ? Math.min(Math.max(start, 0), length) : Math.min(Math.max(start, 0), length - 1),
      step,
    ]
  }
  return result
}

const slice: View = (writer, node, index) => {
  const [x] = node.inputs
  const { emitter } = writer
  const coordinates = slicing(node).map(([start, step], axis) => {
    const at = index.coordinates[axis]!
    if (step >= 0) return emitter.add(emitter.mul(at, step), natural(start))
    return at.constant === undefined
      ? emitter.let(`${start}u - ${emitter.mul(at, -step).text}`, emitter.mul(at, -step))
      : natural(start + step * at.constant)
  })
  return writer.element(x!, Index.at(emitter, dimsOf(x!), coordinates))
}

const splitOutput: View = (writer, node, index, output) => {
  const [x] = node.inputs
  const dims = dimsOf(x!)
  const axis = axisOf(node.attributes['axis'] as number, dims.length)
  const start = node.outputs.slice(0, output).reduce((sum, value) => sum + dimsOf(value)[axis]!, 0)
  const at = writer.emitter.add(index.coordinates[axis]!, natural(start))
  return writer.element(x!, Index.at(writer.emitter, dims, withAxis(index.coordinates, axis, at)))
}

const concat: View = (writer, { inputs, attributes }, index) => {
  const { emitter } = writer
  const axis = axisOf(attributes['axis'] as number, index.shape.length)
  const at = index.coordinates[axis]!
  let start = 0
  let result: Code | undefined
  for (const x of inputs.filter((value) => dimsOf(value!)[axis]! > 0)) {
    const local = start === 0 ? at : emitter.let(`${at.text} - ${start}u`, at)
    const element = writer.element(x!, Index.at(emitter, dimsOf(x!), withAxis(index.coordinates, axis, local)))
    result = result ? choose(writer, emitter.let(`${at.text} >= ${start}u`, at), element, result) : element
    start += dimsOf(x!)[axis]!
  }
  if (!result) throw unsupported('Concat of nothing')
  return result
}

/** The axes of its operand that a Transpose returns, in order. */
export const transposedAxes = ({ inputs: [x], attributes }: Node): readonly number[] => {
  const { length } = dimsOf(x!)
  return (attributes['perm'] as readonly number[] | undefined) ?? Array.from({ length }, (_, axis) => length - 1 - axis)
}

const transpose: View = (writer, node, index) => {
  const [x] = node.inputs
  const dims = dimsOf(x!)
  const order = transposedAxes(node)
  const coordinates: Code[] = []
  for (const [to, from] of order.entries()) coordinates[from] = index.coordinates[to]!
  return writer.element(x!, Index.at(writer.emitter, dims, coordinates))
}

const gather: View = (writer, { inputs: [x, indices], attributes }, index) => {
  const { emitter } = writer
  const dims = dimsOf(x!)
  const axis = axisOf(attributes['axis'] as number, dims.length)
  const shape = dimsOf(indices!)
  const { coordinates } = index
  const found = writer.element(indices!, Index.at(emitter, shape, coordinates.slice(axis, axis + shape.length)))
  const at = [
    ...coordinates.slice(0, axis),
    positionOf(writer, found, dims[axis]!),
    ...coordinates.slice(axis + shape.length),
  ]
  return writer.element(x!, Index.at(emitter, dims, at))
}

const gatherElements: View = (writer, { inputs: [x, indices], attributes }, index) => {
  const dims = dimsOf(x!)
  const axis = axisOf(attributes['axis'] as number, dims.length)
  const at = positionOf(writer, writer.element(indices!, index), dims[axis]!)
  return writer.element(x!, Index.at(writer.emitter, dims, withAxis(index.coordinates, axis, at)))
}

/** WGSL of the position of the element that padding repeats, `at` elements from the start of an axis. */
const repeats: Readonly<Record<string, (at: string, length: number) => string>> = {
  edge: (at, length) => `clamp(${at}, 0i, ${length - 1}i)`,
  reflect: (at, length) => `${length - 1}i - abs(${length - 1}i - abs(${at}))`,
  wrap: (at, length) => `(${at} % ${length}i + ${length}i) % ${length}i`,
}

const pad: View = (writer, { inputs: [x, pads, value, axes], attributes }, index) => {
  const { emitter } = writer
  const dims = dimsOf(x!)
  const widths = known(pads, 'pads')
  const along = axes ? known(axes, 'axes of Pad').map((axis) => axisOf(axis, dims.length)) : dims.map((_, axis) => axis)
  const coordinates = [...index.coordinates]
  const mode = attributes['mode'] as string
  const repeat = getOwn(repeats, mode)
  if (repeat) {
    for (const [i, axis] of along.entries()) {
      const [before, after] = [widths[i]!, widths[i + along.length]!]
      if (before === 0 && after === 0) continue
      const most = mode === 'reflect' ? dims[axis]! - 1 : Infinity
      if (Math.min(before, after) < 0 || Math.max(before, after) > most)
        throw unsupported(`Pad of ${before} and ${after} in mode ${mode}`)
      const at = coordinates[axis]!
      coordinates[axis] = emitter.let(`u32(${repeat(`(i32(${at.text}) - ${before}i)`, dims[axis]!)})`, at)
    }
    return writer.element(x!, Index.at(emitter, dims, coordinates))
  }
  let inside: Code | undefined
  for (const [i, axis] of along.entries()) {
    const before = widths[i]!
    if (before === 0 && widths[i + along.length]! <= 0) continue
    const at = coordinates[axis]!
    const shifted = before > 0 ? emitter.let(`${at.text} - ${before}u`, at) : emitter.add(at, natural(-before))
    // A position before the start wraps around to a large one.
    const fits = emitter.let(`${shifted.text} < ${dims[axis]}u`, shifted)
    inside = emitter.and(inside, fits)
    coordinates[axis] = shifted
  }
  // An axis of length 1 has no coordinate, but its padding has.
  const element = writer.element(x!, Index.at(emitter, dims, coordinates))
  if (!inside) return element
  const outside = value
    ? writer.element(value, Index.at(emitter, [], []))
    : { text: literal(elementType(x!), 0), depth: 0 }
  return choose(writer, inside, element, outside)
}

const tile: View = (writer, { inputs: [x] }, index) => {
  const dims = dimsOf(x!)
  const at = index.coordinates.map((c, axis) =>
    index.shape[axis] === dims[axis] ? c : writer.emitter.mod(c, dims[axis]!),
  )
  return writer.element(x!, Index.at(writer.emitter, dims, at))
}

const triangle: View = (writer, { inputs: [x, k], attributes }, index) => {
  const offset = k ? constantNumber(k) : 0
  if (offset === undefined) throw unsupported('Trilu of a diagonal that depends on the data')
  const [row, column] = index.coordinates.slice(-2) as [Code, Code]
  const compare = attributes['upper'] ? '>=' : '<='
  const kept = writer.emitter.let(
    `i32(${column.text}) ${compare} i32(${row.text}) + ${literal('i32', offset)}`,
    row,
    column,
  )
  return choose(writer, kept, writer.element(x!, index), { text: literal(elementType(x!), 0), depth: 0 })
}

/** Operators that only move elements: a result is read from the operands at another position. */
export const views: Readonly<Record<string, View>> = {
  Reshape: reshaped,
  Flatten: reshaped,
  Squeeze: reshaped,
  Unsqueeze: reshaped,
  Identity: reshaped,
  Transpose: transpose,
  Slice: slice,
  Split: splitOutput,
  Concat: concat,
  Expand: (writer, { inputs: [x] }, index) => writer.element(x!, broadcastIndex(writer.emitter, index, dimsOf(x!))),
  Gather: gather,
  GatherElements: gatherElements,
  Pad: pad,
  Tile: tile,
  Trilu: triangle,
}

/** Views that leave the elements in their order. */
export const keepsOrder = ({ operator }: Node): boolean => getOwn(views, operator) === reshaped

/** The operands whose elements a view reads; the others are shapes, axes and numbers that are known. */
export function readOperands({ operator, inputs }: Node): readonly Value[] {
  if (operator === 'Concat') return inputs as readonly Value[]
  if (operator === 'Gather' || operator === 'GatherElements') return [inputs[0]!, inputs[1]!]
  if (operator === 'Pad') return inputs[2] ? [inputs[0]!, inputs[2]] : [inputs[0]!]
  return [inputs[0]!]
}
