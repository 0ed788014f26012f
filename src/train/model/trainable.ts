import { findAdapterParts } from '../../adapter/record.js'
import { bodiesOf, topological, withBodies } from '../../ir/topology.js'
import type { Graph, Node, Value } from '../../ir/value.js'
import { filterAxesOf, inputsWith } from '../../op/facts.js'
import { definitionOf } from '../../op/op.js'
import { append } from '../../util/append.js'
import { checkNames } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { createMatcher, matchNames, type NameSelection, toIncludeAndExclude } from '../../util/pattern.js'
import { findTransforms } from './find-transforms.js'
import {
  hasEqualParts,
  hasOneElement,
  isFilterBank,
  isGrid,
  isIdentity,
  isLearnedTable,
  isMask,
  isNumbering,
  isSmall,
  isVector,
  isWave,
  isWrittenNumber,
  withoutPadding,
} from './fixed-tensors.js'
import {
  findFactors,
  findOrigins,
  findStored,
  isDirection,
  isTensor,
  isView,
  keepsTables,
  type Origins,
  resolveParameters,
} from './stored-values.js'

/**
 * Finds the parameters that were trained: a layer reads them, or the result of a layer meets them.
 * - Weights and biases of convolutions, matrix products, norms, embeddings, PReLU and recurrent layers.
 * - Operands of sums, products and concatenations behind such a layer: biases and scales, as vectors or single numbers,
 * positions and class tokens. Of a layer with one output, any single number that is added.
 * - Tables of feature vectors that a layer or norm reads as its input: queries, and relative positions.
 *
 * A parameter is also found through what is computed from it. Left out are tensors with the values of a formula, see
 * fixed-tensors.ts; transforms of signals, see find-transforms.ts; tensors that the file declares as buffers; and
 * numbers without axes that are not slopes: jax2onnx writes the number 0 as the bias of layers without one.
 */
export function findWeights(graph: Graph): Set<Value> {
  const weights = new Set<Value>()
  const learned = new Set<Node>()
  const single = new Set<Node>()
  const nodes = withBodies(graph.outputs.values())
  const users = findUsers(nodes)
  const origins = findOrigins(nodes)
  const stored = findStored(nodes, origins)
  const transforms = findTransforms(nodes, users, (x) => stored.has(x) || isTensor(x))
  const resolve = (x: Value) => withoutPadding(resolveParameters(x, origins))
  const isFactor = (x: Value) =>
    hasOneElement(x) ? isLearnedNumber(x, users) : isLogarithm(x, users) || !isFixedFactor(x)
  const computed = (x: Value) =>
    stored.has(x) && resolve(x).length === 0 ? findFactors(x, origins).filter(isFactor) : []
  const isStored = (x: Value) => stored.has(x) || resolve(x).length > 0
  const partsOf = (x: Value) => [...resolve(x), ...computed(x)]
  const add = (parameters: readonly Value[]) => parameters.forEach((each) => void weights.add(each))
  for (const node of nodes) {
    if (transforms.has(node)) continue
    const { operator } = node
    const inputs = node.inputs.filter((x) => x !== null)
    const isProduct = stored.has(node.outputs[0]!)
    const read = inputsWith('weights', node)
      .filter((x) => operator === 'PRelu' || x.shape?.length !== 0)
      .filter((x) => !repeatsFilter(x, node))
    const direct = read
      .filter((x) => !isFrequencies(x, node, users) && !(isProduct && isDirection(x, node)))
      .flatMap((x) =>
        resolve(x).filter((weight) => !(isProduct && !isLookup(node) && x === inputs[0] && isGrid(weight))),
      )
      .filter((weight) => (isLookup(node) ? isEmbedding(weight, node, users) : !isFixedWeight(weight, node)))
    // A product of stored tensors is no layer: its factors are found at the layer that reads the result.
    const factors = isLookup(node) || isProduct || isAngle(node, users) ? [] : read.flatMap(computed)
    add([...direct, ...factors])
    if (direct.length > 0 && !isLookup(node) && isStored(inputs[0]!))
      add(findFactors(inputs[0]!, origins, keepsTables).filter(isLearnedTable))

    const comesFrom = (layers: ReadonlySet<Node>) =>
      inputs.some(({ source }) => source.kind === 'node' && layers.has(source))
    const isBehindLayer = comesFrom(learned)
    if (isBehindLayer && !isAngle(node, users)) {
      for (const x of inputsWith('vectorWeights', node))
        add(partsOf(x).filter((each) => isLearnedOperand(each, x, node, users)))
      if (operator === 'Concat') add(inputs.flatMap(partsOf).filter(isLearnedTable))
    }
    if (operator === 'Add' && comesFrom(single)) add(inputs.filter(hasOneElement).flatMap(resolve))

    const hasLayer = bodiesOf(node).some(({ outputs }) =>
      outputs.some(({ source }) => source.kind === 'node' && learned.has(source)),
    )
    if (direct.length > 0 || factors.length > 0 || isBehindLayer || hasLayer) learned.add(node)
    if (isView(node) ? comesFrom(single) : hasOneOutput(node, origins)) single.add(node)
  }
  for (const name of graph.buffers ?? []) weights.delete(graph.parameters.get(name)!)
  return weights
}

