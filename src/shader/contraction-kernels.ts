import { sizeOf } from '../ir/tensor.js'
import type { Node, Value } from '../ir/value.js'
import { type Code, type Emitter, natural, split } from './code.js'
import { type Contraction, contractionOf } from './contraction.js'
import type { Division } from './division.js'
import { combineParts, storeRoot } from './results.js'
import { invocation, KernelWriter, type Memory, type ShaderKernel, type Slot } from './writer.js'

/** Convolutions, whose code is longer, have tiles of at most this size. */
const maxConvolutionTile = 8

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

/** The tiles of a contraction: each invocation computes one part of the sums of one tile. */
interface Tiling {
  /** Rows and columns of a tile. */
  readonly rows: number
  readonly columns: number
  /** Tiles along m and along n, and tiles of the whole batch. */
  readonly down: number
  readonly across: number
  readonly count: number
  /** The axis of k that is divided into parts, the number of parts, and the length of each. */
  readonly axis: number
  readonly parts: number
  readonly chunk: number
  /** Terms that are loaded at once along the last axis of k: 4 or 1. */
  readonly step: number
}

/** Divides a contraction into enough tiles and parts to occupy the device. */
function tilingOf({ batch, m, n, k }: Contraction, { tile, invocations }: Division): Tiling {
  const most = k.length === 1 ? tile : maxConvolutionTile
  let [rows, columns] = [tileOf(m, most), tileOf(n, most)]
  const tiles = () => batch * Math.ceil(m / rows) * Math.ceil(n / columns)
  while (tiles() < invocations && rows * columns > 16) {
    if (rows >= columns) rows = tileOf(m, Math.ceil(rows / 2))
    else columns = tileOf(n, Math.ceil(columns / 2))
  }
  const count = tiles()
  const terms = sizeOf(k)
  const longest = Math.max(...k)
  const isDivided = count < invocations && terms >= 256
  const wanted = isDivided ? Math.min(Math.ceil(invocations / count), Math.ceil(terms / 64)) : 1
  const chunk = chunkOf(longest, Math.min(wanted, longest))
  const parts = Math.ceil(longest / chunk)
  // The rows of at least one operand may have four terms side by side.
  const isInFours = k.length === 1 && longest % 4 === 0 && (parts === 1 || chunk % 4 === 0)
  const [down, across] = [Math.ceil(m / rows), Math.ceil(n / columns)]
  return { rows, columns, down, across, count, axis: k.indexOf(longest), parts, chunk, step: isInFours ? 4 : 1 }
}

/** A kernel of a sum of products, and of the elementwise operators that follow it, up to `root`. */
export function contractionKernels(
  memory: Memory,
  node: Node,
  root: Value,
  slot: Slot,
  division: Division,
): readonly ShaderKernel[] {
  const writer = new KernelWriter(memory)
  const { emitter } = writer
  const contraction = contractionOf(writer, node)
  const tiling = tilingOf(contraction, division)
  const { batch, m, n, index, finish } = contraction
  const { rows, columns, down, across, count, parts } = tiling
  const column = emitter.mul(emitter.mod(invocation, across), columns)
  const above = emitter.div(invocation, across)
  const row = emitter.mul(emitter.mod(above, down), rows)
  const rest = emitter.div(above, down)
  const [part, b] = split(emitter, rest, [parts, batch]) as [Code, Code]
  const ms = Array.from({ length: rows }, (_, i) => emitter.add(row, natural(i)))
  const ns = Array.from({ length: columns }, (_, i) => emitter.add(column, natural(i)))
  const sums = ms.map(() => ns.map(() => emitter.variable('0f')))
  sumProducts(emitter, contraction, tiling, { b, part, ms, ns, sums })

  const result = node.outputs[0]!
  const size = batch * m * n
  const partial: Slot = { type: 'f32', elements: parts * size }
  for (const [i, rowAt] of ms.entries())
    for (const [j, columnAt] of ns.entries()) {
      const conditions = [
        ...(m % rows === 0 ? [] : [`${rowAt.text} < ${m}u`]),
        ...(n % columns === 0 ? [] : [`${columnAt.text} < ${n}u`]),
      ]
      const write = () => {
        const sum: Code = { text: sums[i]![j]!, depth: emitter.depth }
        const at = index(b, rowAt, columnAt)
        if (parts > 1) writer.store(partial, emitter.add(emitter.mul(part, size), at.flat), sum.text)
        else storeRoot(writer, root, slot, result, finish(sum, at), at)
      }
      if (conditions.length > 0) emitter.block(`if (${conditions.join(' && ')}) {`, write)
      else write()
    }
  const label = node.operator
  if (parts === 1) return [writer.finish(label, slot, count)]
  const combining = new KernelWriter(memory)
  const again = contractionOf(combining, node)
  return [
    writer.finish(label, partial, parts * count),
    combineParts(combining, root, slot, result, partial, parts, {
      initial: '0f',
      combine: (a, b) => `${a} + ${b}`,
      finish: again.finish,
    }),
  ]
}

/** The tile and the part of an invocation: its rows and columns, with the variable of each sum. */
interface Tile {
  readonly b: Code
  readonly part: Code
  readonly ms: readonly Code[]
  readonly ns: readonly Code[]
  readonly sums: readonly (readonly string[])[]
}

/** Writes the loops over k that add up the products of a tile. */
function sumProducts(
  emitter: Emitter,
  { k, left, right }: Contraction,
  { axis: divided, parts, chunk, step }: Tiling,
  { b, part, ms, ns, sums }: Tile,
): void {
  const walk = (axis: number, at: readonly Code[]): void => {
    if (axis === k.length) {
      const a = tileTerms(emitter, left, b, ms, at, step)
      const z = tileTerms(emitter, right, b, ns, at, step)
      for (const [i, line] of sums.entries())
        for (const [j, sum] of line.entries()) emitter.line(`${sum} += ${products(a[i]!, z[j]!)};`)
      return
    }
    let range: { start: Code; end: Code } | undefined
    if (parts > 1 && axis === divided) {
      const start = emitter.mul(part, chunk)
      range = { start, end: emitter.let(`min(${start.text} + ${chunk}u, ${k[axis]}u)`, start) }
    }
    emitter.loop(k[axis]!, (i) => walk(axis + 1, [...at, i]), { ...range, step })
  }
  walk(0, [])
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
