import { OnnxIreError } from '../errors.js'
import { dtypes } from '../ir/dtype.js'
import { sizeOf, type Tensor } from '../ir/tensor.js'
import { dependenciesOf, leavesOf, topological } from '../ir/topology.js'
import type { Body, Node, Scope, TensorType, Value } from '../ir/value.js'
import { drawsNumbers } from '../op/draws.js'
import { definitionOf } from '../op/index.js'
import { attributeProtos } from './attributes.js'
import { create } from './message.js'
import type { Model } from './model.js'
import type { GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto } from './schema.js'
import { tensorProto } from './tensor.js'

/** A graph to be written: what is fed at every run and what is asked for. Any leaf may be an input; tensors that are not become initializers. */
export interface GraphSpec {
  readonly name: string
  readonly inputs: ReadonlyMap<string, Value>
  readonly outputs: ReadonlyMap<string, Value>
  readonly metadata?: Readonly<Record<string, string>>
}

/**
 * Writes a graph as ONNX, in the lowest operator set that has every operator it uses. Only what the outputs need is
 * written; equal nodes over equal inputs are written once.
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
  private readonly spec: GraphSpec
  private readonly names = new Map<Value, string>()
  private readonly taken = new Set<string>()
  private readonly nodeNames = new Set<string>()
  private readonly used = new Set<Value>()
  private readonly initializers: TensorProto[] = []
  private readonly constants = new Map<string, string>()
  private readonly counters = new Map<string, number>()

  constructor(spec: GraphSpec) {
    this.spec = spec
  }

  write(): GraphProto {
    const { inputs, outputs, name } = this.spec
    for (const [input, value] of inputs) this.give(value, input)
    for (const [output, value] of outputs) {
      if (inputs.has(output) && inputs.get(output) !== value)
        throw new OnnxIreError(
          'invalid-model',
          `graph '${name}' would have an input and another tensor as output, both named '${output}'; rename one of them`,
        )
      // A tensor that is an output under its own name keeps it; before any other tensor the outputs have theirs.
      if (value.source.kind !== 'node' && value.source.kind !== 'input' && value.name === output) this.reserve(value)
      this.taken.add(output)
    }
    const leaves = leavesOf(outputs.values())
    for (const leaf of leaves) if (leaf.source.kind === 'parameter') this.reserve(leaf)
    const nodes = this.writeNodes(outputs, undefined)
    const symbols = new Set([...inputs.values()].flatMap(({ shape }) => shape ?? []))
    return create('GraphProto', {
      name,
      node: nodes,
      initializer: this.initializers,
      input: [...inputs].map(([input, value]) => valueInfo(input, value)),
      output: [...outputs].map(([output, value]) => valueInfo(output, value, symbols)),
    })
  }

  /** Writes the nodes of one scope that its outputs need, and gives the outputs the names asked for. */
  private writeNodes(outputs: ReadonlyMap<string, Value>, scope: Scope | undefined): NodeProto[] {
    const order = topological(outputs.values(), (node) => node.scope === scope)
    for (const node of order) for (const value of dependenciesOf(node)) this.used.add(value)
    const wanted = new Map<Value, string>()
    for (const [name, value] of outputs) {
      this.used.add(value)
      if (!wanted.has(value) && value.source.kind === 'node' && !this.names.has(value)) wanted.set(value, name)
    }
    const written = new Map<string, readonly Value[]>()
    const nodes = order.flatMap((node) => this.writeNode(node, wanted, written))
    for (const [name, value] of outputs) {
      if (this.nameOf(value) !== name)
        nodes.push(create('NodeProto', { opType: 'Identity', input: [this.nameOf(value)], output: [name] }))
    }
    return nodes
  }

  private writeNode(
    node: Node,
    wanted: ReadonlyMap<Value, string>,
    written: Map<string, readonly Value[]>,
  ): NodeProto[] {
    const { operator, domain, since } = node
    const input = node.inputs.map((value) => (value ? this.nameOf(value) : ''))
    this.versions.set(domain, Math.max(since, this.versions.get(domain) ?? 0))
    const key = identity(node, input)
    const twin = key ? written.get(key) : undefined
    if (twin) {
      for (const [index, value] of node.outputs.entries()) {
        if (this.names.has(twin[index]!)) this.names.set(value, this.names.get(twin[index]!)!)
      }
      // A twin that left an optional output unnamed cannot stand in for it.
      if (node.outputs.every((value) => !this.used.has(value) || this.names.has(value))) return []
    }
    const output = node.outputs.map((value, index) => {
      if (!this.used.has(value) && definitionOf(operator).outputs[index]?.endsWith('?')) return ''
      return this.give(value, wanted.get(value) ?? this.free(value.name ?? this.numbered(operator)))
    })
    while (output.at(-1) === '') output.pop()
    if (key) written.set(key, node.outputs)
    const attribute = attributeProtos(node, (body) => this.writeBody(body))
    return [
      create('NodeProto', {
        opType: operator,
        domain: domain || undefined,
        name: this.nodeName(node),
        input,
        output,
        attribute,
      }),
    ]
  }

  /** Names of nodes need not be there, but onnxruntime refuses one that comes twice, as in functions called twice. */
  private nodeName({ name }: Node): string | undefined {
    if (name === undefined || this.nodeNames.has(name)) return undefined
    this.nodeNames.add(name)
    return name
  }

  private writeBody(body: Body): GraphProto {
    for (const value of body.inputs) this.give(value, this.free(value.name ?? this.numbered('input')))
    const outputs = new Map(
      body.outputs.map((value) => {
        const name = this.free(value.name ?? this.numbered('output'))
        this.taken.add(name)
        return [name, value]
      }),
    )
    const node = this.writeNodes(outputs, body.scope)
    return create('GraphProto', {
      name: this.numbered('body'),
      node,
      input: body.inputs.map((value) => valueInfo(this.nameOf(value), value)),
      output: [...outputs].map(([name, value]) => valueInfo(name, value, new Set())),
    })
  }

  private nameOf(value: Value): string {
    const name = this.names.get(value)
    if (name !== undefined) return name
    const { source } = value
    if (source.kind === 'input')
      throw new OnnxIreError(
        'invalid-model',
        `graph '${this.spec.name}' uses the input '${value.name ?? '?'}' without listing it`,
      )
    if (source.kind === 'node')
      throw new OnnxIreError(
        'invalid-model',
        `${source.operator} '${value.name ?? '?'}' is used outside the body it stands in`,
      )
    const key = source.kind === 'constant' ? constantKey(source.tensor) : undefined
    const shared = key ? this.constants.get(key) : undefined
    if (shared) return this.give(value, shared)
    const given = this.give(value, this.free(value.name ?? this.numbered('const')))
    this.initializers.push(tensorProto(given, source.tensor))
    if (key) this.constants.set(key, given)
    return given
  }

  private reserve(leaf: Value): void {
    if (!this.names.has(leaf)) this.nameOf(leaf)
  }

  private give(value: Value, name: string): string {
    this.names.set(value, name)
    this.taken.add(name)
    return name
  }

  private free(name: string): string {
    return this.taken.has(name) ? this.numbered(name) : name
  }

  private numbered(stem: string): string {
    for (;;) {
      const count = this.counters.get(stem) ?? 0
      this.counters.set(stem, count + 1)
      const name = `${stem}_${count}`
      if (!this.taken.has(name)) return name
    }
  }
}

/** Text equal for nodes that compute the same; undefined where that cannot be told from text. */
function identity(node: Node, input: readonly string[]): string | undefined {
  const attributes = Object.values(node.attributes)
  if (drawsNumbers(node) || attributes.some((value) => typeof value === 'object' && !Array.isArray(value)))
    return undefined
  if (attributes.some((value) => Array.isArray(value) && typeof value[0] === 'object')) return undefined
  // JSON has neither infinities nor -0.
  const exact = (_: string, value: unknown) => (typeof value === 'number' ? exactText(value) : value)
  return JSON.stringify([node.domain, node.operator, node.attributes, input, node.outputs.length], exact)
}

function constantKey(tensor: Tensor): string | undefined {
  return sizeOf(tensor.dims) > 64
    ? undefined
    : JSON.stringify([tensor.dtype, tensor.dims, Array.from(tensor.data as ArrayLike<unknown>, exactText)])
}

const exactText = (value: unknown): string => (Object.is(value, -0) ? '-0' : String(value))

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