/** Whether a node is a layer whose weight has a single filter, so that its output has one feature. */
const hasOneOutput = (node: Node, origins: Origins): boolean =>
  node.inputs.some((x, index) => {
    const { shape } = x ?? {}
    if (!shape) return false
    const axes = filterAxesOf(node, index, shape.length)
    return axes?.every((axis) => shape[axis] === 1) === true && resolveParameters(x, origins).length > 0
  })

/** The nodes that read each value. */
type Users = ReadonlyMap<Value, readonly Node[]>

function findUsers(nodes: readonly Node[]): Users {
  const users = new Map<Value, Node[]>()
  for (const node of nodes) for (const x of node.inputs) if (x) append(users, x, node)
  return users
}

const isLookup = ({ operator }: Node): boolean => operator === 'Gather' || operator === 'GatherND'

/** Whether a lookup table is an embedding, and not a table of cosines or sines, or of one-hot vectors. */
function isEmbedding(table: Value, lookup: Node, users: Users): boolean {
  if ((table.shape?.length ?? 0) < 2 || isFixedWeight(table, lookup)) return false
  // A large table is read only if it could be one of rotary positions.
  return !(onlyMultiplies(lookup.outputs[0]!, users) && isWave(table))
}

function onlyMultiplies(value: Value, users: Users): boolean {
  const nodes = (users.get(value) ?? []).filter(({ operator }) => !definitionOf(operator).shapeOnly)
  return (
    nodes.length > 0 &&
    nodes.every((node) =>
      isView(node) || node.operator === 'Tile'
        ? node.outputs.every((output) => onlyMultiplies(output, users))
        : node.operator === 'Mul' && node.inputs.some((x) => x !== value && x?.source.kind === 'node'),
    )
  )
}

/** Whether the product of a vector is an angle: the vector contains the frequencies of rotary positions. */
function isFrequencies(x: Value, product: Node, users: Users): boolean {
  return (x.shape?.filter((dim) => dim !== 1).length ?? 2) <= 1 && isAngle(product, users)
}

/** Whether the cosines and sines of a result are computed, and nothing else. */
function isAngle({ outputs }: Node, users: Users): boolean {
  const readers = readersOfAngle(outputs[0]!, users)
  return readers.size === 2 && readers.has('Cos') && readers.has('Sin')
}

/** The operators that read a value, its views and concatenations. */
function readersOfAngle(value: Value, users: Users): ReadonlySet<string> {
  const readers = (users.get(value) ?? []).flatMap((node) =>
    isView(node) || node.operator === 'Concat' ? [...readersOfAngle(node.outputs[0]!, users)] : [node.operator],
  )
  return new Set(readers)
}

