import { dtypes } from '../../ir/dtype.js'
import type { Tensor } from '../../ir/tensor.js'
import { dependenciesOf, topological } from '../../ir/topology.js'
import type { Body, Node, Scope, TensorType, Value } from '../../ir/value.js'
import { isRandom } from '../../op/facts.js'
import { definitionOf } from '../../op/op.js'
import { OnnxIreError } from '../../util/errors.js'
import { writeAttributes } from '../attributes.js'
import type { Model } from '../model.js'
import { moveToExternalData } from '../proto/external-data.js'
import { create } from '../proto/message.js'
import { minFileBytes } from '../proto/model-file.js'
import type { AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto } from '../proto/schema.js'
import { countRawBytes, fileRangeOf, toTensorProto } from '../proto/tensor.js'
import { attributesKey, ConstantNames, nodeKey } from './cse.js'
import { type Substitutes, simplify } from './simplify.js'

/**
 * A graph to export: the values fed at every run, and the results. Any input, parameter or constant can be listed in
 * `inputs`; parameters and constants that are not listed become initializers.
 */
export interface GraphSpec {
  readonly name: string
  readonly inputs: ReadonlyMap<string, Value>
  readonly outputs: ReadonlyMap<string, Value>
  readonly metadata?: Readonly<Record<string, string>>
}

/**
 * Exports a graph as an ONNX model, with the lowest operator set that has all of its operators (at least 13). Only
 * nodes that the outputs need are written, simplified and without duplicates.
 *
 * @throws OnnxIreError `invalid-model` if the graph uses an input that is not listed, or if names conflict
 *
 * @example
 * ```ts
 * const x = input('x', 'float32', ['N', 4])
 * const proto = exportGraph({ name: 'g', inputs: new Map([['x', x]]), outputs: new Map([['y', op.Relu(x)]]) })
 * ```
 */
export const exportGraph = (spec: GraphSpec): ModelProto => writeModelProto(new GraphWriter(spec, false))

/**
 * As `exportGraph`, but large tensors that are in files of one folder remain there, as external data.
 * @returns the model, and that folder if there is one
 */
export function exportBesideFiles(spec: GraphSpec): { readonly proto: ModelProto; readonly folder?: string } {
  const writer = new GraphWriter(spec, true)
  const proto = writeModelProto(writer)
  return { proto, ...(writer.folder !== undefined && { folder: writer.folder }) }
}

function writeModelProto(writer: GraphWriter): ModelProto {
  const graph = writer.write()
  const versions = new Map(writer.versions)
  // Since operator set 13 axes are inputs. Every onnxruntime since 2020 supports it.
  versions.set('', Math.max(13, versions.get('') ?? 0))
  return create('ModelProto', {
    irVersion: irVersionOf(versions.get('')!),
    producerName: 'onnx-ire',
    graph,
    opsetImport: [...versions].map(([domain, version]) =>
      create('OperatorSetIdProto', { domain, version: BigInt(version) }),
    ),
    metadataProps: Object.entries(writer.spec.metadata ?? {}).map(([key, value]) =>
      create('StringStringEntryProto', { key, value }),
    ),
  })
}

/**
 * Exports a graph that was built with `op` as a model, which can be trained or written to a file.
 *
 * @example
 * ```ts
 * const x = input('x', 'float32', ['N', 4])
 * const w = parameter('w', tensor('float32', [4, 3], new Float32Array(12)))
 * const model = modelOf({ name: 'linear', inputs: new Map([['x', x]]), outputs: new Map([['y', op.MatMul(x, w)]]) })
 * const bytes = encodeModel(model)
 * ```
 */
export const modelOf = (spec: GraphSpec): Model => ({ proto: exportGraph(spec), external: null })

/**
 * The IR version of the ONNX release with this operator set
 * (https://github.com/onnx/onnx/blob/main/docs/Versioning.md).
 */
export const irVersionOf = (opset: number): bigint =>
  opset < 15 ? 7n : opset < 19 ? 8n : opset < 21 ? 9n : opset < 23 ? 10n : opset < 24 ? 11n : 12n

class GraphWriter {
  /** The required versions of the operator sets, by domain. */
  readonly versions = new Map<string, number>()
  readonly spec: GraphSpec
  /** Folder of the tensors that remain in files. */
  folder: string | undefined
  readonly #usesFiles: boolean
  readonly #names = new Map<Value, string>()
  readonly #taken = new Set<string>()
  readonly #nodeNames = new Set<string>()
  readonly #used = new Set<Value>()
  readonly #initializers: TensorProto[] = []
  readonly #constants = new ConstantNames()
  readonly #substitutes: Substitutes = new Map()
  readonly #resolve = (value: Value): Value => this.#substitutes.get(value) ?? value
  readonly #attributes = new Map<string, readonly AttributeProto[]>()
  readonly #counters = new Map<string, number>()

