import { dtypes } from '../../ir/dtype.js'
import { dependenciesOf, topological } from '../../ir/topology.js'
import type { Body, Node, Scope, TensorType, Value } from '../../ir/value.js'
import { definitionOf } from '../../op/op.js'
import { OnnxIreError } from '../../util/errors.js'
import { writeAttributes } from '../attributes.js'
import type { Model } from '../model.js'
import { create } from '../proto/message.js'
import type { AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto } from '../proto/schema.js'
import { toTensorProto } from '../proto/tensor.js'
import { attributesKey, ConstantNames, nodeKey } from './cse.js'
import { type Substitutes, simplify } from './simplify.js'

/** A graph to be written: what is fed at every run and what is asked for. Any leaf may be an input; tensors that are not become initializers. */
export interface GraphSpec {
  readonly name: string
  readonly inputs: ReadonlyMap<string, Value>
  readonly outputs: ReadonlyMap<string, Value>
  readonly metadata?: Readonly<Record<string, string>>
}

/**
 * Writes a graph as ONNX, in the lowest operator set that has every operator it uses. Only what the outputs need is
 * written, and in few steps; equal nodes over equal inputs are written once.
 */
export function exportGraph(spec: GraphSpec): ModelProto {
  const writer = new GraphWriter(spec)
  const graph = writer.write()
  const versions = new Map(writer.versions)
  // Axes as inputs came with 13; every onnxruntime since 2020 runs it.
  versions.set('', Math.max(13, versions.get('') ?? 0))
  return create('ModelProto', {
    irVersion: irVersionFor(versions.get('')!),
    producerName: 'onnx-ire',
    graph,
    opsetImport: [...versions].map(([domain, version]) =>
      create('OperatorSetIdProto', { domain, version: BigInt(version) }),
    ),
    metadataProps: Object.entries(spec.metadata ?? {}).map(([key, value]) =>
      create('StringStringEntryProto', { key, value }),
    ),
  })
}

/** A graph authored with `op` as a model, ready to be trained or written. */
export const modelOf = (spec: GraphSpec): Model => ({ proto: exportGraph(spec), external: null })

/** The IR version that came with an operator set (https://github.com/onnx/onnx/blob/main/docs/Versioning.md). */
const irVersionFor = (opset: number): bigint =>
  opset < 15 ? 7n : opset < 19 ? 8n : opset < 21 ? 9n : opset < 23 ? 10n : opset < 24 ? 11n : 12n

class GraphWriter {
  /** Highest version needed, by domain. */
  readonly versions = new Map<string, number>()
  readonly #spec: GraphSpec
  readonly #names = new Map<Value, string>()
  readonly #taken = new Set<string>()
  readonly #nodeNames = new Set<string>()
  readonly #used = new Set<Value>()
  readonly #initializers: TensorProto[] = []
  readonly #constants = new ConstantNames()
  readonly #substitutes: Substitutes = new Map()
  readonly #settled = (value: Value): Value => this.#substitutes.get(value) ?? value
  readonly #attributes = new Map<string, readonly AttributeProto[]>()
  readonly #counters = new Map<string, number>()

  constructor(spec: GraphSpec) {
    this.#spec = spec
  }

  write(): GraphProto {
    const { inputs, outputs, name } = this.#spec
    for (const [input, value] of inputs) this.#give(value, input)
    for (const [output, value] of outputs) {
      if (inputs.has(output) && inputs.get(output) !== value)
        throw new OnnxIreError(
          'invalid-model',
          `graph '${name}' would have an input and another tensor as output, both named '${output}'; rename one of them`,
        )
      // A tensor that is an output under its own name keeps it; before any other tensor the outputs have theirs.
      if (value.source.kind !== 'node' && value.source.kind !== 'input' && value.name === output) this.#reserve(value)
      this.#taken.add(output)
    }
    const nodes = this.#writeNodes(outputs, undefined)
    const symbols = new Set([...inputs.values()].flatMap(({ shape }) => shape ?? []))
    return create('GraphProto', {
      name,
      node: nodes,
      initializer: this.#initializers,
      input: [...inputs].map(([input, value]) => valueInfo(input, value)),
      output: [...outputs].map(([output, value]) => valueInfo(output, value, symbols)),
    })
  }