/** Whether a parameter was trained that an operand of a node behind a layer consists of, or is computed from. */
function isLearnedOperand(parameter: Value, operand: Value, { operator }: Node, users: Users): boolean {
  let value = operand
  while (isRepetition(value)) value = (value.source as Node).inputs[0]!
  const isShort = isVector(value) || hasOneElement(value)
  if (isShort && hasOneElement(parameter)) return isLearnedNumber(parameter, users)
  if (isLogarithm(parameter, users)) return true
  // A table that is computed from vectors and numbers contains distances, not features.
  const isWhole = resolveParameters(value).length > 0
  if (isShort && (isVector(parameter) || isWhole)) return !isNumbering(parameter)
  // Cosines and sines of rows and columns multiply features; relative positions, which repeat as well, are added.
  return isLearnedTable(parameter) && !(isWhole && operator !== 'Add' && isGrid(parameter))
}

/**
 * Whether a single number was trained. Programs contain numbers too, but as short ones, without axes, unless they are
 * logarithms.
 */
const isLearnedNumber = (x: Value, users: Users): boolean =>
  (x.shape?.length !== 0 || isLogarithm(x, users)) && !isWrittenNumber(x)

/**
 * Whether each run computes the exponential of a stored tensor: then it is the logarithm of what was trained, as of a
 * temperature or of the decay rates of Mamba, which begin as those of 1, 2, 3, ... Programs store the exponential.
 */
const isLogarithm = (x: Value, users: Users): boolean =>
  users.get(x)?.some(({ operator }) => operator === 'Exp') === true

/** Whether a parameter that a weight is computed from has the values of a formula. */
const isFixedFactor = (x: Value): boolean => isMask(x) || (isVector(x) && isNumbering(x)) || (isSmall(x) && isWave(x))

/** Whether the values of a tensor that a layer reads as its weight are those of a formula. */
const isFixedWeight = (weight: Value, node: Node): boolean =>
  isSmall(weight) &&
  ((isVector(weight) && isNumbering(weight)) ||
    isWave(weight) ||
    isFilterBank(weight) ||
    (isMask(weight) && readsFilters(node, weight) && (isLookup(node) || !isIdentity(weight))))

const readsFilters = (node: Node, weight: Value): boolean => {
  const index = node.inputs.findIndex((x) => x && resolveParameters(x).includes(weight))
  return filterAxesOf(node, index, weight.shape?.length ?? 0) !== undefined
}

/** Whether a convolution has one filter for all its groups, as one has that blurs each channel. */
function repeatsFilter(x: Value, { operator, inputs, attributes }: Node): boolean {
  const group = attributes['group'] as number
  if ((operator !== 'Conv' && operator !== 'ConvTranspose') || x !== inputs[1] || group < 2) return false
  let filters = x
  while (filters.source.kind === 'node' && isView(filters.source)) filters = filters.source.inputs[0]!
  return isRepetition(filters) || (isSmall(filters) && hasEqualParts(filters, group))
}

const isRepetition = ({ source }: Value): boolean =>
  source.kind === 'node' && (source.operator === 'Expand' || source.operator === 'Tile')

/**
 * Parameters to train: patterns of names, or patterns to `include` and to `exclude`. Among the patterns 'default' is
 * what is trained without the option: `['default', '*.gain']`. It is also what `include` is if only `exclude` is given.
 * 'weights' is all that was trained, also beside an adapter. Tensors named 'default' or 'weights' take precedence.
 *
 * A number that a program could contain as well is not trained by default: `inspectModel` lists it, and a pattern
 * selects it. Parameters that the loss does not depend on, and running statistics that `batchNorm: 'trained'` updates,
 * are left out; a pattern that matches nothing else is an error.
 */
export type Trainable = NameSelection

/**
 * Finds the parameters to train by name, in the order of the model. Default: the tensors of the model's adapter, or
 * those of a model without one that were trained, as its layers and their values show.
 * @throws OnnxIreError `invalid-option` for a pattern without a match
 */
