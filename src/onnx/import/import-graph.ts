import { body } from '../../ir/body.js'
import { type DType, isFloat } from '../../ir/dtype.js'
import { constant, parameter } from '../../ir/leaf.js'
import { sizeOf } from '../../ir/tensor.js'
import { type Attribute, type Body, type Graph, nameValue, type Value } from '../../ir/value.js'
import { apply } from '../../op/apply.js'
import { definitionOf } from '../../op/op.js'
import { OnnxIreError } from '../../util/errors.js'
import { checkAttributes, readAttributes } from '../attributes.js'
import type { Model } from '../model.js'
import { constantFromAttributes, isConstant } from '../proto/constant.js'
import type { FunctionProto, GraphProto, NodeProto, TensorProto, ValueInfoProto } from '../proto/schema.js'
import { locateTensors, type StoredTensor } from '../tensor-locations.js'
import type { OldNode } from '../upgrade/rewrite.js'
import { Sequence, sequenceError } from '../upgrade/sequence.js'
import { upgradeNode } from '../upgrade/upgrade-node.js'
import { findConfigInputs } from './config-inputs.js'
import {
  createInput,
  Declarations,
  inferBodyInputTypes,
  listInputs,
  readOperatorSets,
  selectBranch,
} from './declarations.js'
import { findFunction, indexFunctions } from './functions.js'
import { importGradient } from './gradient-operator.js'
import { lookUp, NameScope } from './name-scope.js'
import { sortNodes } from './sort-nodes.js'
import { checkOperators, isGradient } from './unsupported.js'

/** Where nodes are read: the main graph with its bodies, or a function at one of its calls. */
interface Context {
  readonly versions: ReadonlyMap<string, number>
  /** Tensors that steer an operator and stay constant. */
  readonly settings: ReadonlySet<string>
  /** What the call of a function gives to its attributes. */
  readonly given: Readonly<Record<string, Attribute>>
  /** The functions being read, outermost first. */
  readonly calls: readonly FunctionProto[]
}

/**
 * The graph of a model, its operators brought to today's form and the functions it defines inlined. Floating-point
 * initializers, and floating-point Constant nodes with more than one element, become `parameters`, those inside the bodies
 * of If, Loop and Scan and inside functions too; every other tensor is a constant. A tensor that is not of the main graph
 * goes by its own name where no other has it, else by one that tells its place (`If_0/then_branch/weight`).
 *
 * Throws `unsupported-operator` listing every operator this library does not know, and `invalid-model` with the node or
 * tensor where the model contradicts itself.
 */
