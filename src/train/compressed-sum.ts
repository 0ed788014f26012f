import { eachPart, type FloatArray } from '../ir/float-array.js'
import { bfloat16ToNumber, numberToBfloat16 } from '../ir/leaf.js'
import type { ProcessGroup, SumArrays } from './process-group.js'

/** Largest length of the piece of a message that each process adds up: 2 MB. */
const maxPiece = 2 ** 20

/**
 * Sums of gradients over all processes that are sent as bfloat16, half of the bytes, with error feedback (Seide et al.
 * 2014; in both directions, as Tang et al. 2019, arXiv 1905.05957). Process r adds up the r-th piece of every message:
 *
 *     sent = bfloat16(array + e), e <- array + e - sent               in every process, to the process of the piece
 *     sum = bfloat16(sum of sent + E), E <- sum of sent + E - sum     in this process, to all
 *
 * The error of a rounding is added at the next step, so that in the long run no part of a gradient is lost. The sum has
 * the same bits in every process. MPI has no sum of bfloat16 numbers, so this adds them, in float64.
 */
export class CompressedSum {
  readonly #group: ProcessGroup
  readonly #maxPiece: number
  /** Lengths of the arrays that the errors belong to. */
  #lengths = ''
  /** e of all elements in a row. */
  #error = new Float32Array(0)
  /** E of the elements that this process adds up. */
  #sumError = new Float32Array(0)
  #sent = new Uint16Array(0)
  #received = new Uint16Array(0)
  #sum = new Uint16Array(0)

  /** @param piece largest length of the piece of a message that each process adds up */
  constructor(group: ProcessGroup, piece = maxPiece) {
    this.#group = group
    this.#maxPiece = piece
  }

  /** Sets the errors to 0. */
  reset(): void {
    this.#lengths = ''
  }

  /**
   * Replaces arrays by their sums. The errors are 0 if the last call had arrays of other lengths: if training of more
   * tensors begins, for example.
   */
  readonly reduce: SumArrays = async (arrays) => {
    const { size } = this.#group
    const total = arrays.reduce((sum, { length }) => sum + length, 0)
    this.#prepare(arrays.map(({ length }) => length).join(), total)
    for (let from = 0; from < total; from += this.#sent.length) {
      const length = Math.min(this.#sent.length, total - from)
      const piece = Math.ceil(length / size)
      const received = bytesOf(this.#received, piece * size)
      this.#round(arrays, from, length)
      await this.#group.allToAll(bytesOf(this.#sent, piece * size), received)
      this.#addUp(piece, from / size)
      await this.#group.allGather(bytesOf(this.#sum, piece), received)
      eachPart(arrays, from, length, (part, at) => {
        for (let i = 0; i < part.length; i++) part[i] = bfloat16ToNumber(this.#received[at + i]!)
      })
    }
  }

  #prepare(lengths: string, total: number): void {
    if (lengths === this.#lengths) return
    this.#lengths = lengths
    const { size } = this.#group
    this.#error = new Float32Array(total)
    this.#sumError = new Float32Array(Math.ceil(total / size))
    const piece = Math.min(this.#maxPiece, this.#sumError.length)
    this.#sum = new Uint16Array(piece)
    this.#sent = new Uint16Array(piece * size)
    this.#received = new Uint16Array(piece * size)
  }

  /** Rounds the elements of a message. */
  #round(arrays: readonly FloatArray[], from: number, length: number): void {
    const [sent, error] = [this.#sent, this.#error]
    eachPart(arrays, from, length, (part, at) => {
      for (let i = 0; i < part.length; i++) {
        const value = part[i]! + error[from + at + i]!
        const bits = numberToBfloat16(value)
        sent[at + i] = bits
        error[from + at + i] = finite(value - bfloat16ToNumber(bits))
      }
    })
    // Pieces have equal lengths.
    sent.fill(0, length)
  }

  /** Adds up the pieces that this process has received. @param from index of their first element in E */
  #addUp(piece: number, from: number): void {
    const [received, sum, error] = [this.#received, this.#sum, this.#sumError]
    const { size } = this.#group
    for (let i = 0; i < piece; i++) {
      let value = error[from + i]!
      for (let rank = 0; rank < size; rank++) value += bfloat16ToNumber(received[rank * piece + i]!)
      const bits = numberToBfloat16(value)
      sum[i] = bits
      error[from + i] = finite(value - bfloat16ToNumber(bits))
    }
  }
}

/** A NaN or an infinity ends the step with an error, and must not be in the sums of later ones. */
const finite = (error: number): number => (Number.isFinite(error) ? error : 0)

const bytesOf = ({ buffer }: Uint16Array, length: number): Uint8Array => new Uint8Array(buffer, 0, 2 * length)
