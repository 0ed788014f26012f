import { findDefinition } from '../../op/facts.js'
import { append } from '../../util/append.js'
import { OnnxIreError } from '../../util/errors.js'
import { getOwn } from '../../util/record.js'
import type { AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto } from '../proto/schema.js'

import { upgrades } from '../upgrade/table.js'
import { findRewrite } from '../upgrade/upgrade-node.js'

/**
 * Sorts nodes topologically: every node follows the nodes whose results it reads. ONNX requires this order, but not
 * every exporter writes it.
 *
 * @param isKnown whether a name is defined outside these nodes
 * @throws OnnxIreError `invalid-model` with the nodes of a cycle, or with two nodes that have an output of the same
 *   name
 */
export function sortNodes(nodes: readonly NodeProto[], isKnown: (name: string) => boolean): readonly NodeProto[] {
  const producer = new Map<string, NodeProto>()
  for (const node of nodes) {
    for (const name of node.output) {
      if (name === '') continue
      if (producer.has(name))
        throw new OnnxIreError(
          'invalid-model',
          `two nodes have the output '${name}': ${describeNode(producer.get(name)!)} and ${describeNode(node)}`,
        )
      producer.set(name, node)
    }
  }
  const order: NodeProto[] = []
  const state = new Map<NodeProto, 'open' | 'done'>()
  for (const start of nodes) {
    const stack = state.has(start) ? [] : [createFrame(start)]
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      state.set(top.node, 'open')
      const name = top.names[top.next++]
      if (name === undefined) {
        state.set(top.node, 'done')
        order.push(top.node)
        stack.pop()
        continue
      }
      const before = isKnown(name) ? undefined : producer.get(name)
      if (!before || state.get(before) === 'done') continue
      if (state.get(before) === 'open')
        throw cycleError(
          stack.map(({ node }) => node),
          before,
        )
      stack.push(createFrame(before))
    }
  }
  return order
}

const createFrame = (node: NodeProto) => ({ node, names: listReadNames(node), next: 0 })

/** The names that a node reads: its inputs, and the outer names that its bodies read. */
export function listReadNames(node: NodeProto): readonly string[] {
  const bodies = node.attribute.flatMap(({ g, graphs }) => (g ? [g, ...graphs] : graphs))
  return bodies.length === 0 ? node.input : [...node.input, ...bodies.flatMap(listFreeNames)]
}

function listFreeNames(graph: GraphProto): string[] {
  const own = new Set([
    ...graph.input.map(({ name }) => name),
    ...graph.initializer.map(({ name }) => name),
    ...graph.node.flatMap(({ output }) => output),
  ])
  return [...graph.node.flatMap(listReadNames), ...graph.output.map(({ name }) => name ?? '')].filter(
    (name) => !own.has(name),
  )
}

const describeNode = (node: NodeProto): string => `${node.opType} '${node.name || node.output[0]}'`

function cycleError(open: readonly NodeProto[], again: NodeProto): OnnxIreError {
  const nodes = open.slice(open.indexOf(again))
  const shown =
    nodes.length > 8 ? [...nodes.slice(0, 8).map(describeNode), `... (${nodes.length} nodes)`] : nodes.map(describeNode)
  return new OnnxIreError('invalid-model', `the graph has a cycle: ${shown.join(' -> ')} -> ${describeNode(again)}`)
}

const functionKey = (domain: string | undefined, name: string | undefined, overload: string | undefined): string =>
  JSON.stringify([domain === 'ai.onnx' ? '' : (domain ?? ''), name ?? '', overload ?? ''])

/** The functions that a model defines, for `findFunction`. */
export const indexFunctions = ({ functions }: ModelProto): ReadonlyMap<string, FunctionProto> =>
  new Map(functions.map((each) => [functionKey(each.domain, each.name, each.overload), each]))

/**
 * The function that a node calls, if any. A function of the model takes precedence over an operator of the same name.
 */
