import type { PairTable } from './pair-table.js'

/**
 * Pairs by how often they occur: the most frequent first and, of equals, the one of the smallest token numbers. A binary heap
 * whose entries keep the count they came with; one that is out of date is put right when it comes to the top.
 */
export class PairQueue {
  readonly #table: PairTable
  readonly #pairs: number[] = []
  readonly #counts: number[] = []

  constructor(table: PairTable) {
    this.#table = table
  }

  /** Enters a pair with its count at present. A pair whose count has grown is entered again. */
  push(pair: number): void {
    let at = this.#pairs.length
    this.#pairs.push(pair)
    this.#counts.push(this.#table.counts[pair]!)
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!this.#precedes(at, parent)) break
      this.#swap(at, parent)
      at = parent
    }
  }

  /** Takes out the most frequent pair; -1 when none occurs any more. */
  pop(): number {
    while (this.#pairs.length > 0) {
      const [pair, count] = [this.#pairs[0]!, this.#counts[0]!]
      this.#removeTop()
      const present = this.#table.counts[pair]!
      if (present === count && count > 0) return pair
      if (present < count && present > 0) this.push(pair)
    }
    return -1
  }

  #removeTop(): void {
    const [pair, count] = [this.#pairs.pop()!, this.#counts.pop()!]
    const length = this.#pairs.length
    if (length === 0) return
    this.#pairs[0] = pair
    this.#counts[0] = count
    for (let at = 0; ; ) {
      let child = 2 * at + 1
      if (child >= length) return
      if (child + 1 < length && this.#precedes(child + 1, child)) child++
      if (!this.#precedes(child, at)) return
      this.#swap(at, child)
      at = child
    }
  }

  #precedes(a: number, b: number): boolean {
    const difference = this.#counts[a]! - this.#counts[b]!
    if (difference !== 0) return difference > 0
    const { left, right } = this.#table
    const [first, second] = [this.#pairs[a]!, this.#pairs[b]!]
    return left[first] === left[second] ? right[first]! < right[second]! : left[first]! < left[second]!
  }

  #swap(a: number, b: number): void {
    const [pair, count] = [this.#pairs[a]!, this.#counts[a]!]
    this.#pairs[a] = this.#pairs[b]!
    this.#counts[a] = this.#counts[b]!
    this.#pairs[b] = pair
    this.#counts[b] = count
  }
}
