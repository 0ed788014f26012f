import { dtypes } from '../ir/dtype.js'
import type { Tensor } from '../ir/tensor.js'
import { createInput, listInputs } from '../onnx/import/declarations.js'
import type { Model } from '../onnx/model.js'
import { create, edit, rewrite } from '../onnx/proto/message.js'
import {
  type AttributeProto,
  attributeTypes,
  type GraphProto,
  type NodeProto,
  type TensorProto,
  type ValueInfoProto,
} from '../onnx/proto/schema.js'
import { toTensorProto } from '../onnx/proto/tensor.js'
import { invalidOption } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { getOwn } from '../util/record.js'
import { encodeUtf8 } from '../util/utf8.js'
import type { FeatureStatistics, TableStatistics } from './table-statistics.js'

/** Options of `takeColumns`. */
export interface ColumnOptions {
  /** Outputs that predict scaled targets, with the tensor of the targets: they then are in the units of the column. */
  readonly outputs?: Readonly<Record<string, string>>
}

/**
 * Converts the columns of a table inside a model: it takes one input per column in place of the tensors that were made
 * of them. A column of numbers, or a part of a date such as `sold.year`, is a float64 input [N], NaN if it is missing;
 * a column of categories is a string input [N], '' if it is missing. The conversion is the same as in training, to the
 * last bit. Inputs that have no statistics stay as they are.
 *
 * The new nodes are in standard operators and `LabelEncoder` of ai.onnx.ml, which onnxruntime has in Node, Python and
 * WebAssembly. This library trains the model without them.
 *
 * @param statistics statistics of the training data, `train.statistics` of a CSV file
 * @throws OnnxIreError `invalid-option` for a model that does not read these tensors; `invalid-model` if its operator
 *   set is below 9
 *
 * @example
 * ```ts
 * const tuned = takeColumns(trainer.export(), train.statistics, { outputs: { price: 'targets' } })
 * await writeModel('price.onnx', tuned)
 * ```
 */
export function takeColumns(model: Model, statistics: TableStatistics, { outputs = {} }: ColumnOptions = {}): Model {
  const graph = model.proto.graph!
  const inputs = listInputs(model.proto)
  const tables = inputs.filter(({ name = '' }) => getOwn(statistics, name))
  if (tables.length === 0)
    throw invalidOption(
      'takeColumns',
      'statistics',
      Object.keys(statistics),
      `statistics of an input of the model: ${inputs.map(({ name }) => name).join(', ')}`,
    )
  const nodes = new NodeList(graph)
  for (const info of tables) nodes.addTensor(info, getOwn(statistics, info.name!)!)
  const read = new Set(tables)
  const own = graph.input.filter((info) => !read.has(info))
  const scaled = Object.entries(outputs).map(([output, tensor]) => {
    const targets = getOwn(statistics, tensor)
    if (targets) return [output, Object.values(targets)] as const
    throw invalidOption('takeColumns', `outputs.${output}`, tensor, `one of ${Object.keys(statistics).join(', ')}`)
  })
  const names = new Map(scaled.map(([output, targets]) => [output, nodes.addUnscaled(graph, output, targets)]))
  const changed = edit(graph, {
    input: [...nodes.inputs, ...own],
    initializer: [...graph.initializer, ...nodes.constants],
    node: [...nodes.before, ...renameOutputs(graph.node, names), ...nodes.after],
    valueInfo: graph.valueInfo.filter(({ name = '' }) => !names.has(name)),
  })
  return { ...model, proto: edit(model.proto, { graph: changed, opsetImport: withEncoder(model) }) }
}

/** Gives outputs of nodes other names, also where other nodes and bodies read them. */
const renameOutputs = (nodes: readonly NodeProto[], names: ReadonlyMap<string, string>): readonly NodeProto[] => {
  const rename = (list: readonly string[]) => list.map((name) => names.get(name) ?? name)
  const change = (node: NodeProto) =>
    [...node.input, ...node.output].some((name) => names.has(name))
      ? edit(node, { input: rename(node.input), output: rename(node.output) })
      : node
  return nodes.map((node) => rewrite('NodeProto', node, 'NodeProto', change))
}

