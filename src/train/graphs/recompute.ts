import { isFloat } from '../../ir/dtype.js'
import { scalar } from '../../ir/leaf.js'
import { bodiesOf, dependenciesOf, topological } from '../../ir/topology.js'
import { type Node, Value } from '../../ir/value.js'
import { cast } from '../../op/compose/cast.js'
import { cloneNode } from '../../op/inline.js'
import { op } from '../../op/op.js'
import { append } from '../../util/append.js'
import { checkNumber, invalidOption, positiveCount } from '../../util/check.js'
import type { NamePatterns } from '../../util/pattern.js'
import { BlockPlan } from './block-plan.js'

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
  const plan = new BlockPlan(order, gradients, typeof recompute === 'number' ? lengths : undefined)
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
  const plan = new BlockPlan(order, gradients, undefined)
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

/** Rewrites the gradient nodes of a training graph on copies of forward nodes. */
class Rewriter {
  readonly #plan: BlockPlan
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

  constructor(plan: BlockPlan, gradients: readonly Node[]) {
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
