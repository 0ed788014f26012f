import { gradients, zerosLike } from '../../grad/gradient.js'
import { body } from '../../ir/body.js'
import { type DType, isFloat, type TypedArray } from '../../ir/dtype.js'
import { constant, parameter, scalar } from '../../ir/leaf.js'
import { sizeOf, type Tensor } from '../../ir/tensor.js'
import { leavesOf, topological } from '../../ir/topology.js'
import type { Attribute, Value } from '../../ir/value.js'
import { type Body, type Graph, nameValue } from '../../ir/value.js'
import { apply } from '../../op/apply.js'
import { findDefinition, isInput } from '../../op/facts.js'
import { op } from '../../op/op.js'
import { isStringList } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { checkAttributes, readAttributes } from '../attributes.js'
import { checkModel, type Model } from '../model.js'
import { constantFromAttributes, isConstant } from '../proto/constant.js'
import type { FunctionProto, GraphProto, NodeProto, TensorProto, ValueInfoProto } from '../proto/schema.js'
import { locateTensors, type StoredTensor } from '../tensor-locations.js'
import type { OldNode } from '../upgrade/rewrite.js'
import { Sequence, sequenceError } from '../upgrade/sequence.js'
import { upgradeNode } from '../upgrade/upgrade-node.js'
import {
  createInput,
  Declarations,
  findBuffers,
  inferBodyInputTypes,
  listInputs,
  readOperatorSets,
  selectBranch,
} from './declarations.js'
import {
  checkCall,
  checkOperators,
  findFunction,
  indexFunctions,
  isGradient,
  isStandardDomain,
  maxInlinedNodes,
  qualifiedName,
  sortNodes,
  walkNodes,
} from './model-nodes.js'

/** The context in which nodes are imported: the main graph with its bodies, or one call of a function. */
interface Context {
  /** Versions of the operator sets, by domain. */
  readonly versions: ReadonlyMap<string, number>
  /** The names of tensors that configure an operator and remain constants. */
  readonly configInputs: ReadonlySet<string>
  /** The attributes of the function, from its call and its defaults. */
  readonly given: Readonly<Record<string, Attribute>>
  /** The functions that are being inlined, outermost first. */
  readonly calls: readonly FunctionProto[]
}

/**
 * Imports the graph of a model: operators are upgraded to their newest form, functions of the model are inlined, and
 * shapes are inferred. Floating-point initializers and floating-point Constant nodes with several different elements
 * become `parameters`, also those in functions and in the bodies of If, Loop and Scan. Every other tensor is a
 * constant. Parameters have the names of `namedTensors`: a tensor of a body or function has its own name if that is
 * unique, otherwise its path (`If_0/then_branch/weight`).
 *
 * @throws OnnxIreError `unsupported-operator` with the names of all unsupported operators; `invalid-model` or
 *   `invalid-shape` with the node or tensor that is invalid
 *
 * @example
 * ```ts
 * const graph = importGraph(decodeModel(bytes))
 * console.log([...graph.inputs.keys()], [...graph.parameters.keys()], [...graph.outputs.keys()])
 * ```
 */
export function importGraph(model: Model): Graph {
  checkModel(model)
  const graph = model.proto.graph!
  checkOperators(model.proto)
  const importer = new Importer(model)
  const context: Context = {
    versions: readOperatorSets(model.proto.opsetImport),
    configInputs: findConfigInputs(
      graph,
      graph.output.map(({ name = '' }) => name),
    ),
    given: {},
    calls: [],
  }
  const names = new NameScope()
  importer.readTensors(graph, names, context)
  const inputs = new Map<string, Value>()
  for (const info of listInputs(model.proto)) {
    if (!info.name) continue
    const value = importer.declarations.input(info)
    inputs.set(info.name, value)
    names.set(info.name, value)
  }
  const outputs = new Map<string, Value>()
  for (const [name, value] of importer.readGraph(graph, names, context)) {
    if (outputs.has(name)) throw new OnnxIreError('invalid-model', `two outputs of the graph are named '${name}'`)
    outputs.set(name, value)
  }
  const metadata = Object.fromEntries(model.proto.metadataProps.map(({ key = '', value = '' }) => [key, value]))
  const { parameters } = importer
  return { name: graph.name ?? '', inputs, parameters, outputs, buffers: findBuffers(graph), metadata }
}

/**
 * The largest number of elements of all sequences. An operator of a few bytes may make a sequence of thousands of
 * tensors.
 */
const maxSequenceElements = 2 ** 20