/** Adds the operator set of LabelEncoder. */
function withEncoder({ proto }: Model): typeof proto.opsetImport {
  const standard = proto.opsetImport.find(({ domain = '' }) => domain === '' || domain === 'ai.onnx')
  if ((standard?.version ?? 1n) < 9n)
    throw new OnnxIreError(
      'invalid-model',
      `takeColumns: the model has operator set ${standard?.version}, but missing numbers need 9 or newer`,
    )
  const others = proto.opsetImport.filter(({ domain }) => domain !== encoderDomain)
  const given = proto.opsetImport.find(({ domain }) => domain === encoderDomain)?.version ?? 0n
  return [...others, create('OperatorSetIdProto', { domain: encoderDomain, version: given > 2n ? given : 2n })]
}

const encoderDomain = 'ai.onnx.ml'

/** Nodes, constants and inputs that are added to a graph. */
class NodeList {
  readonly before: NodeProto[] = []
  readonly after: NodeProto[] = []
  readonly constants: TensorProto[] = []
  readonly #inputs = new Map<string, { readonly info: ValueInfoProto; readonly dtype: 'float64' | 'string' }>()
  readonly #taken: Set<string>

  constructor({ input, initializer, node }: GraphProto) {
    this.#taken = new Set(node.flatMap(({ output }) => output))
    for (const { name = '' } of [...input, ...initializer]) this.#taken.add(name)
  }

  get inputs(): readonly ValueInfoProto[] {
    return [...this.#inputs.values()].map(({ info }) => info)
  }

  /** Adds the nodes that compute an input of the model from columns. */
  addTensor(info: ValueInfoProto, features: Readonly<Record<string, FeatureStatistics>>): void {
    const name = info.name!
    const { shape, dtype } = createInput(info)
    const isNumbered = Object.keys(features).some((column) => /^\d+$/.test(column))
    if (isNumbered && Object.keys(features).length > 1)
      throw invalidOption(
        'takeColumns',
        'statistics',
        Object.keys(features),
        'statistics of columns with names: give the file a header, because names that are numbers lose their order',
      )
    const rows = shape?.[0] ?? 'N'
    const parts = Object.entries(features).map(([column, each]) =>
      each.categories === undefined
        ? this.#addNumber(this.#input(column, 'float64', rows), each)
        : this.#addCategory(this.#input(column, 'string', rows), each, dtype === 'int64'),
    )
    const joined = parts.length === 1 ? parts[0]! : this.#add('Concat', parts, [integer('axis', 1)])
    const dims = (shape ?? ['N', -1]).slice(1).map((dim) => (typeof dim === 'number' ? BigInt(dim) : -1n))
    // At most one length is left open: the number of rows, unless the width is symbolic.
    const width = dims.includes(-1n) ? [0n, ...dims] : [-1n, ...dims]
    this.#add('Reshape', [joined, this.#constant('int64', [width.length], BigInt64Array.from(width))], [], name)
  }

  /** Adds the nodes that compute an output from a scaled one; returns the new name of the scaled output. */
  addUnscaled({ output, node }: GraphProto, name: string, targets: readonly FeatureStatistics[]): string {
    if (!output.some((each) => each.name === name) || !node.some((each) => each.output.includes(name)))
      throw invalidOption('takeColumns', 'outputs', name, `outputs: ${output.map((each) => each.name).join(', ')}`)
    const scaled = this.#unused(`${name}/scaled`)
    const list = (value: (target: FeatureStatistics) => number) =>
      this.#constant('float64', targets.length === 1 ? [] : [targets.length], Float64Array.from(targets, value))
    const wide = this.#add('Cast', [scaled], [integer('to', dtypes.float64.onnx)], undefined, this.after)
    const product = this.#add('Mul', [wide, list(({ divisor = 1 }) => divisor)], [], undefined, this.after)
    const sum = this.#add('Add', [product, list(({ offset = 0 }) => offset)], [], undefined, this.after)
    this.#add('Cast', [sum], [integer('to', dtypes.float32.onnx)], name, this.after)
    return scaled
  }

  /** A column as an input [N]; tensors that share a column share the input. */
  #input(column: string, dtype: 'float64' | 'string', rows: number | string): string {
    const known = this.#inputs.get(column)
    if (known && known.dtype !== dtype)
      throw invalidOption(
        'takeColumns',
        'statistics',
        column,
        'columns that are either numbers or categories in all tensors',
      )
    const name = known?.info.name ?? this.#unused(column)
    if (!known) this.#inputs.set(column, { info: declare(name, dtype, rows), dtype })
    return name
  }