  /** Writes the nodes of one scope that its outputs need, and gives the outputs the names asked for. */
  #writeNodes(outputs: ReadonlyMap<string, Value>, scope: Scope | undefined): NodeProto[] {
    const order = this.#needed(outputs, scope)
    if (scope === undefined) this.#reserveParameters(order, outputs)
    const wanted = new Map<Value, string>()
    for (const [name, output] of outputs) {
      const value = this.#settled(output)
      if (!wanted.has(value) && value.source.kind === 'node' && !this.#names.has(value)) wanted.set(value, name)
    }
    const written = new Map<string, readonly Value[]>()
    const nodes: NodeProto[] = []
    for (const node of order) {
      const proto = this.#writeNode(node, wanted, written)
      if (proto) nodes.push(proto)
    }
    for (const [name, value] of outputs) {
      if (this.#nameOf(value) !== name)
        nodes.push(create('NodeProto', { opType: 'Identity', input: [this.#nameOf(value)], output: [name] }))
    }
    return nodes
  }

  /** The simplified nodes of a scope that its outputs need; what they read is marked as used. */
  #needed(outputs: ReadonlyMap<string, Value>, scope: Scope | undefined): Node[] {
    const order = simplify(
      topological(outputs.values(), (node) => node.scope === scope),
      this.#substitutes,
    )
    for (const value of outputs.values()) this.#used.add(this.#settled(value))
    const nodes: Node[] = []
    for (let i = order.length - 1; i >= 0; i--) {
      const node = order[i]!
      if (!node.outputs.some((y) => this.#used.has(y))) continue
      for (const x of dependenciesOf(node)) this.#used.add(this.#settled(x))
      nodes.push(node)
    }
    return nodes.reverse()
  }

  /** Parameters have their names before any node. */
  #reserveParameters(order: readonly Node[], outputs: ReadonlyMap<string, Value>): void {
    const reserve = (value: Value) => {
      const leaf = this.#settled(value)
      if (leaf.source.kind === 'parameter') this.#reserve(leaf)
    }
    for (const node of order) dependenciesOf(node).forEach(reserve)
    for (const value of outputs.values()) reserve(value)
  }

  #writeNode(
    node: Node,
    wanted: ReadonlyMap<Value, string>,
    written: Map<string, readonly Value[]>,
  ): NodeProto | undefined {
    const { operator, domain, since } = node
    const input = node.inputs.map((value) => (value ? this.#nameOf(value) : ''))
    this.versions.set(domain, Math.max(since, this.versions.get(domain) ?? 0))
    const text = attributesKey(node)
    const key = nodeKey(node, input, text, this.#settled)
    const twin = key ? written.get(key) : undefined
    if (twin) {
      for (const [index, value] of node.outputs.entries()) {
        if (this.#names.has(twin[index]!)) this.#names.set(value, this.#names.get(twin[index]!)!)
      }
      // A twin that left an optional output unnamed cannot stand in for it.
      if (node.outputs.every((value) => !this.#used.has(value) || this.#names.has(value))) return undefined
    }
    const output = node.outputs.map((value, index) => {
      if (!this.#used.has(value) && definitionOf(operator).outputs[index]?.endsWith('?')) return ''
      return this.#give(value, wanted.get(value) ?? this.#free(value.name ?? this.#numbered(operator)))
    })
    while (output.at(-1) === '') output.pop()
    if (key) written.set(key, node.outputs)
    return create('NodeProto', {
      opType: operator,
      domain: domain || undefined,
      name: this.#nodeName(node),
      input,
      output,
      attribute: this.#attributesOf(node, text),
    })
  }

  /** Equal attributes are one message. */
  #attributesOf(node: Node, text: string | undefined): readonly AttributeProto[] {
    const key = text === undefined ? undefined : `${node.operator}${text}`
    const known = key === undefined ? undefined : this.#attributes.get(key)
    if (known) return known
    const protos = writeAttributes(node, (body) => this.#writeBody(body))
    if (key !== undefined) this.#attributes.set(key, protos)
    return protos
  }

  /** Names of nodes need not be there, but onnxruntime refuses one that comes twice, as in functions called twice. */
  #nodeName({ name }: Node): string | undefined {
    if (name === undefined || this.#nodeNames.has(name)) return undefined
    this.#nodeNames.add(name)
    return name
  }

  #writeBody(body: Body): GraphProto {
    for (const value of body.inputs) this.#give(value, this.#free(value.name ?? this.#numbered('input')))
    const outputs = new Map(
      body.outputs.map((value) => {
        const name = this.#free(value.name ?? this.#numbered('output'))
        this.#taken.add(name)
        return [name, value]
      }),
    )
    const node = this.#writeNodes(outputs, body.scope)
    return create('GraphProto', {
      name: this.#numbered('body'),
      node,
      input: body.inputs.map((value) => valueInfo(this.#nameOf(value), value)),
      output: [...outputs].map(([name, value]) => valueInfo(name, value, new Set())),
    })
  }

  #nameOf(original: Value): string {
    const value = this.#settled(original)
    const name = this.#names.get(value)
    if (name !== undefined) return name
    const { source } = value
    if (source.kind === 'input')
      throw new OnnxIreError(
        'invalid-model',
        `graph '${this.#spec.name}' uses the input '${value.name ?? '?'}' without listing it`,
      )
    if (source.kind === 'node')
      throw new OnnxIreError(
        'invalid-model',
        `${source.operator} '${value.name ?? '?'}' is used outside the body it stands in`,
      )
    const { tensor } = source
    const write = () => {
      const given = this.#free(value.name ?? this.#numbered('const'))
      this.#taken.add(given)
      this.#initializers.push(toTensorProto(given, tensor))
      return given
    }
    return this.#give(value, source.kind === 'constant' ? this.#constants.nameOf(tensor, write) : write())
  }

  #reserve(leaf: Value): void {
    if (!this.#names.has(leaf)) this.#nameOf(leaf)
  }

  #give(value: Value, name: string): string {
    this.#names.set(value, name)
    this.#taken.add(name)
    return name
  }

  #free(name: string): string {
    return this.#taken.has(name) ? this.#numbered(name) : name
  }

  #numbered(stem: string): string {
    for (;;) {
      const count = this.#counters.get(stem) ?? 0
      this.#counters.set(stem, count + 1)
      const name = `${stem}_${count}`
      if (!this.#taken.has(name)) return name
    }
  }
}

/** The declaration of a graph input or output. A symbol is written on outputs only where an input has it too. */
function valueInfo(name: string, type: TensorType, symbols?: ReadonlySet<string | number>): ValueInfoProto {
  const dim = type.shape?.map((length) => {
    if (typeof length === 'number') return create('Dimension', { dimValue: BigInt(length) })
    const plain = !length.startsWith('?') && (symbols?.has(length) ?? true)
    return create('Dimension', plain ? { dimParam: length } : {})
  })
  const tensorType = create('TensorType', {
    elemType: dtypes[type.dtype].onnx,
    shape: dim && create('TensorShapeProto', { dim }),
  })
  return create('ValueInfoProto', { name, type: create('TypeProto', { tensorType }) })
}
