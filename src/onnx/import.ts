import { OnnxIreError } from '../errors.js'
import { dtypeOf, isFloat } from '../ir/dtype.js'
import { constant, input, parameter } from '../ir/leaf.js'
import { type Dim, formatShape, type Shape, unknownDim } from '../ir/shape.js'
import { sizeOf } from '../ir/tensor.js'
import { topological } from '../ir/topology.js'
import { type Body, type Graph, nameValue, placeNode, refineShape, type Scope, type Value } from '../ir/value.js'
import { apply } from '../op/apply.js'
import { definitions } from '../op/index.js'
import { attributesOf, checkAttributes } from './attributes.js'
import { isConstant } from './constant.js'
import { type Model, namedTensors } from './model.js'
import { inDependencyOrder } from './order.js'
import type { GraphProto, ModelProto, NodeProto, ValueInfoProto } from './schema.js'
import { settingNames } from './settings.js'
import { refuseUnsupported } from './unsupported.js'
import { modernised } from './upgrade/modernise.js'
import type { OldNode } from './upgrade/upgrade.js'

/** Values by name in one graph; a body sees the names of the graphs around it. */
class Names {
  private readonly values = new Map<string, Value>()
  private readonly outer: Names | undefined

  constructor(outer?: Names) {
    this.outer = outer
  }

  get(name: string): Value | undefined {
    return this.values.get(name) ?? this.outer?.get(name)
  }

  set(name: string, value: Value): void {
    if (this.values.has(name))
      throw new OnnxIreError('invalid-model', `two tensors are named '${name}'; names must be unique in a graph`)
    this.values.set(name, value)
  }
}

/**
 * The graph of a model, its operators brought to today's form. Floating-point initializers, and floating-point Constant
 * nodes with more than one element, become `parameters`; every other tensor is a constant.
 *
 * Throws `unsupported-operator` listing every operator this library does not know, and `invalid-model` with the node or
 * tensor where the model contradicts itself.
 */
export function importGraph(model: Model): Graph {
  const graph = model.proto.graph
  if (!graph) throw new OnnxIreError('invalid-model', 'the model holds no graph')
  refuseUnsupported(model.proto)
  const importer = new Importer(model)
  const names = new Names()
  const parameters = new Map<string, Value>()
  const initializers = new Set(graph.initializer.map((proto) => proto.name))
  const settings = settingNames(graph)
  for (const [name, tensor] of namedTensors(model)) {
    const varies = isFloat(tensor.dtype) && (initializers.has(name) || sizeOf(tensor.dims) > 1) && !settings.has(name)
    const value = varies ? parameter(name, tensor) : constant(tensor, name)
    if (varies) parameters.set(name, value)
    names.set(name, value)
  }
  const inputs = new Map<string, Value>()
  for (const info of graph.input) {
    // Up to IR version 3 initializers are listed among the inputs too.
    if (!info.name || initializers.has(info.name)) continue
    inputs.set(info.name, inputOf(info))
    names.set(info.name, inputs.get(info.name)!)
  }
  const outputs = new Map<string, Value>()
  for (const [name, value] of importer.read(graph, names, undefined)) {
    if (outputs.has(name)) throw new OnnxIreError('invalid-model', `the output '${name}' is listed twice`)
    outputs.set(name, value)
  }
  return { name: graph.name ?? '', inputs, parameters, outputs }
}

class Importer {
  private readonly model: Model
  private readonly versions: ReadonlyMap<string, number>

  constructor(model: Model) {
    this.model = model
    this.versions = operatorSets(model.proto)
  }

  /** Reads the nodes of a graph or body; returns its outputs. */
  read(graph: GraphProto, names: Names, scope: Scope | undefined): [string, Value][] {
    const declared = new Map([...graph.valueInfo, ...graph.output].map((info) => [info.name ?? '', info]))
    for (const node of inDependencyOrder(graph.node, (name) => names.get(name) !== undefined)) {
      // Constants are in `names` from the start.
      if (!isConstant(node)) this.readNode(node, names, declared, scope)
    }
    return graph.output.map(({ name = '' }) => {
      const value = names.get(name)
      if (!value) throw new OnnxIreError('invalid-model', `no node gives the output '${name}'`)
      return [name, value]
    })
  }

  private readNode(
    node: NodeProto,
    names: Names,
    declared: ReadonlyMap<string, ValueInfoProto>,
    scope: Scope | undefined,
  ): void {
    const version = this.versions.get(node.domain === 'ai.onnx' ? '' : (node.domain ?? ''))
    const operator = node.opType ?? ''
    const label = node.name || node.output.find((name) => name !== '') || '?'
    if (version === undefined)
      throw new OnnxIreError(
        'invalid-model',
        `${operator} '${label}' is of the domain '${node.domain || 'ai.onnx'}', which opset_import does not list`,
      )
    const inputs = node.input.map((name) => (name === '' ? null : lookUp(names, name, operator, label)))
    const attributes = attributesOf(node, this.model.external, (body) => this.readBody(body, names, scope))
    const modern = modernForm({ operator, inputs, attributes, outputCount: node.output.length }, version, label)
    if (scope) enterScope('operator' in modern ? modern.inputs : modern, inputs, scope)
    const values = 'operator' in modern ? this.applied(modern, node, label, scope) : modern
    for (const [index, name] of node.output.entries()) {
      if (name === '') continue
      const value = values[index]
      if (!value)
        throw new OnnxIreError('invalid-model', `${operator} '${label}' has no output number ${index} ('${name}')`)
      if (value.source.kind === 'node') nameValue(value, name)
      refineFrom(value, declared.get(name), operator)
      names.set(name, value)
    }
  }

