import { evaluateDim } from '../../ir/dim.js'
import { dtypes, isFloat } from '../../ir/dtype.js'
import { dependenciesOf } from '../../ir/topology.js'
import type { Node, Value } from '../../ir/value.js'
import { isInput, isRandom, sharesMemory } from '../../op/facts.js'
import { definitionOf } from '../../op/op.js'
import { OnnxIreError } from '../../util/errors.js'
import { matchNames, type NamePatterns } from '../../util/pattern.js'

/** Length that every symbolic dim counts as, if only ratios of sizes matter. */
const nominalLength = 32
const nominal: ReadonlyMap<string, number> = { get: () => nominalLength } as never

/** A division of the forward pass into blocks. */
interface Division {
  /** Positions in the order at which a block ends: the next block starts with the node at that position. */
  readonly ends: readonly number[]
  readonly kept: ReadonlySet<Value>
}

/** The forward pass of a training graph, the activations that gradients read, and the blocks to compute again. */
export class BlockPlan {
  readonly order: readonly Node[]
  /** Block of every node that is computed again, by the number of the block. */
  readonly blockOf = new Map<Node, number>()
  kept: ReadonlySet<Value> = new Set()
  /** Nodes of the last block. */
  last: ReadonlySet<unknown> = new Set()
  readonly #lengths: ReadonlyMap<string, number> | undefined
  /** Values that gradients read, directly or through values that share their memory. */
  readonly #stored: ReadonlySet<Value>
  /** Position of the last reader of a value in the order. */
  readonly #lastRead = new Map<Value, number>()
  readonly #bytes = new Map<Value, number>()

  constructor(order: readonly Node[], gradients: readonly Node[], lengths: ReadonlyMap<string, number> | undefined) {
    this.order = order
    this.#lengths = lengths
    const inside = new Set<unknown>(order)
    const read = gradients.flatMap(dependenciesOf).filter(({ source }) => inside.has(source))
    this.#stored = new Set(read.map(memoryOf))
    for (const [position, node] of order.entries())
      for (const x of dependenciesOf(node)) for (const each of [x, memoryOf(x)]) this.#lastRead.set(each, position)
  }

