import { axisOf } from '../ir/shape.js'
import { sizeOf } from '../ir/tensor.js'
import type { Node, Value } from '../ir/value.js'
import { knownNumbers } from '../op/contents.js'
import { type Code, Index } from './code.js'
import { dimsOf, elementType, largestFloat32, unsupported } from './types.js'
import type { ElementWriter } from './views.js'
import { masked, tapOf, windowAlong } from './window.js'

/** Combines the terms of each element of a result. */
export interface Reduction {
  readonly shape: readonly number[]
  /** Lengths of the axes of the terms of one element. */
  readonly loops: readonly number[]
  readonly initial: string
  /** The term of an element of the result. */
  term(at: Index, loops: readonly Code[]): Code
  combine(a: string, b: string): string
  /** The element from the combined terms. */
  finish(combined: Code, at: Index): Code
}

type Build = (writer: ElementWriter, node: Node) => Reduction

interface Kind {
  readonly initial: { readonly f32: string; readonly i32: string }
  readonly combine: (a: string, b: string) => string
  readonly term?: (x: string) => string
  readonly finish?: (x: string, count: number) => string
}

const sum: Kind = { initial: { f32: '0f', i32: '0i' }, combine: (a, b) => `${a} + ${b}` }
const kinds: Readonly<Record<string, Kind>> = {
  ReduceSum: sum,
  ReduceMean: { ...sum, finish: (x, count) => `${x} * ${Math.fround(1 / count)}f` },
  ReduceSumSquare: { ...sum, term: (x) => `${x} * ${x}` },
  ReduceL1: { ...sum, term: (x) => `abs(${x})` },
  ReduceL2: { ...sum, term: (x) => `${x} * ${x}`, finish: (x) => `sqrt(${x})` },
  ReduceProd: { initial: { f32: '1f', i32: '1i' }, combine: (a, b) => `${a} * ${b}` },
  ReduceMax: { initial: { f32: `-${largestFloat32}`, i32: 'i32(-2147483648)' }, combine: (a, b) => `max(${a}, ${b})` },
  ReduceMin: { initial: { f32: largestFloat32, i32: '2147483647i' }, combine: (a, b) => `min(${a}, ${b})` },
}

/** The axes of a reduction, in ascending order. */
function axesOf({ inputs: [x, axes], attributes }: Node): readonly number[] {
  const rank = dimsOf(x!).length
  const given = axes ? knownNumbers(axes) : []
  if (!given) throw unsupported('axes that depend on the data')
  if (given.length === 0)
    return attributes['noop_with_empty_axes'] ? [] : Array.from({ length: rank }, (_, axis) => axis)
  return given.map((axis) => axisOf(axis, rank)).sort((a, b) => a - b)
}

const alongAxes =
  (kind: Kind): Build =>
  (writer, node) => {
    const { emitter } = writer
    const [x] = node.inputs as [Value]
    const type = elementType(x)
    if (type === 'bool' || (type === 'i32' && kind.finish)) throw unsupported(`${node.operator} of ${x.dtype}`)
    const dims = dimsOf(x)
    const axes = axesOf(node)
    const shape = dimsOf(node.outputs[0]!)
    const keeps = shape.length === dims.length
    const loops = axes.map((axis) => dims[axis]!)
    const count = sizeOf(loops)
    return {
      shape,
      loops,
      initial: kind.initial[type],
      term: (at, indices) => {
        const kept = keeps ? at.coordinates.filter((_, axis) => !axes.includes(axis)) : [...at.coordinates]
        const coordinates = dims.map((_, axis) => (axes.includes(axis) ? indices[axes.indexOf(axis)]! : kept.shift()!))
        const element = writer.element(x, Index.at(emitter, dims, coordinates))
        return kind.term ? emitter.let(kind.term(element.text), element) : element
      },
      combine: kind.combine,
      finish: (combined) => (kind.finish ? emitter.let(kind.finish(combined.text, count), combined) : combined),
    }
  }