export function findTrainable(graph: Graph, trainable: Trainable = {}): Map<string, Value> {
  checkSelection(trainable)
  const { include = 'default', exclude = [] } = toIncludeAndExclude(trainable)
  const all = [...graph.parameters.keys()]
  const patterns = [include].flat()
  const selected = new Set(
    matchNames(
      patterns.filter((pattern) => !isWord(graph, pattern)),
      all,
      'tensor',
    ),
  )
  for (const word of patterns.filter((pattern) => isWord(graph, pattern)))
    for (const name of namesOf(graph, word)) selected.add(name)
  for (const name of matchNames(exclude, all, 'tensor')) selected.delete(name)
  return new Map([...graph.parameters].filter(([name]) => selected.has(name)))
}

function checkSelection(trainable: Trainable): void {
  if (typeof trainable === 'object' && !Array.isArray(trainable))
    checkNames('trainable', trainable, ['include', 'exclude'])
}

/** Whether a pattern is a word for several tensors. */
const isWord = ({ parameters }: Graph, pattern: string): boolean =>
  (pattern === 'default' || pattern === 'weights') && !parameters.has(pattern)

/** The tensors that a word selects. */
function namesOf(graph: Graph, word: string): readonly string[] {
  const adapter = word === 'default' ? findAdapterParts(graph.metadata) : undefined
  if (adapter) return adapter.tensors.filter((name) => graph.parameters.has(name))
  const weights = findWeights(graph)
  return [...graph.parameters].filter(([, value]) => weights.has(value)).map(([name]) => name)
}

/** The same choice, with names in the place of 'default'. */
export function replaceDefault(trainable: Trainable | undefined, names: readonly string[]): Trainable {
  const { include = 'default', exclude } = toIncludeAndExclude(trainable ?? {})
  const patterns = [include].flat().flatMap((pattern) => (pattern === 'default' ? names : [pattern]))
  return exclude === undefined ? patterns : { include: patterns, exclude }
}

/**
 * Throws `invalid-option` for a pattern of parameters to train if none of its matches can be trained, since it would
 * have no effect.
 * @param isUsable whether a parameter can be trained
 */
export function checkUsable(
  graph: Graph,
  trainable: Trainable | undefined,
  isUsable: (name: string, value: Value) => boolean,
): void {
  const usable = [...graph.parameters].filter(([name, value]) => isUsable(name, value)).map(([name]) => name)
  const useless = [toIncludeAndExclude(trainable ?? {}).include ?? []]
    .flat()
    .filter((pattern) => !isWord(graph, pattern) && !usable.some(createMatcher(pattern)))
  if (useless.length === 0) return
  throw new OnnxIreError(
    'invalid-option',
    `trainable: ${useless.map((pattern) => `'${pattern}'`).join(', ')} cannot be trained: the loss does not depend on these tensors, or they are running statistics that batchNorm: 'trained' updates`,
  )
}

/** Why the integer weights of a quantized model have no gradients, and what to do; undefined for other models. */
export function explainQuantized({ name, outputs }: Graph): string | undefined {
  const nodes = topological(outputs.values())
  const quantized = nodes
    .filter(({ operator }) => /[Qq]uantize|QLinear|Integer$|NBits$/.test(operator))
    .map((node) => `${node.operator} '${node.name ?? node.outputs[0]?.name ?? '?'}'`)
  if (quantized.length === 0) return undefined
  const more = quantized.length > 3 ? ` and ${quantized.length - 3} more` : ''
  // Products of integers have no gradients, not even for an adapter; embeddings beside them may be dequantized.
  const isAdaptable = !nodes.some(({ operator }) => /^(QLinear|DynamicQuantize)|Integer$/.test(operator))
  const advice = isAdaptable
    ? "Train an adapter (the option adapter, or lora of 'onnx-ire/adapter'), or fine-tune the float model, then quantize it again"
    : 'Fine-tune the float model, then quantize it again'
  return `the model '${name}' is quantized (${quantized.slice(0, 3).join(', ')}${more}): its weights are integers, which have no gradients. ${advice}`
}

/** The error for a model without tensors to train, with advice if the model is quantized. */
export const noTensorsError = (graph: Graph): OnnxIreError =>
  new OnnxIreError(
    'invalid-option',
    explainQuantized(graph) ?? `the model '${graph.name}' has no tensors to train: select some by trainable`,
  )