  /**
   * Divides the forward pass such that the stored activations and the largest block together are smallest. With a
   * limit, only as many blocks as necessary are computed again, first those that save most.
   */
  chooseBlocks(limit?: number): void {
    const whole = this.#measure({ ends: [], kept: new Set() })
    if (limit !== undefined && whole.peak <= limit) return
    const candidates = Array.from({ length: 24 }, (_, i) => this.#divide(whole.peak / 1.4 ** (i + 1)))
    const measured = candidates.map((division) => ({ division, ...this.#measure(division) }))
    const best = measured.reduce((a, b) => (b.peak < a.peak ? b : a))
    if (best.peak >= whole.peak) return
    const { division, blocks } = best
    const again = new Set(blocks.keys())
    if (limit !== undefined) this.#storeBlocksWithin(limit, again, best)
    this.#apply(division, again)
  }

  /** Divides the forward pass after the named nodes and values. */
  endBlocksAt(patterns: NamePatterns): void {
    const positions = new Map<string, number>()
    for (const [position, { name, outputs }] of this.order.entries())
      for (const each of [name, ...outputs.map((y) => y.name)])
        if (each !== undefined) positions.set(each, position + 1)
    const names = matchNames(patterns, positions.keys(), 'node or value')
    const ends = [...new Set(names.map((name) => positions.get(name)!))].sort((a, b) => a - b)
    this.#apply(this.#keep(ends), new Set(ends.keys()))
  }

  /** Makes every node that `is` accepts a block of its own. */
  computeAgain(is: (node: Node) => boolean): void {
    for (const [position, node] of this.order.entries()) if (is(node)) this.blockOf.set(node, position)
  }

  /** Removes blocks from `again` as long as the activations stay below a limit: those that save least come first. */
  #storeBlocksWithin(limit: number, again: Set<number>, { peak, blocks }: Measured): void {
    const sizes = [...blocks.entries()].sort(([, a], [, b]) => a - b)
    let total = peak
    for (const [block, bytes] of sizes) {
      if (block === blocks.length - 1) continue
      // The largest block that is left may be this one: storing it can only add its size.
      if (total + bytes > limit) break
      total += bytes
      again.delete(block)
    }
  }

  #apply({ ends, kept }: Division, again: ReadonlySet<number>): void {
    let block = 0
    for (let position = 0; position < (ends.at(-1) ?? 0); position++) {
      while (position >= ends[block]!) block++
      if (again.has(block)) this.blockOf.set(this.order[position]!, block)
    }
    this.last = new Set(this.order.slice(ends.at(-1) ?? 0))
    this.kept = new Set([...kept, ...this.#notComputedAgain(kept)])
  }

  /** Values that a copy could not delay or that would differ: random ones, and those that depend on no operand. */
  #notComputedAgain(kept: ReadonlySet<Value>): Value[] {
    const result: Value[] = []
    const copied = new Set<Value>()
    for (const node of this.order) {
      const block = this.blockOf.get(node)
      if (block === undefined) continue
      const follows = dependenciesOf(node).some((x) => copied.has(x) && this.blockOf.get(x.source as Node) === block)
      const possible = !isRandom(node) && (follows || this.delayedInput(node) !== undefined)
      for (const y of node.outputs) {
        if (possible && !kept.has(y) && isFloat(y.dtype)) copied.add(y)
        // Conditions and indices are small, and so are the statistics of a norm.
        else if (!possible || !isFloat(y.dtype)) result.push(y)
      }
      if (node.operator === 'BatchNormalization') result.push(...node.outputs.slice(1))
    }
    return result
  }

  /** Position among the inputs of the operand that is delayed in a copy: the smallest activation, else a small leaf. */
  delayedInput(node: Node): number | undefined {
    const definition = definitionOf(node.operator)
    const results = node.outputs.reduce((sum, y) => sum + this.#sizeOf(y), 0)
    const rank = (x: Value) => this.#sizeOf(x) * (x.source.kind === 'node' ? 1e-9 : 1)
    const candidates = [...node.inputs.entries()].filter(
      (entry): entry is [number, Value] =>
        entry[1] !== null &&
        isFloat(entry[1].dtype) &&
        !isInput(definition, 'hostInputs', entry[0]) &&
        (entry[1].source.kind === 'node' || entry[1].source.kind === 'input' || 2 * this.#sizeOf(entry[1]) <= results),
    )
    return candidates.sort(([, a], [, b]) => rank(a) - rank(b))[0]?.[0]
  }

  /** Divides the forward pass into blocks of at most `bytes` of stored activations, at the narrowest places. */
  #divide(bytes: number): Division {
    const widths = this.#widths()
    const ends: number[] = []
    let [size, narrowest] = [0, -1]
    let start = 0
    for (let position = 0; position < this.order.length; position++) {
      size += this.#storedBy(this.order[position]!)
      if (size > bytes && narrowest > start) {
        ends.push(narrowest)
        start = narrowest
        size = 0
        for (let p = start; p <= position; p++) size += this.#storedBy(this.order[p]!)
        narrowest = -1
      }
      if (narrowest < 0 || widths[position + 1]! <= widths[narrowest]!) narrowest = position + 1
    }
    return this.#keep(ends)
  }

  /** Bytes of the values that are live at every position. */
  #widths(): Float64Array {
    const change = new Float64Array(this.order.length + 2)
    for (const [position, node] of this.order.entries())
      for (const y of node.outputs) {
        const last = this.#lastRead.get(y)
        if (last === undefined || isAlias(y)) continue
        change[position + 1]! += this.#sizeOf(y)
        change[last + 1]! -= this.#sizeOf(y)
      }
    for (let position = 1; position < change.length; position++) change[position]! += change[position - 1]!
    return change
  }

  /** Keeps the values that are computed before, and read after, an end of a block. */
  #keep(ends: readonly number[]): Division {
    const kept = new Set<Value>()
    let next = 0
    for (const [position, node] of this.order.entries()) {
      while (next < ends.length && ends[next]! <= position) next++
      const end = ends[next]
      if (end === undefined) break
      for (const y of node.outputs) if ((this.#lastRead.get(y) ?? -1) >= end) kept.add(y)
    }
    return { ends, kept }
  }

  /** Estimates what activations take: what is kept, and the largest block. */
  #measure({ ends, kept }: Division): Measured {
    const blocks = new Array<number>(ends.length + 1).fill(0)
    let sum = 0
    let block = 0
    for (const [position, node] of this.order.entries()) {
      while (block < ends.length && position >= ends[block]!) block++
      for (const y of node.outputs) {
        if (isAlias(y)) continue
        if (kept.has(y)) sum += this.#sizeOf(y)
        else if (this.#stored.has(y)) blocks[block]! += this.#sizeOf(y)
      }
    }
    return { blocks, peak: sum + Math.max(...blocks) }
  }

  #storedBy(node: Node): number {
    return node.outputs.reduce((sum, y) => sum + (this.#stored.has(y) ? this.#sizeOf(y) : 0), 0)
  }

  #sizeOf(value: Value): number {
    let bytes = this.#bytes.get(value)
    if (bytes === undefined) {
      bytes = (value.shape ?? []).reduce<number>((product, dim) => product * this.#lengthOf(dim, value), 1)
      bytes *= dtypes[value.dtype].bits / 8
      this.#bytes.set(value, bytes)
    }
    return bytes
  }

  #lengthOf(dim: number | string, { source }: Value): number {
    if (this.#lengths === undefined) return evaluateDim(dim, nominal) ?? nominalLength
    const length = evaluateDim(dim, this.#lengths)
    if (length === undefined)
      throw new OnnxIreError(
        'invalid-option',
        `recompute: the activations of ${source.kind === 'node' ? source.operator : 'an input'} have the unknown length '${dim}', so that their bytes are unknown: use 'blocks', or give the model static shapes`,
      )
    return length
  }
}

/** Whether a value shares the memory of its operand. */
const isAlias = ({ source }: Value): boolean => source.kind === 'node' && sharesMemory(source)

/** The value whose memory a value shares. */
function memoryOf(value: Value): Value {
  let result = value
  while (isAlias(result)) result = (result.source as Node).inputs[0]!
  return result
}

interface Measured {
  /** Bytes of the activations in each block that are not kept. */
  readonly blocks: readonly number[]
  readonly peak: number
}
