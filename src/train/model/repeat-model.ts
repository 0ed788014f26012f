import { dtypes, isFloat } from '../../ir/dtype.js'
import { input } from '../../ir/leaf.js'
import { formatShape, type Shape, unknownDim } from '../../ir/shape.js'
import { topological } from '../../ir/topology.js'
import type { Graph, Value } from '../../ir/value.js'
import { cloneNode, type Substitution } from '../../op/inline.js'
import { op } from '../../op/op.js'
import { invalidOption } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'

/** Options that change what the loss reads of a model, for losses of embeddings. */
export interface PassOptions {
  /**
   * Names of several passes of the model in one graph, which share its parameters: `['anchor', 'positive']` for pairs,
   * with a third pass for triplets. Pass `a` reads the data `a/<input>` and gives the loss the outputs `a/<output>`.
   * Sequences of different passes may have different lengths. Default: a single pass, with the model's own names.
   */
  readonly passes?: readonly string[]
  /**
   * Pooling of outputs [N, T, D] to [N, D] before the loss: 'mean' over the positions that the model's input
   * `attention_mask` selects (all, if it has no such input), or the 'first' position. The exported model is not
   * changed. Default: none.
   */
  readonly pooling?: 'mean' | 'first'
}

/**
 * Builds the graph whose outputs the loss reads: the passes of a model, with pooled outputs. Returns the same graph if
 * the options request neither.
 * @throws OnnxIreError `invalid-option`
 */
export function repeatModel(graph: Graph, { passes, pooling }: PassOptions): Graph {
  if (pooling !== undefined && pooling !== 'mean' && pooling !== 'first')
    throw invalidOption('model', 'pooling', pooling, "'mean' or 'first'")
  if (passes === undefined) return pooling === undefined ? graph : { ...graph, outputs: pool(graph, pooling) }
  checkPasses(passes)
  const repeated = passes.map((pass) => {
    const copy = copyGraph(graph, pass)
    const outputs = pooling === undefined ? copy.outputs : pool(copy, pooling)
    return { inputs: withPrefix(pass, copy.inputs), outputs: withPrefix(pass, outputs) }
  })
  return {
    ...graph,
    inputs: new Map(repeated.flatMap(({ inputs }) => inputs)),
    outputs: new Map(repeated.flatMap(({ outputs }) => outputs)),
  }
}

/** Name of the data that a pass feeds to an input of the model. */
export const passInput = (pass: string, name: string): string => `${pass}/${name}`

const withPrefix = (pass: string, values: ReadonlyMap<string, Value>): [string, Value][] =>
  [...values].map(([name, value]) => [passInput(pass, name), value])

function checkPasses(passes: readonly string[]): void {
  const allowed = "a list of two or more different names without '/', such as ['anchor', 'positive']"
  if (!Array.isArray(passes) || passes.length < 2 || new Set(passes).size < passes.length)
    throw invalidOption('model', 'passes', passes, allowed)
  for (const [i, name] of passes.entries())
    if (typeof name !== 'string' || name === '' || name.includes('/'))
      throw invalidOption('model', `passes[${i}]`, name, allowed)
}

/** Copies a graph onto inputs of its own, with the same parameters. */
function copyGraph(graph: Graph, pass: string): Graph {
  const examples = new Set([...graph.inputs.values()].map(({ shape }) => shape?.[0]))
  const lengths = new Map<string, string>()
  /** Lengths of sequences differ between passes; the number of examples does not. */
  const rename = (shape: Shape | undefined): Shape | undefined =>
    shape?.map((dim) => {
      if (typeof dim === 'number' || examples.has(dim)) return dim
      const own = lengths.get(dim) ?? (/^[A-Za-z_]\w*$/.test(dim) ? `${pass}_${dim}` : unknownDim())
      lengths.set(dim, own)
      return own
    })
  const copies: Substitution = new Map()
  const inputs = new Map<string, Value>()
  for (const [name, value] of graph.inputs) {
    const copy = input(passInput(pass, name), value.dtype, rename(value.shape))
    inputs.set(name, copy)
    copies.set(value, copy)
  }
  for (const node of topological(graph.outputs.values()))
    for (const [index, copy] of cloneNode(node, copies).entries()) copies.set(node.outputs[index]!, copy)
  return {
    ...graph,
    inputs,
    outputs: new Map([...graph.outputs].map(([name, value]) => [name, copies.get(value) ?? value])),
  }
}

/** Outputs of a graph, those of positions [N, T, D] pooled. */
function pool({ inputs, outputs }: Graph, pooling: 'mean' | 'first'): ReadonlyMap<string, Value> {
  const mask = inputs.get('attention_mask')
  const isPooled = ({ dtype, shape }: Value) => isFloat(dtype) && shape?.length === 3
  if (![...outputs.values()].some(isPooled))
    throw new OnnxIreError(
      'invalid-option',
      `pooling is '${pooling}', but the model has no output [N, T, D]: ${[...outputs].map(([name, { shape }]) => `'${name}' is ${formatShape(shape)}`).join(', ')}; omit the option`,
    )
  return new Map(
    [...outputs].map(([name, value]) => [name, isPooled(value) ? poolPositions(value, pooling, mask) : value]),
  )
}

function poolPositions(x: Value, pooling: 'mean' | 'first', mask: Value | undefined): Value {
  if (pooling === 'first') return op.Squeeze(op.Slice(x, [0], [1], [1]), [1])
  if (!mask) return op.ReduceMean(x, [1], { keepdims: 0 })
  const weights = op.Unsqueeze(op.Cast(mask, { to: dtypes[x.dtype].onnx }), [2])
  const total = op.ReduceSum(op.Mul(x, weights), [1], { keepdims: 0 })
  // The smallest divisor, that of an empty mask, is above 0 in float16 too.
  return op.Div(total, op.Max([op.ReduceSum(weights, [1], { keepdims: 0 }), 1e-7]))
}
