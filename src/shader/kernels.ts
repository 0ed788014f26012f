import { axisOf } from '../ir/shape.js'
import { sizeOf } from '../ir/tensor.js'
import type { Node, Value } from '../ir/value.js'
import { getOwn } from '../util/record.js'
import { type Code, type Emitter, Index, natural, split } from './code.js'
import { type Contraction, contractionOf, contractions } from './contraction.js'
import { reductions } from './reduction.js'
import { dimsOf, elementsOf, elementType, unsupported } from './types.js'
import { positionOf } from './views.js'
import { invocation, KernelWriter, type Memory, type ShaderKernel, type Slot } from './writer.js'

/** The amount of work of an invocation. */
export interface Division {
  /** The largest number of rows and of columns of a matrix product that an invocation computes. */
  readonly tile: number
  /** Invocations that a kernel should have at least; work is divided further below this number. */
  readonly invocations: number
}

/** Convolutions, whose code is longer, have tiles of at most this size. */
const maxConvolutionTile = 8

/** The division for a GPU: the sums of a tile fit into the registers of most. */
export const gpuDivision: Division = { tile: 8, invocations: 512 }

/** A kernel per element of a value that needs no sums. */
export function elementKernels(memory: Memory, root: Value, slot: Slot): readonly ShaderKernel[] {
  const writer = new KernelWriter(memory)
  const index = Index.flat(writer.emitter, dimsOf(root), invocation)
  writer.store(slot, invocation, writer.element(root, index).text)
  return [writer.finish(labelOf(root), slot, elementsOf(root))]
}

const labelOf = ({ source, name }: Value): string => (source.kind === 'node' ? source.operator : (name ?? 'value'))

/** The length of the pieces of about equal length, a multiple of four if the whole is. */
const chunkOf = (length: number, pieces: number): number =>
  length % 4 === 0 ? 4 * Math.ceil(length / 4 / pieces) : Math.ceil(length / pieces)

/** The number of rows or columns of a tile over a length: few of them beyond the end. */
function tileOf(length: number, most: number): number {
  if (length <= most) return length
  let best = most
  const cost = (tile: number) => Math.ceil(length / tile) * (tile + 1)
  for (let tile = most; tile >= Math.max(2, most / 2); tile--) if (cost(tile) < cost(best)) best = tile
  return best
}

/** A kernel of a sum of products, and of the elementwise operators that follow it, up to `root`. */
function contractionKernels(
  memory: Memory,
  node: Node,
  root: Value,
  slot: Slot,
  { tile, invocations }: Division,
): readonly ShaderKernel[] {
  const writer = new KernelWriter(memory)
  const { emitter } = writer
  const { batch, m, n, k, left, right, index, finish } = contractionOf(writer, node)
  const most = k.length === 1 ? tile : maxConvolutionTile
  let [rows, columns] = [tileOf(m, most), tileOf(n, most)]
  const tiles = () => batch * Math.ceil(m / rows) * Math.ceil(n / columns)
  const terms = sizeOf(k)
  while (tiles() < invocations && rows * columns > 16) {
    if (rows >= columns) rows = tileOf(m, Math.ceil(rows / 2))
    else columns = tileOf(n, Math.ceil(columns / 2))
  }
  const longest = k.indexOf(Math.max(...k))
  const isDivided = tiles() < invocations && terms >= 256
  const wanted = isDivided ? Math.min(Math.ceil(invocations / tiles()), Math.ceil(terms / 64)) : 1
  const chunk = chunkOf(k[longest]!, Math.min(wanted, k[longest]!))
  const parts = Math.ceil(k[longest]! / chunk)
  const size = batch * m * n

  const across = Math.ceil(n / columns)
  const down = Math.ceil(m / rows)
  const column = emitter.mul(emitter.mod(invocation, across), columns)
  const above = emitter.div(invocation, across)
  const row = emitter.mul(emitter.mod(above, down), rows)
  const rest = emitter.div(above, down)
  const [part, b] = split(emitter, rest, [parts, batch]) as [Code, Code]
  const ms = Array.from({ length: rows }, (_, i) => emitter.add(row, natural(i)))
  const ns = Array.from({ length: columns }, (_, i) => emitter.add(column, natural(i)))
  const sums = ms.map(() => ns.map(() => emitter.variable('0f')))
  // Four terms at once, if the rows of at least one operand have them side by side.
  const step = k.length === 1 && k[0]! % 4 === 0 && (parts === 1 || chunk % 4 === 0) ? 4 : 1
  const walk = (axis: number, at: readonly Code[]): void => {
    if (axis === k.length) {
      const a = tileTerms(emitter, left, b, ms, at, step)
      const z = tileTerms(emitter, right, b, ns, at, step)
      for (const [i, line] of sums.entries())
        for (const [j, sum] of line.entries()) emitter.line(`${sum} += ${products(a[i]!, z[j]!)};`)
      return
    }
    let range: { start: Code; end: Code } | undefined
    if (parts > 1 && axis === longest) {
      const start = emitter.mul(part, chunk)
      range = { start, end: emitter.let(`min(${start.text} + ${chunk}u, ${k[axis]}u)`, start) }
    }
    emitter.loop(k[axis]!, (i) => walk(axis + 1, [...at, i]), { ...range, step })
  }
  walk(0, [])

  const result = node.outputs[0]!
  const partial: Slot = { type: 'f32', elements: parts * size }
  for (const [i, m_] of ms.entries())
    for (const [j, n_] of ns.entries()) {
      const conditions = [
        ...(m % rows === 0 ? [] : [`${m_.text} < ${m}u`]),
        ...(n % columns === 0 ? [] : [`${n_.text} < ${n}u`]),
      ]
      const write = () => {
        const sum: Code = { text: sums[i]![j]!, depth: emitter.depth }
        const at = index(b, m_, n_)
        if (parts > 1) writer.store(partial, emitter.add(emitter.mul(part, size), at.flat), sum.text)
        else storeRoot(writer, root, slot, result, finish(sum, at), at)
      }
      if (conditions.length > 0) emitter.block(`if (${conditions.join(' && ')}) {`, write)
      else write()
    }
  const label = node.operator
  if (parts === 1) return [writer.finish(label, slot, tiles())]
  const combining = new KernelWriter(memory)
  const again = contractionOf(combining, node)
  return [
    writer.finish(label, partial, parts * tiles()),
    combineParts(combining, root, slot, result, partial, parts, {
      initial: '0f',
      combine: (a, b) => `${a} + ${b}`,
      finish: again.finish,
    }),
  ]
}