/** The terms of a pool: the elements of each window, and `outside` in place of those in the padding. */
function windowTerms(writer: ElementWriter, node: Node, outside: string) {
  const [x] = node.inputs as [Value]
  if (elementType(x) !== 'f32') throw unsupported(`${node.operator} of ${x.dtype}`)
  const lengths = dimsOf(x).slice(2)
  const shape = dimsOf(node.outputs[0]!)
  const counts = shape.slice(2)
  const kernel = node.attributes['kernel_shape'] as readonly number[]
  const window = windowAlong(node.attributes, kernel, lengths)
  const term = (at: Index, k: readonly Code[]) => {
    const tap = tapOf(writer, window, lengths, counts, at.coordinates.slice(2), k)
    const index = Index.at(writer.emitter, dimsOf(x), [...at.coordinates.slice(0, 2), ...tap.at])
    return masked(writer, tap.inside, writer.element(x, index), outside)
  }
  return { window, lengths, counts, terms: { shape, loops: kernel, initial: outside, term } }
}

const maxPool: Build = (writer, node) => ({
  ...windowTerms(writer, node, `-${largestFloat32}`).terms,
  combine: (a, b) => `max(${a}, ${b})`,
  finish: (combined) => combined,
})

const averagePool: Build = (writer, node) => {
  const { emitter } = writer
  const { window, lengths, counts, terms } = windowTerms(writer, node, '0f')
  const countsPadding = node.attributes['count_include_pad'] === 1
  const staysInPadding = window.every(
    ({ kernel, stride, dilation, before, after }, axis) =>
      (counts[axis]! - 1) * stride + (kernel - 1) * dilation < lengths[axis]! + before + after,
  )
  // With ceil_mode a window may reach beyond the padding, which is not counted.
  if (countsPadding && !staysInPadding) throw unsupported('AveragePool of windows beyond the padding')
  const factor = Math.fround(1 / sizeOf(terms.loops))
  /** WGSL of the number of elements along an axis that are not in the padding. */
  const countInside = (at: Index, axis: number): Code => {
    const { stride, dilation, before, kernel } = window[axis]!
    const last = (counts[axis]! - 1) * stride + (kernel - 1) * dilation - before
    if (before === 0 && last < lengths[axis]!) return { text: `${kernel}f`, depth: 0 }
    const o = at.coordinates[axis + 2]!
    const start = emitter.mul(o, stride).text
    const taps = Array.from(
      { length: kernel },
      (_, k) => `select(0f, 1f, ${start} + ${k * dilation}u - ${before}u < ${lengths[axis]}u)`,
    )
    return emitter.let(`(${taps.join(' + ')})`, o)
  }
  return {
    ...terms,
    combine: (a, b) => `${a} + ${b}`,
    finish: (combined, at) => {
      if (countsPadding) return emitter.let(`${combined.text} * ${factor}f`, combined)
      const inside = window.map((_, axis) => countInside(at, axis))
      return emitter.let(`${combined.text} / (${inside.map(({ text }) => text).join(' * ')})`, combined, ...inside)
    },
  }
}

const globalPool: Build = (writer, node) => {
  const [x] = node.inputs as [Value]
  const dims = dimsOf(x)
  const loops = dims.slice(2)
  const count = sizeOf(loops)
  return {
    shape: dimsOf(node.outputs[0]!),
    loops,
    initial: '0f',
    term: (at, indices) =>
      writer.element(x, Index.at(writer.emitter, dims, [...at.coordinates.slice(0, 2), ...indices])),
    combine: (a, b) => `${a} + ${b}`,
    finish: (combined) => writer.emitter.let(`${combined.text} * ${Math.fround(1 / count)}f`, combined),
  }
}

/** Operators that combine elements without weighing them. */
export const reductions: Readonly<Record<string, Build>> = {
  ...Object.fromEntries(Object.entries(kinds).map(([operator, kind]) => [operator, alongAxes(kind)])),
  AveragePool: averagePool,
  MaxPool: maxPool,
  GlobalAveragePool: globalPool,
}
