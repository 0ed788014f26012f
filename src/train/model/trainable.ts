import { findAdapterParts } from '../../adapter/record.js'
import { isFloat, type TypedArray } from '../../ir/dtype.js'
import { numbersOf } from '../../ir/leaf.js'
import { bodiesOf, dependenciesOf, topological, withBodies } from '../../ir/topology.js'
import type { Body, Graph, Node, Value } from '../../ir/value.js'
import { filterAxesOf, inputsWith, isInput, isRandom } from '../../op/facts.js'
import { definitionOf } from '../../op/op.js'
import { append } from '../../util/append.js'
import { checkNames } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { createMatcher, includedPatterns, type NameSelection, selectNames } from '../../util/pattern.js'

/** Whether the outputs have elements of the first input in another shape, order or type, or rounded. */
const isView = ({ operator }: Node): boolean => {
  const { view, random } = definitionOf(operator)
  return (view !== undefined || ['Split', 'QuantizeLinear', 'DequantizeLinear'].includes(operator)) && random === false
}

/**
 * Finds the parameters in weight positions:
 * - weights and biases of convolutions, matrix products, norms, embeddings, PReLU and recurrent layers, and the
 * parameters that such a weight is computed from;
 * - vectors along one axis that are added to, or multiplied by, the output of such a layer: a separate bias or norm
 * scale;
 * - single elements that are added to the output of a layer with one output: its bias;
 * - tables of feature vectors that are added to, or concatenated with, the output of a layer: positions and class
 * tokens;
 * - such tables that a layer or norm reads as its input: queries, and relative positions.
 *
 * Masks, rotary tables and frequencies, pixel means, grids of coordinates, anchors, strides and numbered bins are not
 * weights.
 */
export function findWeights(graph: Graph): Set<Value> {
  const weights = new Set<Value>()
  const learned = new Set<Node>()
  const single = new Set<Node>()
  const nodes = withBodies(graph.outputs.values())
  const users = findUsers(nodes)
  const origins = findOrigins(nodes)
  const stored = findStored(nodes, origins)
  const computed = (x: Value) =>
    stored.has(x) && resolveParameters(x, origins).length === 0 ? findFactors(x, origins) : []
  const add = (parameters: readonly Value[]) => parameters.forEach((each) => void weights.add(each))
  for (const node of nodes) {
    const { operator, inputs } = node
    const direct = inputsWith('weights', node)
      .filter((x) => !isFrequencies(x, node, users) && !(stored.has(node.outputs[0]!) && isDirection(x, node)))
      .flatMap((x) => resolveParameters(x, origins))
      .filter((weight, _, { length }) => length < 2 || weight !== inputs[0] || !isGrid(weight))
      .filter((weight) => !isNumbering(weight))
    // A product of stored tensors is no layer: its factors are found at the layer that reads the result.
    const isInner = isLookup(node) || stored.has(node.outputs[0]!) || isAngle(node, users)
    const factors = isInner ? [] : inputsWith('weights', node).flatMap(computed)
    add(factors)
    for (const weight of direct) if (!isLookup(node) || isEmbedding(weight, node, users)) weights.add(weight)
    if (direct.length > 0 && !isLookup(node)) {
      const [table] = resolveParameters(skipRepetition(inputs[0]), origins)
      if (table && isLearnedTable(table) && !direct.includes(table)) weights.add(table)
    }
    const comesFrom = (layers: ReadonlySet<Node>) =>
      inputs.some((x) => x?.source.kind === 'node' && layers.has(x.source))
    const fromLayer = comesFrom(learned)
    if (fromLayer) {
      // A slice that is added is a part of a packed bias; one that multiplies may be of a grid.
      for (const x of inputsWith('vectorWeights', node))
        if (isVector(x) && (operator === 'Add' || !isSliced(x)))
          add([...resolveParameters(x, origins), ...computed(x).filter(isVector)].filter((each) => !isNumbering(each)))
    }
    if (operator === 'Add' && comesFrom(single)) {
      for (const x of inputs) if (x && isSingleElement(x)) add(resolveParameters(x, origins))
    }
    if (fromLayer && (operator === 'Add' || operator === 'Concat')) {
      for (const x of inputs) add(resolveParameters(skipRepetition(x), origins).filter(isLearnedTable))
    }
    const hasLayer = bodiesOf(node).some(({ outputs }) =>
      outputs.some(({ source }) => source.kind === 'node' && learned.has(source)),
    )
    if (direct.length > 0 || factors.length > 0 || fromLayer || hasLayer) learned.add(node)
    if (isView(node) ? comesFrom(single) : hasOneOutput(node, origins)) single.add(node)
  }
  return weights
}