/** The next `step` terms of a row or column: one vector, or a number per term. */
type Terms = { readonly vector: Code } | { readonly numbers: readonly string[] }

/** Loads the terms of some rows or columns, in vectors where they are in a row of memory. */
function tileTerms(
  emitter: Emitter,
  { element, vector }: Contraction['left'],
  b: Code,
  lines: readonly Code[],
  at: readonly Code[],
  step: number,
): readonly Terms[] {
  if (step === 4 && vector) {
    const vectors = lines.map((line) => vector(b, line, at, 'k'))
    if (vectors.every((code) => code !== undefined)) return vectors.map((vector) => ({ vector }))
  }
  const numbers: string[][] = lines.map(() => [])
  for (let i = 0; i < step; i++) {
    const k = [...at.slice(0, -1), emitter.add(at.at(-1)!, natural(i))]
    const quads =
      lines.length % 4 === 0 && vector ? lines.filter((_, j) => j % 4 === 0).map((line) => vector(b, line, k, 'i')) : []
    for (const [j, line] of lines.entries())
      numbers[j]!.push(quads[0] ? `${quads[j >> 2]!.text}.${'xyzw'[j & 3]}` : element(b, line, k).text)
  }
  return numbers.map((list) => ({ numbers: list }))
}

const numbersOf = (terms: Terms): readonly string[] =>
  'numbers' in terms ? terms.numbers : ['x', 'y', 'z', 'w'].map((part) => `${terms.vector.text}.${part}`)

/** The sum of the products of terms. */
function products(a: Terms, z: Terms): string {
  if ('vector' in a && 'vector' in z) return `dot(${a.vector.text}, ${z.vector.text})`
  const others = numbersOf(z)
  return numbersOf(a)
    .map((x, i) => `${x} * ${others[i]}`)
    .join(' + ')
}

/** Writes the element of `root`, where the anchor's element is known. */
function storeRoot(writer: KernelWriter, root: Value, slot: Slot, anchor: Value, element: Code, at: Index): void {
  writer.registers.set(anchor, element)
  const index = at.reshaped(dimsOf(root))
  writer.store(slot, index.flat, writer.element(root, index).text)
}

interface Combination {
  readonly initial: string
  readonly combine: (a: string, b: string) => string
  readonly finish: (combined: Code, at: Index) => Code
}

/** A kernel that combines the parts of every element. */
function combineParts(
  writer: KernelWriter,
  root: Value,
  slot: Slot,
  anchor: Value,
  partial: Slot,
  parts: number,
  { initial, combine, finish }: Combination,
): ShaderKernel {
  const { emitter } = writer
  const size = elementsOf(anchor)
  const all = emitter.variable(initial)
  emitter.loop(parts, (part) => {
    const at = emitter.add(emitter.mul(part, size), invocation)
    emitter.line(`${all} = ${combine(all, writer.load(partial, at).text)};`)
  })
  const at = Index.flat(emitter, dimsOf(anchor), invocation)
  storeRoot(writer, root, slot, anchor, finish(fresh(writer, all), at), at)
  return writer.finish(`${labelOf(anchor)}, parts`, slot, size)
}

/** The value of a variable that is not assigned to any more. */
function fresh({ emitter }: KernelWriter, variable: string): Code {
  emitter.line(`let ${variable}_ = ${variable};`)
  return { text: `${variable}_`, depth: emitter.depth }
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
    storeRoot(writer, root, slot, anchor, finish(fresh(writer, all), at), at)
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
  storeRoot(writer, root, slot, anchor, fresh(writer, position), at)
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
