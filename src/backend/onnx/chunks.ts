import { sizeOf } from '../../ir/tensor.js'
import type { Value } from '../../ir/value.js'
import { op } from '../../op/op.js'

/** Some of a tensor's elements, from `from` to before `to`. */
export interface Piece {
  /** Which tensor. */
  readonly tensor: number
  readonly from: number
  readonly to: number
}

/** The elements of several tensors, one after another, cut into flat chunks of at most `most`. */
export class Chunks {
  readonly pieces: readonly (readonly Piece[])[]
  readonly #dims: readonly (readonly number[])[]

  /** @param dims of the tensors; none is empty */
  constructor(dims: readonly (readonly number[])[], most: number) {
    this.#dims = dims
    const chunks: Piece[][] = []
    let room = 0
    for (const [tensor, length] of dims.map(sizeOf).entries())
      for (let from = 0, to = 0; from < length; from = to) {
        if (room === 0) chunks.push([])
        if (room === 0) room = most
        to = Math.min(length, from + room)
        room -= to - from
        chunks.at(-1)!.push({ tensor, from, to })
      }
    this.pieces = chunks
  }

  /** The chunks of tensors. */
  cut(tensors: readonly Value[]): Value[] {
    const flat = tensors.map((x, i) => op.Reshape(x, [sizeOf(this.#dims[i]!)]))
    return this.pieces.map((pieces) =>
      joined(pieces.map(({ tensor, from, to }) => within(flat[tensor]!, sizeOf(this.#dims[tensor]!), from, to))),
    )
  }

  /** The reverse. */
  joined(chunks: readonly Value[]): Value[] {
    const parts: Value[][] = this.#dims.map(() => [])
    for (const [i, pieces] of this.pieces.entries()) {
      const length = pieces.reduce((sum, { from, to }) => sum + to - from, 0)
      let at = 0
      for (const { tensor, from, to } of pieces) {
        parts[tensor]!.push(within(chunks[i]!, length, at, at + to - from))
        at += to - from
      }
    }
    return parts.map((own, i) => op.Reshape(joined(own), this.#dims[i]!))
  }
}

const joined = (flat: readonly Value[]): Value => (flat.length === 1 ? flat[0]! : op.Concat(flat, { axis: 0 }))

const within = (x: Value, length: number, from: number, to: number): Value =>
  to - from === length ? x : op.Slice(x, [from], [to], [0])