class Importer {
  readonly parameters = new Map<string, Value>()
  readonly declarations = new Declarations()
  readonly #model: Model
  readonly #functions: ReadonlyMap<string, FunctionProto>
  readonly #stored: ReadonlyMap<TensorProto | NodeProto, StoredTensor>
  readonly #tensors = new Map<StoredTensor, Value>()
  #nodes = 0
  #sequenceElements = 0

  constructor(model: Model) {
    this.#model = model
    this.#functions = indexFunctions(model.proto)
    this.#stored = locateTensors(model.proto, model.external)
  }

  /** Adds the constant tensors of a graph, body or function to `names`. */
  readTensors(graph: GraphProto | FunctionProto, names: NameScope, context: Context): void {
    const protos =
      'initializer' in graph
        ? [...graph.initializer, ...graph.sparseInitializer.flatMap(({ values }) => values ?? [])]
        : []
    for (const proto of [...protos, ...graph.node]) {
      const stored = this.#stored.get(proto)
      if (stored) names.set(stored.local, this.#importTensor(stored, context))
    }
  }

  #importTensor(stored: StoredTensor, { configInputs }: Context): Value {
    const known = this.#tensors.get(stored)
    if (known) return known
    const { name, local, tensor, initializer } = stored
    const isParameter = isFloat(tensor.dtype) && (initializer || !isOneNumber(tensor)) && !configInputs.has(local)
    const value = isParameter ? parameter(name, tensor) : constant(tensor, name)
    if (isParameter) this.parameters.set(name, value)
    this.#tensors.set(stored, value)
    return value
  }

  /** Imports the nodes of a graph or body. Returns its outputs by name. */
  readGraph(graph: GraphProto, names: NameScope, context: Context): [string, Value][] {
    this.#readNodes(graph.node, names, [...graph.valueInfo, ...graph.output], context)
    return graph.output.map(({ name = '' }) => {
      const value = names.get(name)
      if (!value) throw new OnnxIreError('invalid-model', `the output '${name}' is not a result of any node`)
      if (value instanceof Sequence) throw sequenceError(`the output '${name}' is`)
      return [name, value]
    })
  }

