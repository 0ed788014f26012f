import { evaluateDim } from '../../ir/dim.js'
import { numbersOf } from '../../ir/leaf.js'
import { type Dim, formatShape, isStatic, type Shape } from '../../ir/shape.js'
import { bodiesOf, dependenciesOf, topological } from '../../ir/topology.js'
import { type Graph, type Node, nameValue, type Value } from '../../ir/value.js'
import { createInput, declareDims, listInputs, undeclare } from '../../onnx/import/declarations.js'
import { importGraph } from '../../onnx/import/import-graph.js'
import { isStandardDomain } from '../../onnx/import/model-nodes.js'
import type { Model } from '../../onnx/model.js'
import { edit, rewrite } from '../../onnx/proto/message.js'
import type { NodeProto, ValueInfoProto } from '../../onnx/proto/schema.js'
import { apply } from '../../op/apply.js'
import { knownNumbers } from '../../op/contents.js'
import { cloneNode } from '../../op/inline.js'
import { definitionOf } from '../../op/op.js'
import { OnnxIreError } from '../../util/errors.js'
import { fixedBatchSize } from '../micro-batches.js'
import { Insertion, type NamedValue } from './insertion.js'

/** A model that takes any number of examples, and how it was changed. */
export interface FreedBatch {
  readonly model: Model
  /** Number of examples that the file fixed; null if it fixed none, and the model is unchanged. */
  readonly fixed: number | null
  /** The operands that were rewritten, besides the declared shapes of inputs and outputs: one sentence each. */
  readonly changes: readonly string[]
}

/** The number of examples that a model's file fixes, or null. */
export function batchSizeOf(model: Model): number | null {
  return fixedBatchSize(new Map(listInputs(model.proto).map((info) => [info.name ?? '', createInput(info)]))) ?? null
}

/**
 * Rewrites a model whose file fixes the number of examples to one that takes any number: the first length of every
 * input becomes a symbol, and constants that contain the number are rewritten. Shape inference proves for two numbers
 * of examples that every result grows with them in one axis, and has its old shape for the old number. Whether examples
 * are computed independently of each other is not proved; see `freeBatch`.
 *
 * @throws OnnxIreError `invalid-option` naming the node and the constant that depend on the number of examples
 */
export function freeBatchAxis(model: Model): FreedBatch {
  const fixed = batchSizeOf(model)
  if (fixed === null) {
    refuseMixedLengths(model)
    return { model, fixed, changes: [] }
  }
  const symbol = unusedSymbol(model)
  const opened = openInputs(model, symbol)
  const rewriter = new Rewriter(opened, { symbol, fixed, before: shapesByName(importGraph(model)) })
  const outputs = rewriter.run()
  const freed = rewriter.finish(outputs)
  for (const examples of [fixed, 2 * fixed + 1]) checkShapes(model, freed, symbol, examples)
  return { model: freed, fixed, changes: rewriter.changes }
}

/** Throws `invalid-option` if only some inputs have a fixed first length, or if they have different ones. */
function refuseMixedLengths(model: Model): void {
  const inputs = listInputs(model.proto).map((info) => createInput(info))
  const lengths = inputs.flatMap(({ name, shape }) => (shape?.length ? [`${name} ${formatShape(shape)}`] : []))
  const isFixed = inputs.some(({ shape }) => typeof shape?.[0] === 'number')
  if (isFixed)
    throw freeBatchError(
      `the inputs have no first length in common, so that none is the number of examples: ${lengths.join(', ')}`,
    )
}

/** The error of a model whose number of examples cannot be freed. */
export const freeBatchError = (reason: string, cause?: unknown): OnnxIreError =>
  new OnnxIreError('invalid-option', `freeBatch: the number of examples cannot be freed: ${reason}`, { cause })

/** A name for the number of examples that no length of the model has. */
function unusedSymbol({ proto }: Model): string {
  const taken = new Set<string>()
  rewrite('ModelProto', proto, 'Dimension', (dim) => {
    if (dim.dimParam) taken.add(dim.dimParam)
    return dim
  })
  return ['batch', 'batch_size', 'examples'].find((name) => !taken.has(name)) ?? `batch_${taken.size}`
}

