import { sizeOf } from '../ir/tensor.js'
import type { Node, Value } from '../ir/value.js'
import { type Code, Index, natural, split } from './code.js'
import { dimsOf, elementType, literal, unsupported } from './types.js'
import { broadcastIndex, type ElementWriter } from './views.js'
import { masked, tapOf, windowAlong } from './window.js'

/**
 * A sum of products: element (b, m, n) of the result is the sum of left(b, m, k) right(b, n, k) over all k. The result
 * has batch * m * n elements in this order.
 */
export interface Contraction {
  readonly batch: number
  readonly m: number
  readonly n: number
  /** Lengths of the axes of k. */
  readonly k: readonly number[]
  readonly left: Factor
  readonly right: Factor
  /** The position in the result. */
  index(b: Code, m: Code, n: Code): Index
  /** The element of the result from the sum. */
  finish(sum: Code, index: Index): Code
}

/** One factor of a contraction, at row or column `i`. */
interface Factor {
  element(b: Code, i: Code, k: readonly Code[]): Code
  /**
   * Four elements in a row of memory, from a position that is a multiple of four along `axis`; undefined if they are
   * not in a row.
   */
  vector?(b: Code, i: Code, k: readonly Code[], axis: 'i' | 'k'): Code | undefined
}

type Build = (writer: ElementWriter, node: Node) => Contraction

const plain = (sum: Code): Code => sum

/** The factor at positions in a value, with the axes of the value along which `i` and `k` move. */
const operand = (
  writer: ElementWriter,
  value: Value,
  indexOf: (b: Code, i: Code, k: readonly Code[]) => Index,
  i: number | undefined,
  k: number,
): Factor => ({
  element: (b, at, ks) => writer.element(value, indexOf(b, at, ks)),
  vector: (b, at, ks, axis) => {
    const along = axis === 'i' ? i : k
    return along === undefined ? undefined : writer.vector(value, indexOf(b, at, ks), along)
  },
})

const matMul: Build = (writer, { inputs: [x, z], outputs: [y] }) => {
  const { emitter } = writer
  const left = dimsOf(x!)
  const right = dimsOf(z!)
  const shape = dimsOf(y!)
  const k = left.at(-1)!
  // A vector is a matrix of one row or column, which the result lacks.
  const rows = left.length > 1 ? left.at(-2)! : 1
  const columns = right.length > 1 ? right.at(-1)! : 1
  const outer = shape.slice(0, shape.length - (left.length > 1 ? 1 : 0) - (right.length > 1 ? 1 : 0))
  // The same matrix for the whole batch: the rows of all matrices together make one.
  const shared = right.length <= 2
  const lead = (b: Code, m: Code) => (shared ? split(emitter, m, [...outer, rows]) : [...split(emitter, b, outer), m])
  const indexOf = (dims: readonly number[], batch: readonly Code[], last: readonly Code[]) => {
    const own = dims.slice(0, dims.length - last.length)
    const from = batch.slice(batch.length - own.length)
    return Index.at(emitter, dims, [...from, ...last])
  }
  const leftAt = (b: Code, m: Code, [k]: readonly Code[]) => {
    const at = lead(b, m)
    return indexOf(left, at.slice(0, -1), left.length > 1 ? [at.at(-1)!, k!] : [k!])
  }
  const rightAt = (b: Code, n: Code, [k]: readonly Code[]) =>
    indexOf(right, shared ? [] : split(emitter, b, outer), right.length > 1 ? [k!, n] : [k!])
  // Rows of several matrices together are not at equal distances.
  const rowAxis = shared && left.length > 2 ? undefined : left.length - 2
  return {
    batch: shared ? 1 : sizeOf(outer),
    m: shared ? sizeOf(outer) * rows : rows,
    n: columns,
    k: [k],
    left: operand(writer, x!, leftAt, left.length > 1 ? rowAxis : undefined, left.length - 1),
    right: operand(writer, z!, rightAt, right.length > 1 ? right.length - 1 : undefined, Math.max(0, right.length - 2)),
    index: (b, m, n) => {
      const at = lead(b, m)
      const rowsAt = left.length > 1 ? at : at.slice(0, -1)
      return Index.at(emitter, shape, right.length > 1 ? [...rowsAt, n] : rowsAt)
    },
    finish: plain,
  }
}

const gemm: Build = (writer, { inputs: [a, b, c], attributes, outputs: [y] }) => {
  const { emitter } = writer
  const { transA, transB, alpha, beta } = attributes as Readonly<Record<string, number>>
  const [m, n] = dimsOf(y!) as [number, number]
  const left = dimsOf(a!)
  const right = dimsOf(b!)
  return {
    batch: 1,
    m,
    n,
    k: [left[transA ? 0 : 1]!],
    left: operand(
      writer,
      a!,
      (_, m, [k]) => Index.at(emitter, left, transA ? [k!, m] : [m, k!]),
      transA ? 1 : 0,
      transA ? 0 : 1,
    ),
    right: operand(
      writer,
      b!,
      (_, n, [k]) => Index.at(emitter, right, transB ? [n, k!] : [k!, n]),
      transB ? 0 : 1,
      transB ? 1 : 0,
    ),
    index: (_, m, n) => Index.at(emitter, dimsOf(y!), [m, n]),
    finish: (sum, index) => {
      const scaled = alpha === 1 ? sum : emitter.let(`${literal('f32', alpha!)} * ${sum.text}`, sum)
      if (!c || beta === 0) return scaled
      const added = writer.element(c, broadcastIndex(emitter, index, dimsOf(c)))
      return emitter.let(
        `${scaled.text} + ${beta === 1 ? '' : `${literal('f32', beta!)} * `}${added.text}`,
        scaled,
        added,
      )
    },
  }
}

