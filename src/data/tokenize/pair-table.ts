/** Pairs of tokens, numbered as they are met: a hash table with open addressing, linear probing and a load below 1/2. */
export class PairTable {
  left: Int32Array = new Int32Array(1024)
  right: Int32Array = new Int32Array(1024)
  /** Occurrences of each pair at present. */
  counts: Float64Array = new Float64Array(1024)
  size = 0
  /** The number of the pair in a slot plus one; 0 for a free slot. */
  #slots = new Int32Array(4096)

  /** The number of the pair, which is made if it is new. */
  at(left: number, right: number): number {
    const mask = this.#slots.length - 1
    let slot = hash(left, right) & mask
    for (;;) {
      const pair = this.#slots[slot]! - 1
      if (pair < 0) break
      if (this.left[pair] === left && this.right[pair] === right) return pair
      slot = (slot + 1) & mask
    }
    const pair = this.size++
    if (pair === this.left.length) this.#grow()
    this.left[pair] = left
    this.right[pair] = right
    this.#slots[slot] = pair + 1
    if (2 * this.size > this.#slots.length) this.#rehash()
    return pair
  }

  #grow(): void {
    const room = 2 * this.left.length
    const { left, right, counts } = this
    this.left = new Int32Array(room)
    this.right = new Int32Array(room)
    this.counts = new Float64Array(room)
    this.left.set(left)
    this.right.set(right)
    this.counts.set(counts)
  }

  #rehash(): void {
    this.#slots = new Int32Array(2 * this.#slots.length)
    const mask = this.#slots.length - 1
    for (let pair = 0; pair < this.size; pair++) {
      let slot = hash(this.left[pair]!, this.right[pair]!) & mask
      while (this.#slots[slot] !== 0) slot = (slot + 1) & mask
      this.#slots[slot] = pair + 1
    }
  }
}

function hash(left: number, right: number): number {
  const mixed = Math.imul(Math.imul(left, 0x9e3779b1) ^ right, 0x85ebca6b)
  return mixed ^ (mixed >>> 15)
}