  private applied(modern: OldNode, node: NodeProto, label: string, scope: Scope | undefined): readonly Value[] {
    const definition = definitions[modern.operator as keyof typeof definitions]
    checkAttributes(`${node.opType} '${label}'`, definition.attributes, modern.attributes)
    return apply({
      operator: modern.operator,
      definition: definition as never,
      inputs: modern.inputs,
      attributes: modern.attributes,
      name: node.name || undefined,
      scope,
      outputCount: node.output.length,
    })
  }

  private readBody(graph: GraphProto, outer: Names, outerScope: Scope | undefined): Body {
    const scope: Scope = { outer: outerScope }
    const names = new Names(outer)
    for (const [name, tensor] of namedTensors({ ...this.model, proto: { ...this.model.proto, graph } }))
      names.set(name, constant(tensor, name))
    const inputs = graph.input
      .filter(({ name }) => name && !graph.initializer.some((tensor) => tensor.name === name))
      .map((info) => inputOf(info))
    for (const value of inputs) names.set(value.name!, value)
    const outputs = this.read(graph, names, scope).map(([, value]) => value)
    return { kind: 'body', scope, inputs, outputs }
  }
}

/** The newest operator set whose operators this library has read. */
const newestOperatorSet = 26

function operatorSets(proto: ModelProto): ReadonlyMap<string, number> {
  const versions = new Map([
    // Files before IR version 3 name no operator set: version 1.
    ...(proto.opsetImport.length === 0 ? [['', 1] as const] : []),
    ...proto.opsetImport.map(
      ({ domain, version }) => [domain === 'ai.onnx' ? '' : (domain ?? ''), Number(version ?? 1n)] as const,
    ),
  ])
  const version = versions.get('') ?? 1
  if (version < 1 || version > newestOperatorSet)
    throw new OnnxIreError(
      'invalid-model',
      `the model uses operator set ${version}; 1 to ${newestOperatorSet} are known: export it with one of those`,
    )
  return versions
}

/** Today's form of a node; what cannot be brought there is refused by name. */
function modernForm(node: OldNode, version: number, label: string): OldNode | readonly Value[] {
  try {
    return modernised(node, version)
  } catch (error) {
    if (!(error instanceof OnnxIreError)) throw error
    throw new OnnxIreError(error.code, `${node.operator} '${label}' (operator set ${version}): ${error.message}`, {
      cause: error,
    })
  }
}

/** Puts the nodes that bringing a node to today's form has made, between `inputs` and `made`, into the body it stands in. */
function enterScope(made: readonly (Value | null)[], inputs: readonly (Value | null)[], scope: Scope): void {
  const before = new Set(inputs.map((value) => value?.source))
  const values = made.filter((value) => value !== null)
  for (const node of topological(values, (node) => !before.has(node))) placeNode(node, scope)
}

function lookUp(names: Names, name: string, operator: string, label: string): Value {
  const value = names.get(name)
  if (value) return value
  throw new OnnxIreError(
    'invalid-model',
    `${operator} '${label}' reads '${name}', which is neither an input, an initializer nor the output of a node`,
  )
}

function inputOf(info: ValueInfoProto): Value {
  const name = info.name ?? ''
  const type = info.type?.tensorType
  const dtype = dtypeOf(type?.elemType ?? 0)
  if (!type || !dtype) {
    throw new OnnxIreError(
      'invalid-model',
      `input '${name}' is not a tensor of a type this library carries; sequences, maps and optionals are not supported`,
    )
  }
  return input(name, dtype, shapeOf(info))
}

/** The shape a file declares; undefined where it declares none. */
export function shapeOf(info: ValueInfoProto): Shape | undefined {
  return info.type?.tensorType?.shape?.dim.map(({ dimValue, dimParam }): Dim => {
    // A name that begins with `?` would be taken for one of ours, and says nothing.
    if (dimValue === undefined) return dimParam && !dimParam.startsWith('?') ? dimParam : unknownDim()
    const length = Number(dimValue)
    // Some exporters write -1 for "any length".
    if (length < 0) return unknownDim()
    if (length > 2 ** 40)
      throw new OnnxIreError('invalid-model', `'${info.name}' declares an axis of ${dimValue} elements`)
    return length
  })
}

/** Takes over what a declaration knows beyond inference; refuses one that contradicts it. */
function refineFrom(value: Value, info: ValueInfoProto | undefined, operator: string): void {
  const dtype = dtypeOf(info?.type?.tensorType?.elemType ?? 0)
  if (dtype && dtype !== value.dtype)
    throw new OnnxIreError(
      'invalid-model',
      `'${info?.name}' is declared ${dtype}, but ${operator} gives ${value.dtype}; correct the declaration or remove it`,
    )
  const declared = info && shapeOf(info)
  if (!declared) return
  const { shape } = value
  const clash =
    shape &&
    (shape.length !== declared.length ||
      shape.some(
        (dim, axis) => typeof dim === 'number' && typeof declared[axis] === 'number' && dim !== declared[axis],
      ))
  if (clash) {
    throw new OnnxIreError(
      'invalid-model',
      `'${info.name}' is declared ${formatShape(declared)}, but ${operator} gives ${formatShape(shape)}; correct the declaration or remove it`,
    )
  }
  refineShape(
    value,
    shape
      ? shape.map((dim, axis) => (typeof dim === 'string' && typeof declared[axis] === 'number' ? declared[axis] : dim))
      : declared,
  )
}