/** Values by the inputs of bodies that are equal to them in each iteration, or are slices of them. */
export type Origins = ReadonlyMap<Value, Value>

/**
 * Finds the values that bodies of Loop and Scan read through their inputs: states that no iteration changes, as which
 * tf2onnx writes the weights of recurrent layers, and tensors that Scan slices.
 */
export function findOrigins(nodes: readonly Node[]): Origins {
  const origins = new Map<Value, Value>()
  for (const { operator, inputs, attributes } of nodes) {
    if (operator !== 'Loop' && operator !== 'Scan') continue
    const body = attributes['body'] as Body
    const states = operator === 'Loop' ? inputs.length : inputs.length - (attributes['num_scan_inputs'] as number)
    // The results of a body of Loop begin with the condition, its inputs with the iteration and the condition.
    const offset = operator === 'Loop' ? 1 : 0
    for (const [index, own] of body.inputs.entries()) {
      const given = inputs[index]
      const result = body.outputs[index - offset]
      if (given && (index >= states || (result && skipIdentities(result) === own))) origins.set(own, given)
    }
  }
  return origins
}

function skipIdentities(value: Value): Value {
  let result = value
  while (result.source.kind === 'node' && result.source.operator === 'Identity') result = result.source.inputs[0]!
  return result
}

/**
 * Returns the parameters that a value consists of: a parameter, a view or part of one, or a concatenation of several.
 * Returns an empty list for any other value.
 * @param origins values that bodies read through their inputs; default: such inputs are no parameters
 */
export function resolveParameters(value: Value | null | undefined, origins?: Origins): readonly Value[] {
  const parameters = new Set<Value>()
  const pending = new Set(value ? [value] : [])
  // The loop also visits values that are added during iteration.
  for (const each of pending) {
    const { source } = each
    const origin = origins?.get(each)
    if (source.kind === 'parameter') parameters.add(each)
    else if (origin) pending.add(origin)
    else if (source.kind !== 'node') return []
    else if (isView(source)) pending.add(source.inputs[0]!)
    else if (source.operator === 'Concat') for (const input of source.inputs) pending.add(input!)
    else return []
  }
  return [...parameters]
}

/** The results of nodes that depend on stored tensors only, and are the same in every run. */
function findStored(nodes: readonly Node[], origins: Origins): ReadonlySet<Value> {
  const stored = new Set<Value>()
  const isStored = (x: Value): boolean => {
    const origin = origins.get(x)
    return (
      stored.has(x) || x.source.kind === 'parameter' || x.source.kind === 'constant' || (!!origin && isStored(origin))
    )
  }
  for (const node of nodes)
    if (dependenciesOf(node).every(isStored) && !isRandom(node)) for (const y of node.outputs) stored.add(y)
  return stored
}

/**
 * Returns the parameters that a weight is computed from: a kernel and its gain (weight standardization), directions and
 * lengths (weight normalization), the factors of a product, a scale and a number.
 *
 * Left out are single numbers, masks of 0 and 1, angles and what they are computed from, counted numbers, and vectors
 * in a matrix product, as which spectral normalization estimates the norm of a weight.
 */
function findFactors(weight: Value, origins: Origins): readonly Value[] {
  const factors = new Set<Value>()
  const pending = new Set([weight])
  // The loop also visits values that are added during iteration.
  for (const each of pending) {
    const { source, shape } = each
    const origin = origins.get(each)
    if (origin) pending.add(origin)
    else if (source.kind === 'parameter' && shape?.some((dim) => dim !== 1) && !isMask(each) && !isNumbering(each))
      factors.add(each)
    if (source.kind === 'node') for (const x of operandsOf(source)) pending.add(x)
  }
  return [...factors]
}

/** The inputs of a node whose elements the results are computed from. */
function operandsOf(node: Node): readonly Value[] {
  const { operator, inputs } = node
  const definition = definitionOf(operator)
  if (definition.shapeOnly || operator === 'Cos' || operator === 'Sin') return []
  if (isView(node)) return [inputs[0]!]
  return inputs.filter(
    (x, index): x is Value =>
      x !== null &&
      isFloat(x.dtype) &&
      !isInput(definition, 'configInputs', index) &&
      !isInput(definition, 'hostInputs', index) &&
      !(operator === 'BatchNormalization' && index >= 3) &&
      !isDirection(x, node) &&
      !(operator === 'MatMul' && index === 0 && isGrid(x)),
  )
}

