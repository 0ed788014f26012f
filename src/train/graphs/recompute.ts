import { evaluateDim } from '../../ir/dim.js'
import { dtypes, isFloat } from '../../ir/dtype.js'
import { scalar } from '../../ir/leaf.js'
import { bodiesOf, dependenciesOf, topological } from '../../ir/topology.js'
import { type Node, Value } from '../../ir/value.js'
import { cast } from '../../op/compose/cast.js'
import { isInput, isRandom, sharesMemory } from '../../op/facts.js'
import { cloneNode } from '../../op/inline.js'
import { definitionOf, op } from '../../op/op.js'
import { append } from '../../util/append.js'
import { checkNumber, invalidOption, positiveCount } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { matchNames, type NamePatterns } from '../../util/pattern.js'

/**
 * Activations to compute again in the backward pass instead of storing them:
 * - 'blocks' divides the model into blocks at the narrow places of its graph, such that the peak is smallest;
 * - name patterns of nodes or values state where blocks end;
 * - a number of bytes is what the activations of one run may take: as few blocks as necessary are computed again.
 */
export type Recompute = 'blocks' | NamePatterns | number

/** Throws `invalid-option` if a value is no `Recompute`. */
export function checkRecompute(owner: string, recompute: unknown): void {
  if (typeof recompute === 'number') checkNumber(owner, 'recompute', recompute, positiveCount)
  else if (![recompute].flat().every((pattern) => typeof pattern === 'string') || [recompute].flat().length === 0)
    throw invalidOption(owner, 'recompute', recompute, "'blocks', name patterns, or a number of bytes")
}

/**
 * Rewrites a training graph so that gradients read activations that are computed a second time, block by block, shortly
 * before they are needed (Chen et al. 2016, arXiv 1604.06174). What a block reads from earlier blocks is stored. The
 * last block is not computed again, because its gradients come first.
 *
 * onnxruntime would merge equal nodes and could run the copies at any time. The copies of a block therefore read one
 * operand times a factor of 1 that is computed from the gradient that arrives at the block's end.
 *
 * @param outputs outputs of the training graph
 * @param forward values of the forward pass: losses, metrics and the model's outputs
 * @param lengths lengths of symbolic dims, for `recompute` in bytes
 */
export function recomputeActivations(
  outputs: ReadonlyMap<string, Value>,
  forward: Iterable<Value>,
  recompute: Recompute,
  lengths: ReadonlyMap<string, number> = new Map(),
): ReadonlyMap<string, Value> {
  const order = topological(forward)
  const gradients = topological(outputs.values(), skip(order))
  const plan = new Plan(order, gradients, typeof recompute === 'number' ? lengths : undefined)
  if (recompute === 'blocks') plan.chooseBlocks()
  else if (typeof recompute === 'number') plan.chooseBlocks(recompute)
  else plan.endBlocksAt(recompute)
  return new Rewriter(plan, gradients).rewrite(outputs)
}

/**
 * Rewrites a training graph so that gradients dequantize the frozen weights of a layer again, shortly before they are
 * multiplied: else every weight that DequantizeLinear computes for the forward pass is stored as floats until then.
 */
export function dequantizeAgain(
  outputs: ReadonlyMap<string, Value>,
  forward: Iterable<Value>,
): ReadonlyMap<string, Value> {
  const order = topological(forward)
  if (!order.some(isFrozenWeight)) return outputs
  const gradients = topological(outputs.values(), skip(order))
  const plan = new Plan(order, gradients, undefined)
  plan.computeAgain(isFrozenWeight)
  return new Rewriter(plan, gradients).rewrite(outputs)
}

/** Whether a node dequantizes a matrix of integers that is the same in every run. */
const isFrozenWeight = ({ operator, inputs, outputs }: Node): boolean =>
  operator === 'DequantizeLinear' &&
  outputs[0]!.shape !== undefined &&
  outputs[0]!.shape.length > 1 &&
  inputs.every((x) => x === null || x.source.kind === 'constant' || x.source.kind === 'parameter')

const skip = (order: readonly Node[]): ((node: Node) => boolean) => {
  const known = new Set(order)
  return (node) => !known.has(node)
}

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
class Plan {
  readonly order: readonly Node[]
  /** Block of every node that is computed again, by the number of the block. */
  readonly blockOf = new Map<Node, number>()
  kept: ReadonlySet<Value> = new Set()
  /** Nodes of the last block. */
  last: ReadonlySet<unknown> = new Set()
  readonly #lengths: ReadonlyMap<string, number> | undefined
  /** Values that gradients read, directly or through views. */
  readonly #stored: ReadonlySet<Value>
  /** Position of the last reader of a value in the order. */
  readonly #lastRead = new Map<Value, number>()
  readonly #bytes = new Map<Value, number>()