export function importGraph(model: Model): Graph {
  const graph = model.proto.graph
  if (!graph) throw new OnnxIreError('invalid-model', 'the model holds no graph')
  checkOperators(model.proto)
  const importer = new Importer(model)
  const context: Context = {
    versions: readOperatorSets(model.proto.opsetImport),
    settings: findConfigInputs(
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
    if (outputs.has(name)) throw new OnnxIreError('invalid-model', `the output '${name}' is listed twice`)
    outputs.set(name, value)
  }
  return { name: graph.name ?? '', inputs, parameters: importer.parameters, outputs }
}

/** Calls of functions multiply; more nodes inside them than this are no model but an attack. */
const mostNodes = 250_000

class Importer {
  readonly parameters = new Map<string, Value>()
  readonly declarations = new Declarations()
  readonly #model: Model
  readonly #functions: ReadonlyMap<string, FunctionProto>
  readonly #sites: ReadonlyMap<TensorProto | NodeProto, StoredTensor>
  readonly #tensors = new Map<StoredTensor, Value>()
  #nodes = 0

  constructor(model: Model) {
    this.#model = model
    this.#functions = indexFunctions(model.proto)
    this.#sites = locateTensors(model.proto, model.external)
  }

  /** Gives the constant tensors of a graph, body or function their names there. */
  readTensors(graph: GraphProto | FunctionProto, names: NameScope, context: Context): void {
    const protos =
      'initializer' in graph
        ? [...graph.initializer, ...graph.sparseInitializer.flatMap(({ values }) => values ?? [])]
        : []
    for (const proto of [...protos, ...graph.node]) {
      const site = this.#sites.get(proto)
      if (site) names.set(site.local, this.#tensorAt(site, context))
    }
  }

  #tensorAt(site: StoredTensor, { settings }: Context): Value {
    const known = this.#tensors.get(site)
    if (known) return known
    const { name, local, tensor, initializer } = site
    const varies = isFloat(tensor.dtype) && (initializer || sizeOf(tensor.dims) > 1) && !settings.has(local)
    const value = varies ? parameter(name, tensor) : constant(tensor, name)
    if (varies) this.parameters.set(name, value)
    this.#tensors.set(site, value)
    return value
  }

  /** Reads the nodes of a graph or body; returns its outputs. */
  readGraph(graph: GraphProto, names: NameScope, context: Context): [string, Value][] {
    this.#readNodes(graph.node, names, [...graph.valueInfo, ...graph.output], context)
    return graph.output.map(({ name = '' }) => {
      const value = names.get(name)
      if (!value) throw new OnnxIreError('invalid-model', `no node gives the output '${name}'`)
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
      if (context.calls.length > 0 && ++this.#nodes > mostNodes)
        throw new OnnxIreError(
          'invalid-model',
          `inlining its functions makes more than ${mostNodes} nodes of the model`,
        )
      // Tensors of the model are in `names` from the start.
      if (!this.#sites.has(node)) this.#readNode(node, names, declared, context)
    }
  }

  #readNode(node: NodeProto, names: NameScope, declared: ReadonlyMap<string, ValueInfoProto>, context: Context): void {
    const operator = node.opType ?? ''
    const label = node.name || node.output.find((name) => name !== '') || '?'
    const inputs = node.input.map((name) => (name === '' ? null : lookUp(names, name, operator, label)))
    const taken = selectBranch(node, inputs[0])
    const attributes = readAttributes(
      taken ? { ...node, attribute: [] } : node,
      this.#model.external,
      (graph) => this.#readBody(graph, names, context, inferBodyInputTypes(operator, inputs)),
      context.given,
    )
    const of = findFunction(this.#functions, node)
    const values = taken
      ? this.#readInside(taken, names, context)
      : isConstant(node)
        ? [constant(constantFromAttributes(label, attributes))]
        : of
          ? this.#call(of, inputs, attributes, context)
          : isGradient(node)
            ? importGradient(inputs, attributes, (name) => lookUp(names, name, operator, label)!)
            : this.#applied(node, inputs, attributes, label, context)
    for (const [index, name] of node.output.entries()) {
      if (name === '') continue
      const value = values[index]
      if (!value)
        throw new OnnxIreError('invalid-model', `${operator} '${label}' has no output number ${index} ('${name}')`)
      if (value.source.kind === 'node') nameValue(value, name)
      this.declarations.refine(value, declared.get(name), operator)
      names.set(name, value)
    }
  }

  #applied(
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
        `${operator} '${label}' is of the domain '${domain || 'ai.onnx'}', which opset_import does not list`,
      )
    const old = { operator, inputs, attributes, outputCount: node.output.length }
    const modern = modernForm(old, version, label, domain)
    if (!('operator' in modern)) return modern
    const definition = definitionOf(modern.operator)
    checkAttributes(`${operator} '${label}'`, definition.attributes, modern.attributes)
    return apply({
      operator: modern.operator,
      definition,
      inputs: modern.inputs,
      attributes: modern.attributes,
      name: node.name || undefined,
      outputCount: node.output.length,
    })
  }

  /** The results of a branch that is taken in any case: its nodes are made where its If stands. */
  #readInside(graph: GraphProto, outer: NameScope, context: Context): Value[] {
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

  /** A function's nodes in place of its call; it sees nothing of the graph around the call but its inputs. */
  #call(
    of: FunctionProto,
    inputs: readonly (Value | null)[],
    given: Readonly<Record<string, Attribute>>,
    { calls }: Context,
  ): readonly (Value | null)[] {
    if (calls.includes(of)) throw new OnnxIreError('invalid-model', `the function '${of.name}' calls itself`)
    const names = new NameScope()
    for (const [index, name] of of.input.entries()) names.set(name, inputs[index] ?? null)
    const bare: Context = {
      versions: readOperatorSets(of.opsetImport),
      settings: findConfigInputs(of, of.output),
      given: {},
      calls: [...calls, of],
    }
    const byDefault = readAttributes(
      { attribute: of.attributeProto, opType: of.name, output: [] },
      this.#model.external,
      (graph) => this.#readBody(graph, names, bare),
    )
    const context = { ...bare, given: { ...byDefault, ...given } }
    this.readTensors(of, names, context)
    this.#readNodes(of.node, names, of.valueInfo, context)
    return of.output.map((name) => {
      const value = names.get(name)
      if (value === undefined)
        throw new OnnxIreError('invalid-model', `no node of the function '${of.name}' gives its output '${name}'`)
      return value
    })
  }
}

/** Today's form of a node; what cannot be brought there is refused by name. */
function modernForm(node: OldNode, version: number, label: string, domain: string): OldNode | readonly Value[] {
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