/** Gives the first axis of every input a symbol, and removes all other declared shapes but those of stored tensors. */
function openInputs(model: Model, symbol: string): Model {
  const graph = model.proto.graph!
  const open = new Set(listInputs(model.proto).map(({ name = '' }) => name))
  const inside = graph.node.map((node) =>
    hasBodies(node) ? rewrite('NodeProto', node, 'GraphProto', undeclare) : node,
  )
  const input = graph.input.map((info) => {
    const { shape } = createShape(info)
    return open.has(info.name ?? '') && shape?.length ? declareDims(info, [symbol, ...shape.slice(1)]) : info
  })
  const output = graph.output.map((info) => declareDims(info, undefined))
  const stored = new Set(graph.initializer.map(({ name }) => name))
  const valueInfo = graph.valueInfo.filter(({ name }) => stored.has(name))
  return { ...model, proto: edit(model.proto, { graph: edit(graph, { input, output, node: inside, valueInfo }) }) }
}

const createShape = (info: ValueInfoProto): Pick<Value, 'shape'> =>
  info.type?.tensorType ? createInput(info) : { shape: undefined }

const hasBodies = ({ attribute }: NodeProto): boolean => attribute.some(({ g, graphs }) => g || graphs.length > 0)

/** The inputs of a graph, and the results of its nodes outside of bodies. */
const valuesOf = ({ inputs, outputs }: Graph): readonly Value[] => [
  ...inputs.values(),
  ...topological(outputs.values()).flatMap((node) => node.outputs),
]

/** Shapes of the results of the main graph, and of its inputs, by name. */
function shapesByName(graph: Graph): ReadonlyMap<string, Shape> {
  const repeated = findRepeatedNames(graph)
  return new Map(
    valuesOf(graph).flatMap(({ name, shape }) =>
      name !== undefined && shape && !repeated.has(name) ? [[name, shape] as const] : [],
    ),
  )
}

/** Names that several values have: those of a function's results, if it is called several times. */
function findRepeatedNames(graph: Graph): ReadonlySet<string | undefined> {
  const seen = new Set<string | undefined>()
  const repeated = new Set<string | undefined>()
  for (const { name } of valuesOf(graph)) (seen.has(name) ? repeated : seen).add(name)
  return repeated
}

/** The number of examples: its symbol in the new model, its length in the old one, and the shapes of the old one. */
interface Batch {
  readonly symbol: string
  readonly fixed: number
  readonly before: ReadonlyMap<string, Shape>
}

/** Walks over the nodes in order, infers their shapes for a symbolic number of examples, and rewrites operands. */
class Rewriter {
  readonly changes: string[] = []
  readonly #model: Model
  readonly #graph: Graph
  readonly #batch: Batch
  readonly #copies = new Map<Value, Value>()
  /** Nodes of the file by the names of their outputs, without names that several values have. */
  readonly #nodes: ReadonlyMap<string, NodeProto>
  /** New operands of nodes of the file, by position, and the nodes to insert before them. */
  readonly #edits = new Map<NodeProto, { readonly inputs: Map<number, string>; readonly inserted: NodeProto[] }>()
  readonly #taken = new Set<string>()