  constructor(spec: GraphSpec, usesFiles: boolean) {
    this.spec = spec
    this.#usesFiles = usesFiles
  }

  write(): GraphProto {
    const { inputs, outputs, name } = this.spec
    for (const [input, value] of inputs) this.#assignName(value, input)
    for (const [output, value] of outputs) {
      if (inputs.has(output) && inputs.get(output) !== value)
        throw new OnnxIreError(
          'invalid-model',
          `graph '${name}' has an input and a different output that are both named '${output}'; rename one of them`,
        )
      // Outputs are named before all other tensors. A parameter or constant keeps its name if that is the output's
      // name.
      if (value.source.kind !== 'node' && value.source.kind !== 'input' && value.name === output)
        this.#reserveName(value)
      this.#taken.add(output)
    }
    const nodes = this.#writeNodes(outputs, undefined)
    const symbols = new Set([...inputs.values()].flatMap(({ shape }) => shape ?? []))
    return create('GraphProto', {
      name,
      node: nodes,
      initializer: this.#initializers,
      input: [...inputs].map(([input, value]) => toValueInfo(input, value)),
      output: [...outputs].map(([output, value]) => toValueInfo(output, value, symbols)),
    })
  }

  /** Writes the nodes of one scope that its outputs need. The outputs get the names of `outputs`. */
  #writeNodes(outputs: ReadonlyMap<string, Value>, scope: Scope | undefined): NodeProto[] {
    const order = this.#selectNodes(outputs, scope)
    if (scope === undefined) this.#reserveParameters(order, outputs)
    const outputNames = new Map<Value, string>()
    for (const [name, output] of outputs) {
      const value = this.#resolve(output)
      if (!outputNames.has(value) && value.source.kind === 'node' && !this.#names.has(value))
        outputNames.set(value, name)
    }
    const written = new Map<string, readonly Value[]>()
    const nodes: NodeProto[] = []
    for (const node of order) {
      const proto = this.#writeNode(node, outputNames, written)
      if (proto) nodes.push(proto)
    }
    for (const [name, value] of outputs) {
      if (this.#nameOf(value) !== name)
        nodes.push(create('NodeProto', { opType: 'Identity', input: [this.#nameOf(value)], output: [name] }))
    }
    return nodes
  }

  /** The simplified nodes of a scope that its outputs need. Marks the values that they read as used. */
  #selectNodes(outputs: ReadonlyMap<string, Value>, scope: Scope | undefined): Node[] {
    const order = simplify(
      topological(outputs.values(), (node) => node.scope === scope),
      this.#substitutes,
    )
    for (const value of outputs.values()) this.#used.add(this.#resolve(value))
    const nodes: Node[] = []
    for (let i = order.length - 1; i >= 0; i--) {
      const node = order[i]!
      if (!node.outputs.some((y) => this.#used.has(y))) continue
      for (const x of dependenciesOf(node)) this.#used.add(this.#resolve(x))
      nodes.push(node)
    }
    return weightsFirst(nodes.reverse(), this.#resolve)
  }

  /** Names the parameters before any node, so that they keep their names. */
  #reserveParameters(order: readonly Node[], outputs: ReadonlyMap<string, Value>): void {
    const reserve = (value: Value) => {
      const leaf = this.#resolve(value)
      if (leaf.source.kind === 'parameter') this.#reserveName(leaf)
    }
    for (const node of order) dependenciesOf(node).forEach(reserve)
    for (const value of outputs.values()) reserve(value)
  }

  #writeNode(
    node: Node,
    outputNames: ReadonlyMap<Value, string>,
    written: Map<string, readonly Value[]>,
  ): NodeProto | undefined {
    const { operator, domain, since } = node
    const input = node.inputs.map((value) => (value ? this.#nameOf(value) : ''))
    this.versions.set(domain, Math.max(since, this.versions.get(domain) ?? 0))
    const text = attributesKey(node)
    const key = nodeKey(node, input, text, this.#resolve)
    const equal = key ? written.get(key) : undefined
    if (equal) {
      for (const [index, value] of node.outputs.entries()) {
        if (this.#names.has(equal[index]!)) this.#names.set(value, this.#names.get(equal[index]!)!)
      }
      // If the equal node omits an optional output that this node needs, this node is written too.
      if (node.outputs.every((value) => !this.#used.has(value) || this.#names.has(value))) return undefined
    }
    const output = node.outputs.map((value, index) => {
      if (!this.#used.has(value) && definitionOf(operator).outputs[index]?.endsWith('?')) return ''
      return this.#assignName(
        value,
        outputNames.get(value) ?? this.#uniqueName(value.name ?? this.#numberedName(operator)),
      )
    })
    while (output.at(-1) === '') output.pop()
    if (key) written.set(key, node.outputs)
    return create('NodeProto', {
      opType: operator,
      domain: domain || undefined,
      name: this.#uniqueNodeName(node),
      input,
      output,
      attribute: this.#writeAttributes(node, text),
    })
  }

  /** Writes the attributes of a node. Equal attributes of an operator share a message. */
  #writeAttributes(node: Node, text: string | undefined): readonly AttributeProto[] {
    const key = text === undefined ? undefined : `${node.operator}${text}`
    const known = key === undefined ? undefined : this.#attributes.get(key)
    if (known) return known
    const protos = writeAttributes(node, (body) => this.#writeBody(body))
    if (key !== undefined) this.#attributes.set(key, protos)
    return protos
  }

  /**
   * The name of a node, unless another node has it: onnxruntime rejects duplicates, and names of nodes are optional.
   */
  #uniqueNodeName({ name }: Node): string | undefined {
    if (name === undefined || this.#nodeNames.has(name)) return undefined
    this.#nodeNames.add(name)
    return name
  }

  #writeBody(body: Body): GraphProto {
    for (const value of body.inputs)
      this.#assignName(value, this.#uniqueName(value.name ?? this.#numberedName('input')))
    const outputs = new Map(
      body.outputs.map((value) => {
        const name = this.#uniqueName(value.name ?? this.#numberedName('output'))
        this.#taken.add(name)
        return [name, value]
      }),
    )
    const node = this.#writeNodes(outputs, body.scope)
    return create('GraphProto', {
      name: this.#numberedName('body'),
      node,
      input: body.inputs.map((value) => toValueInfo(this.#nameOf(value), value)),
      output: [...outputs].map(([name, value]) => toValueInfo(name, value, new Set())),
    })
  }

  #nameOf(original: Value): string {
    const value = this.#resolve(original)
    const name = this.#names.get(value)
    if (name !== undefined) return name
    const { source } = value
    if (source.kind === 'input')
      throw new OnnxIreError(
        'invalid-model',
        `graph '${this.spec.name}' uses the input '${value.name ?? '?'}', which its inputs do not list`,
      )
    if (source.kind === 'node')
      throw new OnnxIreError(
        'invalid-model',
        `${source.operator} '${value.name ?? '?'}' is used outside the body that contains it`,
      )
    const { tensor } = source
    const write = () => {
      const given = this.#uniqueName(value.name ?? this.#numberedName('const'))
      this.#taken.add(given)
      this.#initializers.push(this.#referToFile(given, tensor) ?? toTensorProto(given, tensor))
      return given
    }
    return this.#assignName(value, source.kind === 'constant' ? this.#constants.nameOf(tensor, write) : write())
  }

  /** A reference to the file with the elements of a large tensor. */
  #referToFile(name: string, tensor: Tensor): TensorProto | undefined {
    const { dtype, dims } = tensor
    if (!this.#usesFiles || countRawBytes(dtype, dims) < minFileBytes) return undefined
    const range = fileRangeOf(tensor)
    if (!range || (this.folder ?? range.folder) !== range.folder) return undefined
    this.folder = range.folder
    const proto = create('TensorProto', { name, dims: dims.map(BigInt), dataType: dtypes[dtype].onnx })
    return moveToExternalData(proto, range)
  }

  #reserveName(leaf: Value): void {
    if (!this.#names.has(leaf)) this.#nameOf(leaf)
  }

  #assignName(value: Value, name: string): string {
    this.#names.set(value, name)
    this.#taken.add(name)
    return name
  }

  #uniqueName(name: string): string {
    return this.#taken.has(name) ? this.#numberedName(name) : name
  }

  #numberedName(stem: string): string {
    for (;;) {
      const count = this.#counters.get(stem) ?? 0
      this.#counters.set(stem, count + 1)
      const name = `${stem}_${count}`
      if (!this.#taken.has(name)) return name
    }
  }
}

/**
 * Moves nodes that depend on parameters and constants only to the front. onnxruntime runs depth first from the outputs,
 * of several operands first the one that is written last. A weight that is transposed or dequantized for a gradient
 * would otherwise be computed before the whole chain of gradients that it is multiplied with, and so would the weights
 * of all other layers.
 */
function weightsFirst(nodes: readonly Node[], resolve: (value: Value) => Value): Node[] {
  const weights = new Set<unknown>()
  const isWeight = (x: Value) => {
    const { source } = resolve(x)
    return source.kind === 'node' ? weights.has(source) : source.kind !== 'input'
  }
  for (const node of nodes) if (!isRandom(node) && dependenciesOf(node).every(isWeight)) weights.add(node)
  return [...nodes.filter((node) => weights.has(node)), ...nodes.filter((node) => !weights.has(node))]
}

/** The declaration of a graph input or output. Symbols are written for outputs only if an input has them too. */
function toValueInfo(name: string, type: TensorType, symbols?: ReadonlySet<string | number>): ValueInfoProto {
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