/** Adds the bias of the channel. */
const withBias =
  (writer: ElementWriter, bias: Value | null | undefined) =>
  (sum: Code, index: Index): Code => {
    if (!bias) return sum
    const added = writer.element(bias, Index.at(writer.emitter, dimsOf(bias), [index.coordinates[1]!]))
    return writer.emitter.let(`${sum.text} + ${added.text}`, sum, added)
  }

/** The parts of a batch index b of a convolution, which counts the groups of one image after the other. */
const groupedBatch = (emitter: ElementWriter['emitter'], group: number) => ({
  image: (b: Code) => emitter.div(b, group),
  /** Channel `c` of the group, of `size` channels in a group. */
  inGroup: (b: Code, size: number, c: Code) => emitter.add(emitter.mul(emitter.mod(b, group), size), c),
})

const convolution: Build = (writer, { inputs: [x, w, bias], attributes, outputs: [y] }) => {
  const { emitter } = writer
  const [images, , ...lengths] = dimsOf(x!) as [number, number, ...number[]]
  const [, depth, ...kernel] = dimsOf(w!) as [number, number, ...number[]]
  const [, channels, ...counts] = dimsOf(y!) as [number, number, ...number[]]
  const group = attributes['group'] as number
  const m = channels / group
  const window = windowAlong(attributes, kernel, lengths)
  const { image, inGroup } = groupedBatch(emitter, group)
  return {
    batch: images * group,
    m,
    n: sizeOf(counts),
    k: [depth, ...kernel],
    left: { element: (b, c, k) => writer.element(w!, Index.at(emitter, dimsOf(w!), [inGroup(b, m, c), ...k])) },
    right: {
      element: (b, n, [c, ...k]) => {
        const { at, inside } = tapOf(writer, window, lengths, counts, split(emitter, n, counts), k)
        const element = writer.element(x!, Index.at(emitter, dimsOf(x!), [image(b), inGroup(b, depth, c!), ...at]))
        return masked(writer, inside, element, '0f')
      },
    },
    index: (b, c, n) => Index.at(emitter, dimsOf(y!), [image(b), inGroup(b, m, c), ...split(emitter, n, counts)]),
    finish: withBias(writer, bias),
  }
}

const transposedConvolution: Build = (writer, { inputs: [x, w, bias], attributes, outputs: [y] }) => {
  const { emitter } = writer
  const [images, inputs, ...lengths] = dimsOf(x!) as [number, number, ...number[]]
  const [, m, ...kernel] = dimsOf(w!) as [number, number, ...number[]]
  const [, , ...counts] = dimsOf(y!) as [number, number, ...number[]]
  const group = attributes['group'] as number
  if (attributes['auto_pad'] !== 'NOTSET' || attributes['output_shape'])
    throw unsupported('ConvTranspose with automatic pads')
  const window = windowAlong({ ...attributes, output_padding: undefined }, kernel, counts)
  const depth = inputs / group
  const { image, inGroup } = groupedBatch(emitter, group)
  return {
    batch: images * group,
    m,
    n: sizeOf(counts),
    k: [depth, ...kernel],
    left: {
      element: (b, c, [input, ...k]) =>
        writer.element(w!, Index.at(emitter, dimsOf(w!), [inGroup(b, depth, input!), c, ...k])),
    },
    right: {
      element: (b, n, [input, ...k]) => {
        const o = split(emitter, n, counts)
        let inside: Code | undefined
        const at = window.map(({ stride, dilation, before }, axis) => {
          const tap = emitter.mul(k[axis]!, dilation)
          const sum = emitter.add(o[axis]!, natural(before))
          // A position before the start wraps around to a large one.
          const from = tap.constant === 0 ? sum : emitter.let(`${sum.text} - ${tap.text}`, sum, tap)
          const position = emitter.div(from, stride)
          const fits = emitter.let(
            `${position.text} < ${lengths[axis]}u${stride === 1 ? '' : ` && ${emitter.mod(from, stride).text} == 0u`}`,
            from,
            position,
          )
          inside = emitter.and(inside, fits)
          return position
        })
        const element = writer.element(x!, Index.at(emitter, dimsOf(x!), [image(b), inGroup(b, depth, input!), ...at]))
        return masked(writer, inside, element, '0f')
      },
    },
    index: (b, c, n) => Index.at(emitter, dimsOf(y!), [image(b), inGroup(b, m, c), ...split(emitter, n, counts)]),
    finish: withBias(writer, bias),
  }
}

/** Operators that are sums of products. */
export const contractions: Readonly<Record<string, Build>> = {
  MatMul: matMul,
  Gemm: gemm,
  Conv: convolution,
  ConvTranspose: transposedConvolution,
}

/** The contraction of a node. */
export function contractionOf(writer: ElementWriter, node: Node): Contraction {
  if (node.inputs.some((value) => value && elementType(value) !== 'f32'))
    throw unsupported(`${node.operator} of integers`)
  return contractions[node.operator]!(writer, node)
}