  #readNodes(
    nodes: readonly NodeProto[],
    names: NameScope,
    declarations: readonly ValueInfoProto[],
    context: Context,
  ): void {
    const declared = new Map(declarations.map((info) => [info.name ?? '', info]))
    for (const node of sortNodes(nodes, (name) => names.get(name) !== undefined)) {
      if (context.calls.length > 0 && ++this.#nodes > maxInlinedNodes)
        throw new OnnxIreError(
          'invalid-model',
          `the functions of the model have more than ${maxInlinedNodes} nodes when they are inlined`,
        )
      // Constant nodes are stored tensors, which `readTensors` has added to `names`.
      if (!this.#stored.has(node)) this.#readNode(node, names, declared, context)
    }
  }

  #readNode(node: NodeProto, names: NameScope, declared: ReadonlyMap<string, ValueInfoProto>, context: Context): void {
    const operator = node.opType ?? ''
    const label = node.name || node.output.find((name) => name !== '') || '?'
    const inputs = node.input.map((name) => (name === '' ? null : lookUp(names, name, operator, label)))
    if (operator === 'Loop' && inputs.some((value) => value instanceof Sequence))
      throw sequenceError(`Loop '${label}' carries`)
    const branch = selectBranch(node, inputs[0])
    const attributes = readAttributes(
      branch ? { ...node, attribute: [] } : node,
      this.#model.external,
      (graph) => this.#readBody(graph, names, context, inferBodyInputTypes(operator, inputs)),
      context.given,
    )
    const callee = findFunction(this.#functions, node)
    const values = branch
      ? this.#inlineBranch(branch, names, context)
      : isConstant(node)
        ? [constant(constantFromAttributes(label, attributes))]
        : callee
          ? this.#inlineCall(callee, inputs, attributes, context)
          : isGradient(node)
            ? importGradient(inputs, attributes, (name) => lookUp(names, name, operator, label)!)
            : this.#applyOperator(node, inputs, attributes, label, context)
    for (const [index, name] of node.output.entries()) {
      if (name === '') continue
      const value = values[index]
      if (!value) throw new OnnxIreError('invalid-model', `${operator} '${label}' has no output ${index} ('${name}')`)
      if (value instanceof Sequence) this.#countElements(value)
      if (value.source.kind === 'node') nameValue(value, name)
      this.declarations.refine(value, declared.get(name), operator)
      names.set(name, value)
    }
  }

  #countElements({ elements }: Sequence): void {
    this.#sequenceElements += elements.length
    if (this.#sequenceElements > maxSequenceElements)
      throw new OnnxIreError(
        'invalid-model',
        `the sequences of the model have more than ${maxSequenceElements} elements altogether`,
      )
  }

  #applyOperator(
    node: NodeProto,
    inputs: readonly (Value | null)[],
    attributes: Readonly<Record<string, Attribute>>,
    label: string,
    { versions }: Context,
  ): readonly Value[] {
    const operator = node.opType ?? ''
    const domain = node.domain === 'ai.onnx' ? '' : (node.domain ?? '')
    const version = versions.get(domain)
    if (version === undefined)
      throw new OnnxIreError(
        'invalid-model',
        `${operator} '${label}' has the domain '${domain || 'ai.onnx'}', which is missing in opset_import`,
      )
    const old = { operator, inputs, attributes, outputCount: node.output.length }
    const upgraded = upgradeWithContext(old, version, label, domain)
    if (!('operator' in upgraded)) return upgraded
    const definition = findDefinition('', upgraded.operator) ?? findDefinition(domain, upgraded.operator)
    if (!definition)
      throw new OnnxIreError(
        'unsupported-operator',
        `${operator} '${label}' was removed from ONNX before operator set ${version}: export the model again`,
      )
    checkAttributes(`${operator} '${label}'`, definition.attributes, upgraded.attributes)
    return apply({
      operator: upgraded.operator,
      definition,
      inputs: upgraded.inputs,
      attributes: upgraded.attributes,
      name: node.name || undefined,
      outputCount: node.output.length,
    })
  }

  /** Imports the branch of an If with a constant condition in place of the If. Returns its results. */
  #inlineBranch(graph: GraphProto, outer: NameScope, context: Context): Value[] {
    const names = new NameScope(outer)
    this.readTensors(graph, names, context)
    return this.readGraph(graph, names, context).map(([, value]) => value)
  }

  #readBody(graph: GraphProto, outer: NameScope, context: Context, implied: readonly (DType | undefined)[] = []): Body {
    const names = new NameScope(outer)
    this.readTensors(graph, names, context)
    const inputs = graph.input
      .filter(({ name }) => name && !graph.initializer.some((tensor) => tensor.name === name))
      .map((info, i) => createInput(info, implied[i]))
    for (const value of inputs) names.set(value.name!, value)
    return body(inputs, () => this.readGraph(graph, names, context).map(([, value]) => value))
  }

  /** Imports the nodes of a function in place of its call. A function cannot read names of the calling graph. */
  #inlineCall(
    callee: FunctionProto,
    inputs: readonly (Value | null)[],
    given: Readonly<Record<string, Attribute>>,
    { calls }: Context,
  ): readonly (Value | null)[] {
    checkCall(callee, calls)
    const names = new NameScope()
    for (const [index, name] of callee.input.entries()) names.set(name, inputs[index] ?? null)
    const outerContext: Context = {
      versions: readOperatorSets(callee.opsetImport),
      configInputs: findConfigInputs(callee, callee.output),
      given: {},
      calls: [...calls, callee],
    }
    const defaults = readAttributes(
      { attribute: callee.attributeProto, opType: callee.name, output: [] },
      this.#model.external,
      (graph) => this.#readBody(graph, names, outerContext),
    )
    const context = { ...outerContext, given: { ...defaults, ...given } }
    this.readTensors(callee, names, context)
    this.#readNodes(callee.node, names, callee.valueInfo, context)
    return callee.output.map((name) => {
      const value = names.get(name)
      if (value === undefined)
        throw new OnnxIreError(
          'invalid-model',
          `the output '${name}' of the function '${callee.name}' is not a result of any of its nodes`,
        )
      return value
    })
  }
}

/**
 * Whether a Constant node holds one number, once or repeated. PyTorch's older exporter writes the zeros and ones of
 * norms without weights as such, and no trained tensors.
 */
function isOneNumber(tensor: Tensor): boolean {
  if (sizeOf(tensor.dims) < 2) return true
  const data = tensor.data as TypedArray
  return data.every((x: number | bigint) => x === data[0])
}

/** Upgrades a node. Errors name the node, its operator and its version. */
function upgradeWithContext(node: OldNode, version: number, label: string, domain: string): OldNode | readonly Value[] {
  try {
    return upgradeNode(node, version, domain)
  } catch (error) {
    if (!(error instanceof OnnxIreError)) throw error
    throw new OnnxIreError(
      error.code,
      `${node.operator} '${label}' (${domain === '' ? 'operator set' : domain} ${version}): ${error.message}`,
      {
        cause: error,
      },
    )
  }
}

/**
 * Values by name in a graph. A body can read the names of its outer graphs. `null` is an omitted input of a function.
 */