export const findFunction = (
  functions: ReadonlyMap<string, FunctionProto>,
  { domain, opType, overload }: NodeProto,
): FunctionProto | undefined =>
  functions.size === 0 ? undefined : functions.get(functionKey(domain, opType, overload))

/**
 * The largest number of nodes from inlined functions. Nested calls multiply, so a small file could exhaust the
 * memory.
 */
export const maxInlinedNodes = 250_000

/** The longest chain of functions that call each other; each one takes part of the stack. */
export const maxCallDepth = 256

/**
 * Throws `invalid-model` for a function that calls itself, or that is too deep in a chain.
 * @param calls functions that are being inlined, outermost first
 */
export function checkCall(callee: FunctionProto, calls: readonly FunctionProto[]): void {
  if (calls.includes(callee)) throw new OnnxIreError('invalid-model', `the function '${callee.name}' calls itself`)
  if (calls.length >= maxCallDepth)
    throw new OnnxIreError('invalid-model', `more than ${maxCallDepth} functions call each other in a chain`)
}

/** A graph, body or function. The default attributes of a function can contain bodies too. */
type Nodes = Pick<GraphProto, 'node'> & Partial<Pick<FunctionProto, 'attributeProto'>>

/** Yields every node of a graph, including the nodes of bodies. */
export function* walkNodes({ node: nodes, attributeProto = [] }: Nodes): Generator<NodeProto> {
  for (const node of nodes) {
    yield node
    yield* walkBodies(node.attribute)
  }
  yield* walkBodies(attributeProto)
}

function* walkBodies(attributes: readonly AttributeProto[]): Generator<NodeProto> {
  for (const { g, graphs } of attributes) for (const body of g ? [g, ...graphs] : graphs) yield* walkNodes(body)
}

/**
 * Yields the operator nodes of a model: those of its graph and, once each, of the functions it calls, without the
 * calls.
 */
export function* walkOperatorNodes(model: ModelProto): Generator<NodeProto> {
  const functions = indexFunctions(model)
  const graphs = new Set<Nodes>(model.graph ? [model.graph] : [])
  // Iterating a Set includes the elements that are added during the iteration.
  for (const graph of graphs)
    for (const node of walkNodes(graph)) {
      const called = findFunction(functions, node)
      if (called) graphs.add(called)
      else yield node
    }
}

export const isStandardDomain = ({ domain }: { readonly domain?: string | undefined }) =>
  !domain || domain === 'ai.onnx'

/** The name of a node's operator, with its domain unless that is ai.onnx: `Conv`, `com.microsoft.FusedMatMul`. */
export const qualifiedName = (node: NodeProto) =>
  isStandardDomain(node) ? (node.opType ?? '?') : `${node.domain}.${node.opType}`

/** Whether a node is the Gradient operator, which refers to tensors by name and is imported by `importGradient`. */
export const isGradient = ({ opType, domain }: NodeProto): boolean =>
  opType === 'Gradient' && domain === 'ai.onnx.preview.training'

const optional = 'optional values are not supported'

/** Operators of ai.onnx that cannot be imported in any form, with the reason. */
export const unsupportedOperators: Readonly<Record<string, string>> = {
  ImageDecoder: 'onnxruntime has no kernel that decodes compressed images: decode them before the model',
  Optional: optional,
  OptionalGetElement: optional,
  OptionalHasElement: optional,
  SequenceMap: 'a body that runs for every tensor of a sequence is not supported: unroll it, or use Scan',
}