  constructor(order: readonly Node[], gradients: readonly Node[], lengths: ReadonlyMap<string, number> | undefined) {
    this.order = order
    this.#lengths = lengths
    const inside = new Set<unknown>(order)
    const read = gradients.flatMap(dependenciesOf).filter(({ source }) => inside.has(source))
    this.#stored = new Set(read.map(viewed))
    for (const [position, node] of order.entries())
      for (const x of dependenciesOf(node)) for (const each of [x, viewed(x)]) this.#lastRead.set(each, position)
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
        if (last === undefined || isView(y)) continue
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
        if (isView(y)) continue
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
const isView = ({ source }: Value): boolean => source.kind === 'node' && sharesMemory(source)

/** The value whose memory a value shares. */
function viewed(value: Value): Value {
  let result = value
  while (isView(result)) result = (result.source as Node).inputs[0]!
  return result
}

interface Measured {
  /** Bytes of the activations in each block that are not kept. */
  readonly blocks: readonly number[]
  readonly peak: number
}

/** Rewrites the gradient nodes of a training graph on copies of forward nodes. */
class Rewriter {
  readonly #plan: Plan
  readonly #gradients: readonly Node[]
  /** The lowest block whose copies a gradient node needs, directly or through others. */
  readonly #levels = new Map<Node, number>()
  /** The gradient that arrives at a block's end, by block. */
  readonly #arriving = new Map<number, Value>()
  readonly #factors = new Map<string, Value>()
  /** Copies of forward values. */
  readonly #copies = new Map<Value, Value>()
  /** Delayed forms of kept values by block, last block first. */
  readonly #delayed = new Map<Value, { readonly block: number; readonly value: Value }[]>()
  readonly #rebuilt = new Map<Value, Value>()
  readonly #done = new Set<Node>()

  constructor(plan: Plan, gradients: readonly Node[]) {
    this.#plan = plan
    this.#gradients = gradients
    this.#findLevels()
    this.#findArriving()
  }

  rewrite(outputs: ReadonlyMap<string, Value>): ReadonlyMap<string, Value> {
    if (this.#arriving.size === 0) return outputs
    this.#makeCopiesOf(this.#needed())
    for (const node of this.#gradients) this.#rebuild(node)
    return new Map([...outputs].map(([name, value]) => [name, this.#rebuilt.get(value) ?? value]))
  }

  /** The block whose copy of a value gradients read; undefined for a value that is stored. */
  #blockOf(value: Value): number | undefined {
    return this.#plan.kept.has(value) ? undefined : this.#plan.blockOf.get(value.source as Node)
  }

  #levelOf(value: Value): number {
    return this.#levels.get(value.source as Node) ?? this.#blockOf(value) ?? Number.POSITIVE_INFINITY
  }

  #findLevels(): void {
    for (const node of this.#gradients)
      this.#levels.set(
        node,
        dependenciesOf(node).reduce((level, x) => Math.min(level, this.#levelOf(x)), Number.POSITIVE_INFINITY),
      )
  }

  /**
   * Finds for every block a gradient that is computed from the copies of later blocks, but of no earlier ones, and that
   * nodes of this block read: the one at the end of the longest chain. A loss may compute it itself.
   */
  #findArriving(): void {
    const depths = new Map<unknown, number>()
    const depthOf = ({ source }: Value) => depths.get(source) ?? 0
    for (const node of this.#gradients) depths.set(node, 1 + Math.max(0, ...dependenciesOf(node).map(depthOf)))
    const isBetter = (a: Value, b: Value | undefined) =>
      b === undefined ||
      this.#levelOf(a) < this.#levelOf(b) ||
      (this.#levelOf(a) === this.#levelOf(b) && depthOf(a) > depthOf(b))
    const blocks = new Set(this.#plan.blockOf.values())
    for (const node of this.#gradients) {
      const block = this.#levels.get(node)!
      if (!blocks.has(block)) continue
      for (const x of dependenciesOf(node)) {
        const isLate = depths.has(x.source) || this.#plan.last.has(x.source)
        if (!isLate || !isFloat(x.dtype) || this.#levelOf(x) <= block) continue
        if (isBetter(x, this.#arriving.get(block))) this.#arriving.set(block, x)
      }
    }
    // Without an arriving gradient nothing delays the copies: the block is stored.
    for (const [node, block] of this.#plan.blockOf) if (!this.#arriving.has(block)) this.#plan.blockOf.delete(node)
  }

  /** Nodes to copy: those whose results gradients read, and the nodes of the same block that these need. */
  #needed(): ReadonlySet<Node> {
    const needed = new Set<Node>()
    const need = (x: Value) => this.#blockOf(x) !== undefined && needed.add(x.source as Node)
    for (const node of this.#gradients) dependenciesOf(node).forEach(need)
    for (const node of this.#plan.order.toReversed()) if (needed.has(node)) dependenciesOf(node).forEach(need)
    return needed
  }

  /** Copies nodes, the last block first. */
  #makeCopiesOf(needed: ReadonlySet<Node>): void {
    const byBlock = new Map<number, Node[]>()
    for (const node of this.#plan.order) {
      if (!needed.has(node)) continue
      const block = this.#plan.blockOf.get(node)!
      append(byBlock, block, node)
    }
    for (const [block, nodes] of [...byBlock].sort(([a], [b]) => b - a)) {
      this.#rebuild(this.#arriving.get(block)!.source as Node)
      for (const node of nodes) this.#copy(node, block)
    }
  }

  #copy(node: Node, block: number): void {
    const replace = new Map<Value, Value>()
    for (const x of dependenciesOf(node)) {
      const copy = this.#copies.get(x)
      const delayed = this.#delayed.get(x)?.at(-1)
      if (copy && this.#blockOf(x) === block) replace.set(x, copy)
      else if (delayed?.block === block) replace.set(x, delayed.value)
    }
    if (replace.size === 0) {
      const x = node.inputs[this.#plan.delayedInput(node)!]!
      replace.set(x, this.#delay(x, block))
    }
    const copies = cloneOn(node, replace)
    for (const [i, y] of node.outputs.entries()) if (!this.#plan.kept.has(y)) this.#copies.set(y, copies[i]!)
  }

  /** An operand times a factor of 1 that is known when the gradient of a block's end is. */
  #delay(x: Value, block: number): Value {
    const known = this.#delayed.get(x) ?? []
    const last = known.at(-1)
    if (last?.block === block) return last.value
    const value = op.Mul(last?.value ?? x, this.#factor(block, x))
    this.#delayed.set(x, [...known, { block, value }])
    return value
  }

  /** A factor of 1 that onnxruntime does not recognize as one: 1 unless the first element exceeds infinity. */
  #factor(block: number, { dtype }: Value): Value {
    const key = `${block} ${dtype}`
    let factor = this.#factors.get(key)
    if (factor === undefined) {
      const dy = this.#now(this.#arriving.get(block)!)
      const axes = (dy.shape ?? []).map((_, axis) => axis)
      const zeros = axes.map(() => 0)
      const ones = axes.map(() => 1)
      const first = axes.length === 0 ? dy : op.Squeeze(op.Slice(dy, zeros, ones, axes), axes)
      const number = cast(first, dtype)
      factor = op.Where(op.Greater(number, scalar(dtype, Number.POSITIVE_INFINITY)), number, scalar(dtype, 1))
      this.#factors.set(key, factor)
    }
    return factor
  }

  #now(value: Value): Value {
    return this.#rebuilt.get(value) ?? value
  }

  /** Rebuilds a gradient node, after those that it depends on, on the copies of forward values. */
  #rebuild(end: Node): void {
    const pending = topological(end.outputs, (node) => this.#levels.has(node) && !this.#done.has(node))
    for (const node of pending) {
      this.#done.add(node)
      const level = this.#levels.get(node)!
      const replace = new Map<Value, Value>()
      for (const x of dependenciesOf(node)) {
        const now = this.#rebuilt.get(x) ?? this.#copies.get(x) ?? this.#delayedFor(x, level)
        if (now && now !== x) replace.set(x, now)
      }
      if (replace.size === 0) continue
      for (const [i, y] of cloneOn(node, replace).entries()) this.#rebuilt.set(node.outputs[i]!, y)
    }
  }

  /** The delayed form of a kept value that a gradient node reads, so that the value itself is free. */
  #delayedFor(x: Value, level: number): Value | undefined {
    return this.#delayed.get(x)?.findLast(({ block }) => block >= level)?.value
  }
}

/** Clones a node with some operands replaced by values of the same types. */
function cloneOn(node: Node, replace: ReadonlyMap<Value, Value>): readonly Value[] {
  if (bodiesOf(node).length > 0) return cloneNode(node, new Map(replace))
  const outputs: Value[] = []
  const copy: Node = { ...node, inputs: node.inputs.map((x) => x && (replace.get(x) ?? x)), outputs, name: undefined }
  for (const y of node.outputs) outputs.push(new Value(y, copy, y.index, undefined, y.contents))
  return outputs
}