/** Whether a product sums over a vector. In a product of stored tensors, it only measures the other one. */
const isDirection = ({ shape }: Value, { operator }: Node): boolean => operator === 'MatMul' && shape?.length === 1

/** Whether a parameter consists of both 0 and 1. */
function isMask({ source }: Value): boolean {
  if (source.kind !== 'parameter') return false
  const values = new Set(numbersOf(source.tensor))
  return values.size === 2 && values.has(0) && values.has(1)
}

/** Whether a node is a layer whose weight has a single filter, so that its output has one feature. */
const hasOneOutput = (node: Node, origins: Origins): boolean =>
  node.inputs.some((x, index) => {
    const { shape } = x ?? {}
    if (!shape) return false
    const axes = filterAxesOf(node, index, shape.length)
    return axes?.every((axis) => shape[axis] === 1) === true && resolveParameters(x, origins).length > 0
  })

function findUsers(nodes: readonly Node[]): ReadonlyMap<Value, readonly Node[]> {
  const users = new Map<Value, Node[]>()
  for (const node of nodes) for (const x of node.inputs) if (x) append(users, x, node)
  return users
}

const isLookup = ({ operator }: Node): boolean => operator === 'Gather' || operator === 'GatherND'

/** Whether a lookup table is an embedding, and not a rotary table of cosines or sines. */
function isEmbedding(table: Value, lookup: Node, users: ReadonlyMap<Value, readonly Node[]>): boolean {
  if ((table.shape?.length ?? 0) < 2) return false
  return !(onlyMultiplies(lookup.outputs[0]!, users) && beginsAtAngleZero(table))
}