  constructor(model: Model, batch: Batch) {
    this.#model = model
    this.#graph = importOpened(model)
    const repeated = findRepeatedNames(this.#graph)
    this.#batch = { ...batch, before: new Map([...batch.before].filter(([name]) => !repeated.has(name))) }
    const { node, initializer, input } = model.proto.graph!
    const results = node.flatMap((each) => each.output.map((name) => [name, each] as const))
    this.#nodes = new Map(results.filter(([name]) => !repeated.has(name)))
    for (const { name = '' } of [...initializer, ...input]) this.#taken.add(name)
    for (const [name] of results) this.#taken.add(name)
  }

  /** Infers all shapes; returns the outputs. */
  run(): ReadonlyMap<string, Value> {
    for (const node of topological(this.#graph.outputs.values())) {
      const inputs = node.inputs.map((value) => value && (this.#copies.get(value) ?? value))
      const operands = this.#rewrite(node, inputs)
      const outputs = this.#infer(node, inputs, operands)
      for (const [i, value] of outputs.entries()) {
        this.#copies.set(node.outputs[i]!, value)
        this.#check(node, operands, value)
      }
    }
    return new Map([...this.#graph.outputs].map(([name, value]) => [name, this.#copies.get(value) ?? value]))
  }

  /** The model with the rewritten operands and the inferred shapes of its outputs. */
  finish(outputs: ReadonlyMap<string, Value>): Model {
    const graph = this.#model.proto.graph!
    const node = graph.node.flatMap((each) => {
      const change = this.#edits.get(each)
      if (!change) return [each]
      const input = each.input.map((name, i) => change.inputs.get(i) ?? name)
      return [...change.inserted, edit(each, { input })]
    })
    const output = graph.output.map((info) => declareDims(info, plainNames(outputs.get(info.name ?? '')?.shape)))
    const read = new Set([...outputs.keys(), ...node.flatMap(namesRead)])
    const unread = (name: string | undefined) => this.#replaced.has(name ?? '') && !read.has(name ?? '')
    return {
      ...this.#model,
      proto: edit(this.#model.proto, {
        graph: edit(graph, {
          node: node.filter(({ opType, output: [name] }) => opType !== 'Constant' || !unread(name)),
          initializer: graph.initializer.filter(({ name }) => !unread(name)),
          input: graph.input.filter(({ name }) => !unread(name)),
          output,
        }),
      }),
    }
  }

  /** Names of operands that were replaced. */
  readonly #replaced = new Set<string>()

  #infer(node: Node, inputs: readonly (Value | null)[], operands: readonly (Value | null)[]): readonly Value[] {
    const isUnchanged = operands.every((value, i) => value === node.inputs[i]) && bodiesOf(node).length === 0
    if (isUnchanged) return node.outputs
    try {
      if (bodiesOf(node).length > 0) return cloneNode(node, this.#copies)
      const { operator, attributes, name, outputs } = node
      const definition = definitionOf(operator)
      const values = apply({ operator, definition, inputs: operands, attributes, name, outputCount: outputs.length })
      for (const [i, value] of values.entries())
        if (value.source.kind === 'node' && outputs[i]?.name !== undefined) nameValue(value, outputs[i].name)
      return values
    } catch (cause) {
      if (!(cause instanceof OnnxIreError)) throw cause
      const constants = inputs.filter((value) => value && (value.source.kind !== 'node' || value.contents))
      throw freeBatchError(`${cause.message}${formatConstants(constants)}`, cause)
    }
  }

  /** Throws unless a result has its old shape for the old number of examples, and grows with it in one axis. */
  #check(node: Node, operands: readonly (Value | null)[], value: Value): void {
    const { fixed, symbol, before } = this.#batch
    const { shape } = value
    const old = before.get(value.name ?? '')
    const grows = shape?.flatMap((dim, axis) => (hasSymbol(dim, symbol) ? [axis] : [])) ?? []
    const label = describe(node)
    if (shape && old && (shape.length !== old.length || shape.some((dim, axis) => !this.#agrees(dim, old[axis]!))))
      throw freeBatchError(
        `the result of ${label} would be ${formatShape(shape)} instead of ${formatShape(old)}${formatConstants(operands)}`,
      )
    if (grows.length > 1)
      throw freeBatchError(`${label} combines the examples with each other: its result is ${formatShape(shape)}`)
    if (grows.length === 1) {
      const lengths = [fixed, 2 * fixed].map((length) => evaluateDim(shape![grows[0]!]!, new Map([[symbol, length]])))
      if (lengths[0] !== undefined && lengths[1] !== 2 * lengths[0])
        throw freeBatchError(
          `the result of ${label}, ${formatShape(shape)}, is not proportional to the number of examples`,
        )
      return
    }
    const isKnown = shape?.every((dim) => typeof dim === 'number' || !dim.includes('?')) ?? false
    // The second operand of CastLike gives its type only.
    const read = node.operator === 'CastLike' ? node.inputs.slice(0, 1) : dependenciesOf(node)
    const takesExamples = read.some((x) => x && (this.#copies.get(x) ?? x).shape?.some((dim) => hasSymbol(dim, symbol)))
    if (isKnown && takesExamples && node.operator !== 'Shape' && node.operator !== 'Size')
      throw freeBatchError(
        `the result of ${label} is ${formatShape(shape)} for any number of examples${formatConstants(operands)}`,
      )
  }

  #agrees(dim: Dim, old: Dim): boolean {
    if (typeof old !== 'number') return true
    const { symbol, fixed } = this.#batch
    return typeof dim === 'number'
      ? dim === old
      : !hasSymbol(dim, symbol) || (evaluateDim(dim, new Map([[symbol, fixed]])) ?? old) === old
  }

  /** The axis of a value that has the examples; -1 if none or several. */
  #axisOf(value: Value | null | undefined): number {
    const axes = value?.shape?.flatMap((dim, axis) => (hasSymbol(dim, this.#batch.symbol) ? [axis] : [])) ?? []
    return axes.length === 1 ? axes[0]! : -1
  }

  /** The operands of a node, of which those that contain the number of examples are replaced. */
  #rewrite(node: Node, inputs: readonly (Value | null)[]): readonly (Value | null)[] {
    const [x] = inputs
    switch (node.operator) {
      case 'Reshape':
        return this.#rewriteReshape(node, inputs)
      case 'Expand':
        return this.#rewriteExpand(node, inputs)
      case 'Resize':
        return this.#rewriteSizes(node, inputs)
      case 'Concat': {
        const like = inputs.find((value) => this.#axisOf(value) >= 0)
        const axis = this.#axisOf(like)
        const concatenated = node.attributes['axis'] as number
        if (!like || axis === (concatenated + (like.shape?.length ?? 0)) % like.shape!.length) return inputs
        return this.#repeatOperands(node, inputs, like, new Map([...inputs.keys()].map((i) => [i, axis])))
      }
      case 'GridSample':
        return this.#repeatOperands(node, inputs, x, new Map([[1, 0]]))
      case 'LSTM':
      case 'GRU':
      case 'RNN': {
        const axis = node.attributes['layout'] === 1 ? 0 : 1
        return this.#repeatOperands(node, inputs, x, new Map([[4, 0], [5, axis], [6, axis]])) // biome-ignore format: table
      }
      default:
        return inputs
    }
  }

  /**
   * Reshape keeps the elements in order. With P elements before the axis of the examples in the operand, the result has
   * the examples in an axis with P elements before it, if there is one: its length becomes -1.
   */
  #rewriteReshape(node: Node, inputs: readonly (Value | null)[]): readonly (Value | null)[] {
    const [x, target] = inputs
    const { fixed, symbol, before } = this.#batch
    const from = this.#axisOf(x)
    const contents = target?.contents
    const old = before.get(node.outputs[0]?.name ?? '')
    if (from < 0 || !contents) return inputs
    if (!isStatic(old) || !isStatic(x!.shape!.toSpliced(from, 1))) {
      const keeps = from === 0 && x!.shape![0] === symbol && contents[0] === fixed && !node.attributes['allowzero']
      const numbers = knownNumbers(target)
      return keeps && numbers ? this.#replaceList(node, inputs, 1, numbers.with(0, 0)) : inputs
    }
    const product = (lengths: readonly Dim[]) => lengths.reduce<number>((all, length) => all * (length as number), 1)
    const preceding = product(x!.shape!.slice(0, from))
    const candidates = [...old.keys()].filter((axis) => product(old.slice(0, axis)) === preceding)
    const fitting = candidates.filter((axis) => old[axis]! % fixed === 0)
    const to = fitting.find((axis) => old[axis] === fixed) ?? fitting[0]
    if (to === undefined) return inputs
    const isCopied = contents[to] === 0 && !node.attributes['allowzero'] && to === from
    if (contents[to] === -1 || isCopied || hasSymbol(contents[to]!, symbol)) return inputs
    return this.#replaceList(node, inputs, 1, old.with(to, -1))
  }

  /** Expand broadcasts: 1 keeps the number of examples of the operand. */
  #rewriteExpand(node: Node, inputs: readonly (Value | null)[]): readonly (Value | null)[] {
    const [x, target] = inputs
    const axis = this.#axisOf(x)
    const numbers = knownNumbers(target)
    if (axis < 0 || !numbers || this.#batch.fixed === 1) return inputs
    const at = axis + numbers.length - x!.shape!.length
    return numbers[at] === this.#batch.fixed ? this.#replaceList(node, inputs, 1, numbers.with(at, 1)) : inputs
  }

  /** The sizes of a Resize are those of all axes: that of the examples is read from the operand. */
  #rewriteSizes(node: Node, inputs: readonly (Value | null)[]): readonly (Value | null)[] {
    const [x, , , sizes] = inputs
    const axis = this.#axisOf(x)
    const numbers = knownNumbers(sizes)
    if (axis < 0 || !numbers || numbers.length !== x!.shape!.length) return inputs
    const insertion = new Insertion(this.#name(node), this.#taken)
    const list = insertion.shapeLike(this.#operand(node, 0, x!), axis, numbers)
    return this.#replace(node, inputs, 3, list, insertion, `${formatList(numbers)} reads the number of examples`)
  }

  /** Repeats operands of one example, such as initial states, for all examples of `like`. */
  #repeatOperands(
    node: Node,
    inputs: readonly (Value | null)[],
    like: Value | null | undefined,
    axes: ReadonlyMap<number, number>,
  ): readonly (Value | null)[] {
    let operands = inputs
    const from = this.#axisOf(like)
    if (from < 0 || this.#batch.fixed !== 1) return operands
    for (const [i, axis] of axes) {
      const value = inputs[i]
      if (value?.shape?.[axis] !== 1 || this.#axisOf(value) >= 0) continue
      const insertion = new Insertion(this.#name(node), this.#taken)
      const ones = value.shape.map(() => 1)
      const shape = insertion.shapeLike(this.#operand(node, inputs.indexOf(like!), like!), from, ones, axis)
      const repeated = insertion.apply('Expand', [this.#operand(node, i, value), shape])
      operands = this.#replace(node, operands, i, repeated, insertion, 'is repeated for all examples')
    }
    return operands
  }

  #replaceList(
    node: Node,
    inputs: readonly (Value | null)[],
    index: number,
    list: readonly number[],
  ): readonly (Value | null)[] {
    const insertion = new Insertion(this.#name(node), this.#taken)
    const before = inputs[index]!.contents!
    const how = `${formatList(before)} becomes ${formatList(list)}`
    return this.#replace(node, inputs, index, insertion.constant(list), insertion, how)
  }

  #replace(
    node: Node,
    inputs: readonly (Value | null)[],
    index: number,
    { value, name }: NamedValue,
    { nodes }: Insertion,
    how: string,
  ): readonly (Value | null)[] {
    const proto = this.#protoOf(node, index)
    const change = this.#edits.get(proto) ?? { inputs: new Map<number, string>(), inserted: [] }
    this.#replaced.add(proto.input[index]!)
    change.inputs.set(index, name)
    change.inserted.push(...nodes)
    this.#edits.set(proto, change)
    this.changes.push(`${describe(node)}: '${proto.input[index]}' ${how}`)
    return inputs.with(index, value)
  }

  /** The node of the file that a node was imported from. Throws if it has another form, or is in a function. */
  #protoOf(node: Node, index: number): NodeProto {
    const proto = this.#nodes.get(node.outputs.find(({ name }) => name !== undefined)?.name ?? '')
    if (proto?.opType === node.operator && isStandardDomain(proto) && proto.input[index]) return proto
    const isInFunction = this.#model.proto.functions.length > 0 && !proto
    throw freeBatchError(
      `${describe(node)} depends on it, and ${
        isInFunction
          ? "is in a function of the model: put the nodes of functions in place of their calls first, with `onnx-ire adapter inline`, or inlineFunctions of 'onnx-ire/adapter'"
          : 'has the form of an old operator set'
      }`,
    )
  }

  #operand = (node: Node, index: number, value: Value): NamedValue => ({
    value,
    name: this.#protoOf(node, index).input[index]!,
  })

  #name = (node: Node): string => node.name || (node.outputs[0]?.name ?? node.operator)
}

function importOpened(model: Model): Graph {
  try {
    return importGraph(model)
  } catch (cause) {
    if (!(cause instanceof OnnxIreError)) throw cause
    throw freeBatchError(cause.message, cause)
  }
}

const hasSymbol = (dim: Dim, symbol: string): boolean =>
  typeof dim === 'string' && (dim.match(/[A-Za-z_]\w*/g)?.includes(symbol) ?? false)

/** The names that a node and its bodies read. */
const namesRead = (node: NodeProto): readonly string[] => [
  ...node.input,
  ...node.attribute.flatMap(({ g, graphs }) =>
    (g ? [g, ...graphs] : graphs).flatMap((body) => [
      ...body.node.flatMap(namesRead),
      ...body.output.map(({ name = '' }) => name),
    ]),
  ),
]

/** A shape for a declaration: expressions, and symbols that only inference uses, become unknown. */
const plainNames = (shape: Shape | undefined): Shape | undefined =>
  shape?.map((dim) => (typeof dim === 'number' || /^[\w.]+$/.test(dim) ? dim : '?'))

const formatList = (list: readonly Dim[]): string => `[${list.join(', ')}]`

/** The constants that a node reads, for a message. */
function formatConstants(operands: readonly (Value | null)[]): string {
  const lists = operands.flatMap((value) => {
    if (value?.dtype !== 'int64') return []
    const { source, contents } = value
    const numbers =
      contents ?? (source.kind === 'constant' && source.tensor.dims.length < 2 ? numbersOf(source.tensor) : [])
    return numbers.length > 0 && numbers.length < 12 ? [`'${value.name ?? '?'}' ${formatList(numbers)}`] : []
  })
  return lists.length > 0 ? `, by the constant ${lists.join(' and ')}` : ''
}

const describe = ({ operator, name, outputs }: Node): string => `${operator} '${name || (outputs[0]?.name ?? '?')}'`

/** Throws unless the outputs of the new model for a number of examples are in proportion to those of the old one. */
function checkShapes(before: Model, after: Model, symbol: string, examples: number): void {
  const graph = after.proto.graph!
  const input = graph.input.map((info) => {
    const { shape } = createShape(info)
    return shape
      ? declareDims(
          info,
          shape.map((dim: Dim) => (dim === symbol ? examples : dim)),
        )
      : info
  })
  const output = graph.output.map((info) => declareDims(info, undefined))
  let sized: Graph
  try {
    sized = importGraph({ ...after, proto: edit(after.proto, { graph: edit(graph, { input, output }) }) })
  } catch (cause) {
    if (!(cause instanceof OnnxIreError)) throw cause
    throw freeBatchError(`for ${examples} examples: ${cause.message}`, cause)
  }
  const old = importGraph(before)
  const fixed = batchSizeOf(before)!
  for (const [name, { shape }] of sized.outputs) {
    const was = old.outputs.get(name)?.shape
    if (!isStatic(shape) || !isStatic(was)) continue
    const changed = shape.flatMap((length, axis) => (length === was[axis] ? [] : [length / was[axis]!]))
    const isProportional = changed.every((ratio) => ratio === examples / fixed) && changed.length <= 1
    if (!isProportional)
      throw freeBatchError(
        `output '${name}' is ${formatShape(shape)} for ${examples} examples, and ${formatShape(was)} for ${fixed}`,
      )
  }
}