/** Advice for operators that cannot be imported: that of the first row that matches one of them, or all. */
const advices: readonly { operators: RegExp; areAll?: true; advice: string }[] = [
  {
    operators:
      /(^|\.)(Q(Linear|Gemm|Attention|Ordered|EmbedLayer|MoE)|DynamicQuantize|(Conv|MatMul|Mul|ReduceSum)Integer)/,
    advice:
      'The model is quantized: its weights are integers, which have no gradients. Fine-tune the float model from which it was converted, then quantize again.',
  },
  {
    operators: /^com\.microsoft\.nchwc\.|^com\.ms\.internal\.nhwc\./,
    advice:
      'The model was saved by onnxruntime after an optimization for one type of processor. Use the original model, or save it with a lower optimization level.',
  },
  {
    operators: /^ai\.onnx\.ml\.(TreeEnsemble|SVM)/,
    advice:
      'Decision trees and support vector machines have no layers to fine-tune: train the model again in the library that it comes from, such as XGBoost, LightGBM or scikit-learn, or train a network on the same data in its place.',
  },
  {
    operators: /^ai\.onnx\.contrib\.|^com\.microsoft\.Tokenizer$/,
    advice:
      "They convert texts, images or sound to numbers, or results back, inside the model. Train it without them: cut them off, in Python, by onnx.utils.extract_model('model.onnx', 'part.onnx', inputs, outputs), and convert the data before training.",
  },
  {
    operators: /^ai\.onnx\.ml\.(ZipMap|ArrayFeatureExtractor)$/,
    areAll: true,
    advice:
      "Converters of scikit-learn add them behind the scores of a classifier, for labels that no loss needs. Cut the model at its scores, in Python: onnx.utils.extract_model('model.onnx', 'scores.onnx', inputs, outputs) with the names of its inputs and of the scores.",
  },
  {
    operators: /^ai\.onnx\.ml\./,
    areAll: true,
    advice:
      "Converters of scikit-learn write them. Convert again with standard operators: to_onnx(model, x, black_op={'Scaler', 'Normalizer', 'LinearClassifier', 'LinearRegressor'}, options={'zipmap': False}), then cut a classifier at its scores by onnx.utils.extract_model.",
  },
  {
    operators: /^com\.microsoft\./,
    advice:
      "onnxruntime's optimizer, quantizer or converter for generation wrote them into the file. Train the model as it was before, then optimize or quantize it again.",
  },
]

/** Whether an operator that cannot be imported is none of ONNX, although it is in its domain. */
const isOfTensorflow = (key: string): boolean => !key.includes('.') && !Object.hasOwn(unsupportedOperators, key)

/** Whether the operator of a node can be imported, as it is or after a rewrite. */
export function isSupported(node: NodeProto): boolean {
  const name = node.opType ?? ''
  if (name === 'Constant' && isStandardDomain(node)) return true
  if (isGradient(node)) return true
  const domain = isStandardDomain(node) ? '' : node.domain!
  const isDefined = findDefinition(domain, name) !== undefined
  const hasUpgrade = domain === '' && Object.hasOwn(upgrades, name)
  return isDefined || hasUpgrade || findRewrite(name, domain) !== undefined
}

/** Throws `unsupported-operator` with the names of all operators of the model that cannot be imported. */
export function checkOperators(model: ModelProto): void {
  const unsupported = new Map<string, string[]>()
  for (const node of walkOperatorNodes(model)) {
    if (isSupported(node)) continue
    const key = qualifiedName(node)
    append(unsupported, key, node.name || node.output[0] || '?')
  }
  if (unsupported.size === 0) return
  const names = [...unsupported.keys()]
  const lines = [...unsupported].map(([key, nodes]) => {
    const reason = Object.hasOwn(unsupportedOperators, key) ? ` (${getOwn(unsupportedOperators, key)})` : ''
    return `  ${key} x ${nodes.length}: ${nodes.slice(0, 3).join(', ')}${nodes.length > 3 ? ', ...' : ''}${reason}`
  })
  const found = advices.find(({ operators, areAll }) =>
    areAll ? names.every((key) => operators.test(key)) : names.some((key) => operators.test(key)),
  )
  const fallback =
    model.producerName === 'tf2onnx' && names.some(isOfTensorflow)
      ? 'tf2onnx could not convert these operators of TensorFlow, and no ONNX runtime has them. Export the model without layers of augmentation; for others, an export from Keras with KERAS_BACKEND=torch may help.'
      : 'OPERATORS.md lists the supported operators.'
  throw new OnnxIreError(
    'unsupported-operator',
    `the model uses unsupported operators:\n${lines.join('\n')}\n${found?.advice ?? fallback}`,
  )
}