function onlyMultiplies(value: Value, users: ReadonlyMap<Value, readonly Node[]>): boolean {
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

/** Whether the first row of a table consists of cosines (1) and sines (0) of angle 0. */
function beginsAtAngleZero({ source, shape }: Value): boolean {
  if (source.kind !== 'parameter') return false
  const { dtype, data } = source.tensor
  const width = Math.min(data.length, Number(shape?.at(-1) ?? 0))
  const first = numbersOf({ dtype, dims: [width], data: (data as TypedArray).subarray(0, width) })
  return first.every((x) => x === 1 || x === 0)
}

/** Whether the product of a vector is an angle: the vector contains the frequencies of rotary positions. */
function isFrequencies(x: Value, product: Node, users: ReadonlyMap<Value, readonly Node[]>): boolean {
  return (x.shape?.filter((dim) => dim !== 1).length ?? 2) <= 1 && isAngle(product, users)
}

/** Whether the cosines and sines of a result are computed, and nothing else. */
function isAngle({ outputs }: Node, users: ReadonlyMap<Value, readonly Node[]>): boolean {
  const readers = readersOfAngle(outputs[0]!, users)
  return readers.size === 2 && readers.has('Cos') && readers.has('Sin')
}

/** The operators that read a value, its views and concatenations. */
function readersOfAngle(value: Value, users: ReadonlyMap<Value, readonly Node[]>): ReadonlySet<string> {
  const readers = (users.get(value) ?? []).flatMap((node) =>
    isView(node) || node.operator === 'Concat' ? [...readersOfAngle(node.outputs[0]!, users)] : [node.operator],
  )
  return new Set(readers)
}

/** Whether most values of a tensor repeat, as those of a grid of coordinates do. */
function isGrid({ source, dtype }: Value): boolean {
  if (source.kind !== 'parameter') return false
  const { data } = source.tensor
  const length = Math.min(data.length, 4096)
  const some = numbersOf({ dtype, dims: [length], data: (data as TypedArray).subarray(0, length) })
  return 2 * new Set(some).size < length
}

/**
 * Whether a parameter is a vector of counted numbers: at least 8 multiples of 1/2, three of which differ. A detector
 * multiplies boxes by the strides of their grids, and probabilities of distances by 0, 1, 2, ... (DFL).
 */
function isNumbering(x: Value): boolean {
  const { source } = x
  if (source.kind !== 'parameter' || !isVector(x) || source.tensor.data.length < 8) return false
  const numbers = numbersOf(source.tensor)
  return numbers.every((value) => Number.isInteger(2 * value)) && new Set(numbers).size >= 3
}

/** Returns the value that Expand and Tile repeat, or the value itself: exporters repeat a class token for the batch. */
function skipRepetition(x: Value | null | undefined): Value | null | undefined {
  let value = x
  while (value?.source.kind === 'node' && ['Expand', 'Tile'].includes(value.source.operator))
    value = value.source.inputs[0]
  return value
}

/** Whether a value is a view of a slice. */
const isSliced = ({ source }: Value): boolean =>
  source.kind === 'node' && isView(source) && (source.operator === 'Slice' || isSliced(source.inputs[0]!))

/**
 * Whether a parameter looks like a table of random or learned feature vectors: wide, with many different values, and
 * neither multiples of 1/2 (anchor grids) nor sines and cosines.
 */
function isLearnedTable(x: Value): boolean {
  const { source, shape, dtype } = x
  const width = shape?.at(-1)
  if (source.kind !== 'parameter' || typeof width !== 'number' || width < 8) return false
  const { data } = source.tensor
  const some = numbersOf({ dtype, dims: [Math.min(data.length, 4096)], data: (data as TypedArray).subarray(0, 4096) })
  if (new Set(some).size < 8 || some.every((value) => Number.isInteger(2 * value))) return false
  // A table of sines and cosines starts with angle 0.
  return !some.slice(0, width).every((value) => value === 0 || value === 1)
}

/**
 * Whether a value has exactly one axis longer than 1. A scalar is no vector here: it may be any constant of the model.
 */
const isVector = ({ shape }: Value): boolean => shape?.filter((dim) => dim !== 1).length === 1

/** Whether a value has axes, all of length 1. A number without axes may be any constant of the model. */
const isSingleElement = ({ shape }: Value): boolean => shape?.length !== 0 && shape?.every((dim) => dim === 1) === true

/**
 * Parameters to train: 'weights' for all parameters in weight positions, names as patterns, or weights with exclusions.
 * Parameters that the loss does not depend on, and running statistics that `batchNorm: 'trained'` updates, are left
 * out; a pattern that matches nothing else is an error.
 */
export type Trainable = 'weights' | NameSelection

/**
 * Finds the parameters to train by name, in the order of the model. Default: the tensors of the model's adapter, or
 * the parameters in weight positions of a model without one.
 * @throws OnnxIreError `invalid-option` for a pattern without a match
 */
export function findTrainable(graph: Graph, trainable?: Trainable): Map<string, Value> {
  const adapter = trainable === undefined ? findAdapterParts(graph.metadata) : undefined
  if (adapter) {
    const tensors = new Set(adapter.tensors)
    return new Map([...graph.parameters].filter(([name]) => tensors.has(name)))
  }
  const choice = toSelection(trainable)
  if (typeof choice === 'object' && !Array.isArray(choice)) checkNames('trainable', choice, ['include', 'exclude'])
  const selected = new Set(selectNames(choice, graph.parameters.keys(), 'tensor'))
  const weights = includedPatterns(choice) === undefined ? findWeights(graph) : undefined
  return new Map([...graph.parameters].filter(([name, value]) => selected.has(name) && (weights?.has(value) ?? true)))
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
  const useless = [includedPatterns(toSelection(trainable)) ?? []]
    .flat()
    .filter((pattern) => !usable.some(createMatcher(pattern)))
  if (useless.length === 0) return
  throw new OnnxIreError(
    'invalid-option',
    `trainable: ${useless.map((pattern) => `'${pattern}'`).join(', ')} cannot be trained: the loss does not depend on these tensors, or they are running statistics that batchNorm: 'trained' updates`,
  )
}

const toSelection = (trainable: Trainable = 'weights'): NameSelection => (trainable === 'weights' ? {} : trainable)

/** Why the integer weights of a quantized model have no gradients, and what to do; undefined for other models. */
export function explainQuantized({ name, outputs }: Graph): string | undefined {
  const nodes = topological(outputs.values())
  const quantized = nodes
    .filter(({ operator }) => /[Qq]uantize|QLinear|Integer$|NBits$/.test(operator))
    .map((node) => `${node.operator} '${node.name ?? node.outputs[0]?.name ?? '?'}'`)
  if (quantized.length === 0) return undefined
  const more = quantized.length > 3 ? ` and ${quantized.length - 3} more` : ''
  // Products of integers have no gradients, not even for an adapter.
  const isAdaptable = nodes.some(({ operator }) => /^(DequantizeLinear|MatMulNBits)$/.test(operator))
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