class NameScope {
  readonly #values = new Map<string, Value | null>()
  readonly #outer: NameScope | undefined

  constructor(outer?: NameScope) {
    this.#outer = outer
  }

  get(name: string): Value | null | undefined {
    const own = this.#values.get(name)
    return own === undefined ? this.#outer?.get(name) : own
  }

  set(name: string, value: Value | null): void {
    if (this.#values.has(name))
      throw new OnnxIreError('invalid-model', `two tensors are named '${name}'; names must be unique in a graph`)
    this.#values.set(name, value)
  }
}

/** The value of a node's input. Throws `invalid-model` if no value has the name. */
function lookUp(names: NameScope, name: string, operator: string, label: string): Value | null {
  const value = names.get(name)
  if (value !== undefined) return value
  throw new OnnxIreError(
    'invalid-model',
    `${operator} '${label}' reads '${name}', which is not an input, an initializer or an output of a node: onnxruntime refuses the file, too, so export it again. If torch.onnx.export lost the name when it fused operators, optimize=False keeps them apart`,
  )
}

/**
 * Inputs that configure an operator and are not trained, by operator and position, of forms that are rewritten at
 * import. The library's own operators have `configInputs` in their definitions.
 */
const configInputs: Readonly<Record<string, readonly number[]>> = {
  Upsample: [1],
  'com.microsoft.QuantizeLinear': [1],
  'com.microsoft.DequantizeLinear': [1],
  'com.microsoft.RotaryEmbedding': [2, 3],
  'com.microsoft.GroupQueryAttention': [7, 8],
}

function isConfigInput(node: NodeProto, index: number): boolean {
  const name = qualifiedName(node)
  if (Object.hasOwn(configInputs, name)) return configInputs[name]!.includes(index)
  const definition = findDefinition(isStandardDomain(node) ? '' : node.domain!, node.opType ?? '')
  return definition !== undefined && isInput(definition, 'configInputs', index)
}

/**
 * The names of tensors that are only read as configuration inputs. They are imported as constants, so that shapes can
 * be inferred from them.
 */
export function findConfigInputs(graph: Pick<GraphProto, 'node'>, outputs: readonly string[]): Set<string> {
  const configuration = new Set<string>()
  const operands = new Set<string>()
  for (const node of walkNodes(graph)) {
    for (const [index, name] of node.input.entries()) (isConfigInput(node, index) ? configuration : operands).add(name)
  }
  for (const name of outputs) operands.add(name)
  return new Set([...configuration].filter((name) => !operands.has(name)))
}

/**
 * Imports the Gradient operator of ai.onnx.preview.training: d(sum y) / dx of the tensor named `y`, for every tensor
 * x named in `xs`; the tensors named in `zs` are constants.
 *
 * @param named returns the value of a name in the graph of the node
 * @throws OnnxIreError `invalid-model`, `not-differentiable`; `unsupported-operator` if the inputs are not the named
 *   tensors, or if one of these tensors depends on another
 */
function importGradient(
  inputs: readonly (Value | null)[],
  attributes: Readonly<Record<string, Attribute>>,
  named: (name: string) => Value,
): readonly Value[] {
  const { xs = [], zs = [], y } = attributes
  if (!isStringList(xs) || !isStringList(zs) || typeof y !== 'string' || inputs.length !== xs.length + zs.length)
    throw new OnnxIreError(
      'invalid-model',
      'Gradient needs the attributes xs and y, and one input for each name in xs and zs',
    )
  const variables = xs.map(named)
  const fixed = new Set([...variables, ...zs.map(named)])
  const mismatch = [...xs, ...zs].find((name, i) => named(name) !== inputs[i])
  if (mismatch !== undefined)
    throw unsupported(`whose input is not the tensor '${mismatch}' itself`, 'use the named tensors as inputs')
  for (const value of fixed) {
    const before = value.source.kind === 'node' ? value.source.inputs.filter((x) => x !== null) : []
    const others = [...leavesOf(before), ...topological(before).flatMap(({ outputs }) => outputs)]
    if (others.some((other) => fixed.has(other)))
      throw unsupported(
        `for '${value.name}', which depends on another named tensor,`,
        'name only tensors that do not depend on each other',
      )
  }
  const target = named(y)
  const dxs = gradients([[target, op.Expand(scalar(target.dtype, 1), op.Shape(target))]], variables)
  return variables.map((x, i) => dxs[i] ?? zerosLike(x))
}

const unsupported = (what: string, instead: string) =>
  new OnnxIreError('unsupported-operator', `a Gradient ${what} is not supported: ${instead}`)