  /** A number as a column [N, 1] of float32, computed in float64 as in training. */
  #addNumber(column: string, { fill, offset, divisor }: FeatureStatistics): string {
    const scalar = (value: number) => this.#constant('float64', [], Float64Array.of(value))
    let value = column
    if (fill !== undefined) value = this.#add('Where', [this.#add('IsNaN', [value]), scalar(Number(fill)), value])
    if (offset !== undefined) value = this.#add('Sub', [value, scalar(offset)])
    if (divisor !== undefined) value = this.#add('Div', [value, scalar(divisor)])
    return this.#toColumn(this.#add('Cast', [value], [integer('to', dtypes.float32.onnx)]))
  }

  /** A category as its number from 1, or as zeros and a 1. */
  #addCategory(column: string, { categories = [], fill }: FeatureStatistics, isNumber: boolean): string {
    const filled = fill === undefined ? 0 : categories.indexOf(String(fill)) + 1
    const keys = [...categories, ...(filled > 0 ? [''] : [])]
    const numbers = keys.map((_, i) => BigInt(i < categories.length ? i + 1 : filled))
    const encoded = this.#add(
      'LabelEncoder',
      [column],
      [
        create('AttributeProto', {
          name: 'keys_strings',
          type: attributeTypes.strings,
          strings: keys.map((key) => encodeUtf8(key)),
        }),
        create('AttributeProto', { name: 'values_int64s', type: attributeTypes.ints, ints: numbers }),
        integer('default_int64', 0),
      ],
    )
    const number = this.#toColumn(encoded)
    if (isNumber) return number
    const positions = BigInt64Array.from(categories, (_, i) => BigInt(i + 1))
    const equal = this.#add('Equal', [number, this.#constant('int64', [1, categories.length], positions)])
    return this.#add('Cast', [equal], [integer('to', dtypes.float32.onnx)])
  }

  #toColumn(vector: string): string {
    return this.#add('Reshape', [vector, this.#constant('int64', [2], BigInt64Array.of(-1n, 1n))])
  }

  #constant(dtype: Tensor['dtype'], dims: readonly number[], data: Tensor['data']): string {
    const name = this.#unused('columns/constant')
    this.constants.push(toTensorProto(name, { dtype, dims, data } as Tensor))
    return name
  }

  #add(
    opType: string,
    input: readonly string[],
    attribute: readonly AttributeProto[] = [],
    name = this.#unused(`columns/${opType}`),
    list = this.before,
  ): string {
    const domain = opType === 'LabelEncoder' ? encoderDomain : ''
    list.push(
      create('NodeProto', {
        name: this.#unused(`columns/node/${opType}`),
        opType,
        domain,
        input,
        output: [name],
        attribute,
      }),
    )
    return name
  }

  #unused(wanted: string): string {
    let name = wanted
    for (let n = 1; this.#taken.has(name); n++) name = `${wanted}_${n}`
    this.#taken.add(name)
    return name
  }
}

const integer = (name: string, value: number): AttributeProto =>
  create('AttributeProto', { name, type: attributeTypes.int, i: BigInt(value) })

const declare = (name: string, dtype: 'float64' | 'string', rows: number | string): ValueInfoProto => {
  const dim = create('Dimension', typeof rows === 'number' ? { dimValue: BigInt(rows) } : { dimParam: rows })
  const shape = create('TensorShapeProto', { dim: [dim] })
  const tensorType = create('TensorType', { elemType: dtypes[dtype].onnx, shape })
  return create('ValueInfoProto', { name, type: create('TypeProto', { tensorType }) })
}
