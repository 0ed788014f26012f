import { dtypeOf, isFloat } from '../ir/dtype.js'
import { claimName } from '../util/claim-name.js'
import { OnnxIreError } from '../util/errors.js'
import {
  checkCall,
  findFunction,
  indexFunctions,
  maxCallDepth,
  maxInlinedNodes,
  walkNodes,
} from './import/model-nodes.js'
import { checkModel, type Model } from './model.js'
import { create, edit } from './proto/message.js'
import type {
  AttributeProto,
  FunctionProto,
  GraphProto,
  ModelProto,
  NodeProto,
  OperatorSetIdProto,
  TensorProto,
  ValueInfoProto,
} from './proto/schema.js'
import { locateTensors, type StoredTensor } from './tensor-locations.js'

/**
 * Puts the nodes of a model's functions in place of their calls, so that adapters can change the layers in them. The
 * model computes the same, and weights keep their names: one that is a Constant of a function, or is in a body there,
 * becomes an initializer of the model, which all calls read.
 *
 * @example
 * ```ts
 * const model = lora(inlineFunctions(await readModel('model.onnx')))
 * ```
 *
 * @throws OnnxIreError `invalid-model` if functions call themselves, or import another version of an operator set than
 *   the model
 */
export function inlineFunctions(model: Model): Model {
  checkModel(model)
  const { proto } = model
  if (proto.functions.length === 0) return model
  const inliner = new Inliner(model)
  const graph = inliner.expandGraph(proto.graph!, mainScope, [])
  const domains = new Set([...walkNodes(graph)].map(domainOf))
  const opsetImport = inliner
    .importedSets()
    .filter((set) => domains.has(domainOf(set)) || !proto.functions.some((each) => domainOf(each) === domainOf(set)))
  return {
    ...model,
    proto: edit(proto, {
      graph: edit(graph, { initializer: [...graph.initializer, ...inliner.initializers] }),
      functions: [],
      opsetImport,
    }),
  }
}

const domainOf = ({ domain }: { readonly domain?: string | undefined }): string =>
  domain === 'ai.onnx' ? '' : (domain ?? '')

/** The tensor in the attribute `value` of a Constant. */
const tensorOf = ({ attribute }: NodeProto): TensorProto | undefined =>
  attribute.find(({ name }) => name === 'value')?.t

/** Names and attributes within the main graph, or within one call of a function. */
interface Scope {
  /** The name in the main graph of a value. */
  value(name: string): string
  /** The name in the main graph of a node. */
  node(name: string): string
  /** Attributes of the function, from its call and its defaults. */
  readonly given: ReadonlyMap<string, AttributeProto>
  /** Metadata of the call, for nodes without their own: the scopes that torch.onnx writes are the path of a module. */
  readonly metadataProps: NodeProto['metadataProps']
}

const mainScope: Scope = { value: (name) => name, node: (name) => name, given: new Map(), metadataProps: [] }

/** Nodes with the declarations of their results. */
interface Expanded {
  readonly node: NodeProto[]
  readonly valueInfo: ValueInfoProto[]
}

class Inliner {
  /** Weights of functions. */
  readonly initializers: TensorProto[] = []
  readonly #proto: ModelProto
  readonly #functions: ReadonlyMap<string, FunctionProto>
  readonly #stored: ReadonlyMap<TensorProto | NodeProto, StoredTensor>
  readonly #taken = new Set<string>()
  readonly #moved = new Set<NodeProto | TensorProto>()
  readonly #called = new Set<FunctionProto>()
  readonly #sizes = new Map<FunctionProto, number>()

