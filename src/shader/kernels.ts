import { axisOf } from '../ir/shape.js'
import { sizeOf } from '../ir/tensor.js'
import type { Node, Value } from '../ir/value.js'
import { getOwn } from '../util/record.js'
import { type Code, Index, natural, split } from './code.js'
import { contractions } from './contraction.js'
import { contractionKernels } from './contraction-kernels.js'
import type { Division } from './division.js'
import { reductions } from './reduction.js'
import { combineParts, finalValue, labelOf, storeRoot } from './results.js'
import { dimsOf, elementsOf, elementType, unsupported } from './types.js'
import { positionOf } from './views.js'
import { invocation, KernelWriter, type Memory, type ShaderKernel, type Slot } from './writer.js'

/** A kernel per element of a value that needs no sums. */
export function elementKernels(memory: Memory, root: Value, slot: Slot): readonly ShaderKernel[] {
  const writer = new KernelWriter(memory)
  const index = Index.flat(writer.emitter, dimsOf(root), invocation)
  writer.store(slot, invocation, writer.element(root, index).text)
  return [writer.finish(labelOf(root), slot, elementsOf(root))]
}

/** A kernel of a reduction, and of the elementwise operators that follow it, up to `root`. */
function reductionKernels(
  memory: Memory,
  node: Node,
  root: Value,
  slot: Slot,
  { invocations }: Division,
): readonly ShaderKernel[] {
  const writer = new KernelWriter(memory)
  const { emitter } = writer
  const anchor = node.outputs[0]!
  const { shape, loops, initial, term, combine, finish } = reductions[node.operator]!(writer, node)
  const size = elementsOf(anchor)
  const terms = sizeOf(loops)
  const isDivided = size < invocations / 2 && terms >= 512
  const wanted = isDivided ? Math.min(Math.ceil(invocations / size), Math.ceil(terms / 32)) : 1
  const chunk = Math.ceil(terms / wanted)
  const parts = Math.ceil(terms / chunk)
  const all = emitter.variable(initial)
  const add = (at: Index, indices: readonly Code[]) => emitter.line(`${all} = ${combine(all, term(at, indices).text)};`)
  if (parts === 1) {
    const at = Index.flat(emitter, shape, invocation)
    emitter.loops(loops, (indices) => add(at, indices))
    storeRoot(writer, root, slot, anchor, finish(finalValue(writer, all), at), at)
    return [writer.finish(node.operator, slot, size)]
  }
  const [part, element] = split(emitter, invocation, [parts, size]) as [Code, Code]
  const at = Index.flat(emitter, shape, element)
  const start = emitter.mul(part, chunk)
  const end = emitter.let(`min(${start.text} + ${chunk}u, ${terms}u)`, start)
  emitter.loop(chunk, (i) => add(at, split(emitter, i, loops)), { start, end })
  const partial: Slot = { type: elementType(anchor), elements: parts * size }
  writer.store(partial, invocation, all)
  const combining = new KernelWriter(memory)
  const again = reductions[node.operator]!(combining, node)
  return [
    writer.finish(node.operator, partial, parts * size),
    combineParts(combining, root, slot, anchor, partial, parts, again),
  ]
}

/** A kernel of the position of the largest or smallest element along an axis. */
function extremeKernels(memory: Memory, node: Node, root: Value, slot: Slot): readonly ShaderKernel[] {
  const writer = new KernelWriter(memory)
  const { emitter } = writer
  const [x] = node.inputs as [Value]
  const anchor = node.outputs[0]!
  const dims = dimsOf(x)
  const axis = axisOf(node.attributes['axis'] as number, dims.length)
  const at = Index.flat(emitter, dimsOf(anchor), invocation)
  const kept = [...at.coordinates]
  if (dimsOf(anchor).length === dims.length) kept.splice(axis, 1)
  const elementAt = (i: Code) =>
    writer.element(x, Index.at(emitter, dims, [...kept.slice(0, axis), i, ...kept.slice(axis)])).text
  const best = emitter.variable(elementAt(natural(0)))
  const position = emitter.variable('0i')
  const compare = (node.operator === 'ArgMax' ? '>' : '<') + (node.attributes['select_last_index'] ? '=' : '')
  emitter.loop(dims[axis]!, (i) => {
    const element = elementAt(i)
    emitter.block(`if (${element} ${compare} ${best}) {`, () => {
      emitter.line(`${best} = ${element};`)
      emitter.line(`${position} = i32(${i.text});`)
    })
  })
  storeRoot(writer, root, slot, anchor, finalValue(writer, position), at)
  return [writer.finish(node.operator, slot, elementsOf(anchor))]
}

const combinations: Readonly<Record<string, (a: string, b: string) => string>> = {
  none: (_, b) => b,
  add: (a, b) => `${a} + ${b}`,
  mul: (a, b) => `${a} * ${b}`,
  max: (a, b) => `max(${a}, ${b})`,
  min: (a, b) => `min(${a}, ${b})`,
}

/** A kernel of ScatterElements. An invocation owns all elements along the axis, so that equal indices do not conflict. */
function scatterKernels(memory: Memory, node: Node, _: Value, slot: Slot): readonly ShaderKernel[] {
  const writer = new KernelWriter(memory)
  const { emitter } = writer
  const [x, indices, updates] = node.inputs as [Value, Value, Value]
  const dims = dimsOf(x)
  const given = dimsOf(indices)
  const axis = axisOf(node.attributes['axis'] as number, dims.length)
  if (dims.some((dim, at) => at !== axis && dim !== given[at]))
    throw unsupported('ScatterElements of a part of the axes')
  const combine = getOwn(combinations, node.attributes['reduction'] as string)
  if (!combine || elementType(x) === 'bool') throw unsupported('this ScatterElements')
  const lines = dims.map((dim, at) => (at === axis ? 1 : dim))
  const line = split(emitter, invocation, lines)
  const at = (shape: readonly number[], i: Code) =>
    Index.at(
      emitter,
      shape,
      line.map((c, a) => (a === axis ? i : c)),
    )
  emitter.loop(dims[axis]!, (i) => {
    const to = at(dims, i)
    writer.store(slot, to.flat, writer.element(x, to).text)
  })
  emitter.loop(given[axis]!, (i) => {
    const from = at(given, i)
    const index = writer.element(indices, from)
    const element = writer.element(updates, from)
    const position = positionOf(writer, index, dims[axis]!)
    const to = at(dims, position).flat.text
    emitter.line(`result[${to}] = ${combine(`result[${to}]`, element.text)};`)
  })
  return [writer.finish(node.operator, slot, elementsOf(x) / dims[axis]!)]
}

type Build = (memory: Memory, node: Node, root: Value, slot: Slot, division: Division) => readonly ShaderKernel[]

/** Operators that need a kernel of their own. */
export const kernelOperators: Readonly<Record<string, { readonly build: Build; readonly allowsTail: boolean }>> = {
  ...Object.fromEntries(
    Object.keys(contractions).map((name) => [name, { build: contractionKernels, allowsTail: true }]),
  ),
  ...Object.fromEntries(Object.keys(reductions).map((name) => [name, { build: reductionKernels, allowsTail: true }])),
  ArgMax: { build: extremeKernels, allowsTail: true },
  ArgMin: { build: extremeKernels, allowsTail: true },
  ScatterElements: { build: scatterKernels, allowsTail: false },
}