  constructor({ proto, external }: Model) {
    this.#proto = proto
    this.#functions = indexFunctions(proto)
    this.#stored = locateTensors(proto, external)
    for (const { name } of this.#stored.values()) this.#taken.add(name)
    for (const { name = '' } of proto.graph!.input) this.#taken.add(name)
    for (const { name = '', output } of walkNodes(proto.graph!))
      for (const each of [name, ...output]) this.#taken.add(each)
    // Before the first call is expanded, so that a small file is refused at once.
    if (this.#countNodes(proto.graph!, 0) > maxInlinedNodes)
      throw new OnnxIreError(
        'invalid-model',
        `the functions of the model have more than ${maxInlinedNodes} nodes when they are inlined`,
      )
  }

  /** Number of the nodes of functions that a graph or function calls. */
  #countNodes(graph: GraphProto | FunctionProto, depth: number): number {
    let count = 0
    for (const node of walkNodes(graph)) {
      const callee = findFunction(this.#functions, node)
      // Functions that call themselves, and long chains, are refused when they are expanded.
      if (!callee || depth === maxCallDepth) continue
      if (!this.#sizes.has(callee)) {
        this.#sizes.set(callee, 0)
        this.#sizes.set(callee, callee.node.length + this.#countNodes(callee, depth + 1))
      }
      count += this.#sizes.get(callee)!
    }
    return count
  }

  /** The operator sets of the model and of the functions that it calls. */
  importedSets(): readonly OperatorSetIdProto[] {
    const sets = [...this.#proto.opsetImport]
    for (const { name, opsetImport } of this.#called)
      for (const set of opsetImport) {
        const own = sets.find((each) => domainOf(each) === domainOf(set))
        if (!own) sets.push(set)
        else if (own.version !== set.version)
          throw new OnnxIreError(
            'invalid-model',
            `the function '${name}' imports operator set ${set.version} of '${domainOf(set) || 'ai.onnx'}', the model ${own.version}: convert both to one version (onnx.version_converter) before the functions are inlined`,
          )
      }
    return sets
  }

  /** A graph or body without calls, with the names of a scope. */
  expandGraph(graph: GraphProto, outer: Scope, calls: readonly FunctionProto[]): GraphProto {
    const isMain = outer === mainScope
    const moved = isMain ? new Map<string, string>() : this.#moveWeights(graph)
    const scope = isMain ? outer : { ...outer, value: (name: string) => moved.get(name) ?? outer.value(name) }
    const rename = ({ name = '' }: { readonly name?: string | undefined }) => ({ name: scope.value(name) })
    const { node, valueInfo } = this.#expand(graph.node, scope, calls, { node: [], valueInfo: [] })
    // The output of a body must be a value of the body.
    for (const { name = '' } of graph.output)
      if (moved.has(name)) node.push(this.#copy(moved.get(name)!, outer.value(name)))
    return edit(graph, {
      node,
      valueInfo: [...graph.valueInfo.map((info) => edit(info, rename(info))), ...valueInfo],
      input: graph.input.map((info) => edit(info, rename(info))),
      output: graph.output.map((info) => edit(info, { name: outer.value(info.name ?? '') })),
      initializer: graph.initializer
        .filter((tensor) => !this.#moved.has(tensor))
        .map((tensor) => edit(tensor, rename(tensor))),
    })
  }

  /** Adds nodes without calls to `expanded`, and returns it. */
  #expand(nodes: readonly NodeProto[], scope: Scope, calls: readonly FunctionProto[], expanded: Expanded): Expanded {
    for (const each of nodes) {
      if (this.#moved.has(each)) continue
      const node = edit(each, {
        input: each.input.map(scope.value),
        output: each.output.map(scope.value),
        ...(each.name && { name: scope.node(each.name) }),
        attribute: each.attribute.flatMap((attribute) => this.#resolve(attribute, scope, calls)),
        metadataProps: each.metadataProps.length > 0 ? each.metadataProps : scope.metadataProps,
      })
      const callee = findFunction(this.#functions, each)
      if (callee) this.#expandCall(callee, node, calls, expanded)
      else expanded.node.push(node)
    }
    return expanded
  }

  /** An attribute with the value of the function's attribute that it refers to; none if the call does not pass it. */
  #resolve(attribute: AttributeProto, scope: Scope, calls: readonly FunctionProto[]): readonly AttributeProto[] {
    const { name, refAttrName, g, graphs } = attribute
    if (refAttrName) {
      const given = scope.given.get(refAttrName)
      return given ? [edit(given, { name })] : []
    }
    if (!g && graphs.length === 0) return [attribute]
    return [
      edit(attribute, {
        ...(g && { g: this.expandGraph(g, scope, calls) }),
        graphs: graphs.map((body) => this.expandGraph(body, scope, calls)),
      }),
    ]
  }

  /** Adds the nodes of a function for a call with the names of the main graph. */
  #expandCall(callee: FunctionProto, call: NodeProto, calls: readonly FunctionProto[], expanded: Expanded): void {
    checkCall(callee, calls)
    this.#called.add(callee)
    const inner = [...calls, callee]
    const prefix = call.name || call.output.find((name) => name !== '') || callee.name || 'call'
    // A name with '/' is read as the path of a module.
    const separator = prefix.includes('/') ? '/' : '.'
    const names = new Map<string, string>([['', '']])
    for (const [index, name] of callee.input.entries()) names.set(name, call.input[index] ?? '')
    for (const node of callee.node) this.#moveWeight(node, tensorOf(node), names)
    const copies: NodeProto[] = []
    for (const [index, name] of callee.output.entries()) {
      const output = call.output[index] ?? ''
      const known = names.get(name)
      if (output === '') continue
      if (known === undefined) names.set(name, output)
      else copies.push(this.#copy(known, output))
    }
    const given = new Map<string, AttributeProto>()
    const scope: Scope = {
      given,
      metadataProps: call.metadataProps,
      node: (name) => this.#claim(`${prefix}${separator}${name}`),
      value: (name) => {
        const known = names.get(name)
        if (known !== undefined) return known
        const renamed = this.#claim(`${prefix}${separator}${name}`)
        names.set(name, renamed)
        return renamed
      },
    }
    for (const each of callee.attributeProto)
      for (const resolved of this.#resolve(each, scope, inner)) given.set(each.name ?? '', resolved)
    for (const each of call.attribute) given.set(each.name ?? '', each)
    this.#expand(callee.node, scope, inner, expanded)
    expanded.node.push(...copies)
    for (const info of callee.valueInfo) expanded.valueInfo.push(edit(info, { name: scope.value(info.name ?? '') }))
  }

  #copy(value: string, output: string): NodeProto {
    const name = this.#claim(`${output}/copy`)
    return create('NodeProto', { opType: 'Identity', name, input: [value], output: [output] })
  }

  /** Moves the weights of a body in a function. Returns their names in the main graph, by those in the body. */
  #moveWeights({ initializer, node }: GraphProto): ReadonlyMap<string, string> {
    const names = new Map<string, string>()
    for (const tensor of initializer) this.#moveWeight(tensor, tensor, names)
    for (const each of node) this.#moveWeight(each, tensorOf(each), names)
    return names
  }

  /**
   * Makes an initializer of the model of a float constant of several elements in a function, once for all calls.
   * @param proto the initializer or node that contains the tensor
   */
  #moveWeight(proto: NodeProto | TensorProto, tensor: TensorProto | undefined, names: Map<string, string>): void {
    const stored = this.#stored.get(proto)
    const dtype = dtypeOf(tensor?.dataType ?? 0)
    if (!stored || !tensor || !dtype || !isFloat(dtype)) return
    if (Array.from(tensor.dims, Number).reduce((size, length) => size * length, 1) <= 1) return
    if (!this.#moved.has(proto)) this.initializers.push(edit(tensor, { name: stored.name }))
    this.#moved.add(proto)
    names.set(stored.local, stored.name)
  }

  /** A name that no value and no node of the model has yet. */
  #claim(wanted: string): string {
    return claimName(wanted, this.#taken)
  }
}
