import { dtypes, isFloat } from '../../ir/dtype.js'
import { irVersionOf, modelOf } from '../../onnx/export/export-graph.js'
import { createInput, listInputs } from '../../onnx/import/declarations.js'
import { importGraph } from '../../onnx/import/import-graph.js'
import { checkModel, type Model } from '../../onnx/model.js'
import { intAttribute, intsAttribute, stringsAttribute } from '../../onnx/proto/attribute.js'
import { create, edit, rewrite } from '../../onnx/proto/message.js'
import type { AttributeProto, GraphProto, NodeProto, ValueInfoProto } from '../../onnx/proto/schema.js'
import { checkArguments, invalidOption } from '../../util/check.js'
import { OnnxIreError, prefixError } from '../../util/errors.js'
import { getOwn } from '../../util/record.js'
import type { DatePart } from '../formats/date.js'
import type { FeatureStatistics, TableStatistics } from '../table-statistics.js'
import { DateNodes, dateOperatorSet } from './date-nodes.js'
import { encoderDomain, NodeList } from './node-list.js'

/** Options of `takeColumns`. */
export interface ColumnOptions {
  /** Outputs that predict scaled targets, with the tensor of the targets: they then are in the units of the column. */
  readonly outputs?: Readonly<Record<string, string>>
}

/**
 * Converts the columns of a table inside a model: it takes one input per column in place of the tensors that were made
 * of them. A column of numbers is a float64 input [N], NaN if it is missing. A column of categories or dates is a
 * string input [N], '' if it is missing. Dates have the forms that `readCsv` reads; the model fails on other texts. The
 * conversion is the same as in training, to the last bit. Inputs that have no statistics stay as they are.
 *
 * The new nodes are in standard operators and `LabelEncoder` of ai.onnx.ml, which onnxruntime has in Node, Python and
 * WebAssembly. Dates need operator set 20: an older model is written in it. This library trains the model without them.
 *
 * @param statistics statistics of the training data, `train.statistics` of a CSV file
 * @throws OnnxIreError `invalid-option` for a model that does not read these tensors; `invalid-model` if its operator
 *   set is below 9; `unsupported-operator` for dates in a model of an operator set below 20 that cannot be imported
 *
 * @example
 * ```ts
 * const tuned = takeColumns(trainer.export(), train.statistics, { outputs: { price: 'targets' } })
 * await writeModel('price.onnx', tuned)
 * ```
 */
export function takeColumns(model: Model, statistics: TableStatistics, { outputs = {} }: ColumnOptions = {}): Model {
  checkArguments('takeColumns(model, statistics)', { statistics })
  checkModel(model)
  const found = listInputs(model.proto).map(({ name = '' }) => getOwn(statistics, name))
  const features = found.filter((each) => each !== undefined)
  const hasDates = features.some((each) => Object.values(each).some(({ part }) => part !== undefined))
  const base = hasDates ? upgrade(model) : model
  const graph = base.proto.graph!
  const inputs = listInputs(base.proto)
  const tables = inputs.filter(({ name = '' }) => getOwn(statistics, name))
  if (tables.length === 0)
    throw invalidOption(
      'takeColumns',
      'statistics',
      Object.keys(statistics),
      `statistics of an input of the model: ${inputs.map(({ name }) => name).join(', ')}`,
    )
  const nodes = new ColumnNodes(graph, listColumns(features))
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
  return { ...base, proto: edit(base.proto, { graph: changed, opsetImport: withEncoder(base) }) }
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

const operatorSet = ({ proto }: Model): bigint =>
  proto.opsetImport.find(({ domain = '' }) => domain === '' || domain === 'ai.onnx')?.version ?? 1n

/** The model in the operator set that dates need. Written by this library, its nodes have the newest form. */
function upgrade(model: Model): Model {
  const version = operatorSet(model)
  if (version >= dateOperatorSet) return model
  try {
    const { name, inputs, outputs, metadata = {} } = importGraph(model)
    const { proto } = modelOf({ name, inputs, outputs, metadata })
    const written = proto.opsetImport.find(({ domain = '' }) => domain === '')!
    const newest = edit(written, { version: BigInt(Math.max(dateOperatorSet, Number(written.version))) })
    const opsetImport = proto.opsetImport.map((each) => (each === written ? newest : each))
    return { proto: edit(proto, { irVersion: irVersionOf(Number(newest.version)), opsetImport }), external: null }
  } catch (cause) {
    throw prefixError(cause, `takeColumns: dates need operator set ${dateOperatorSet}, the model has ${version}`)
  }
}

/** Adds the operator set of LabelEncoder. */
function withEncoder(model: Model): Model['proto']['opsetImport'] {
  const version = operatorSet(model)
  if (version < 9n)
    throw new OnnxIreError(
      'invalid-model',
      `takeColumns: the model has operator set ${version}, but missing numbers need 9 or newer`,
    )
  const { opsetImport } = model.proto
  const others = opsetImport.filter(({ domain }) => domain !== encoderDomain)
  const given = opsetImport.find(({ domain }) => domain === encoderDomain)?.version ?? 0n
  return [...others, create('OperatorSetIdProto', { domain: encoderDomain, version: given > 2n ? given : 2n })]
}

/**
 * Lists the columns of the features of a table, with the type of their inputs, in the order of the inputs.
 * @throws OnnxIreError `invalid-option` for a column that is a number in one tensor and a text in another
 */
export function listColumns(
  tensors: readonly Readonly<Record<string, FeatureStatistics>>[],
): ReadonlyMap<string, 'float64' | 'string'> {
  const columns = new Map<string, 'float64' | 'string'>()
  for (const [feature, statistics] of tensors.flatMap((features) => Object.entries(features))) {
    const column = columnOf(feature, statistics)
    const dtype = statistics.part === undefined && statistics.categories === undefined ? 'float64' : 'string'
    if ((columns.get(column) ?? dtype) !== dtype)
      throw invalidOption(
        'takeColumns',
        'statistics',
        column,
        'columns that are either numbers, or dates and categories, in all tensors',
      )
    columns.set(column, dtype)
  }
  return columns
}

const columnOf = (feature: string, { part }: FeatureStatistics): string =>
  part === undefined ? feature : feature.slice(0, -1 - part.length)

/** Nodes, constants and inputs of columns. */
class ColumnNodes extends NodeList {
  readonly #types: ReadonlyMap<string, 'float64' | 'string'>
  readonly #inputs = new Map<string, ValueInfoProto>()
  readonly #dates = new Map<string, DateNodes>()

  /** @param types the columns with the types of their inputs */
  constructor(graph: GraphProto, types: ReadonlyMap<string, 'float64' | 'string'>) {
    super(graph)
    this.#types = types
  }

  get inputs(): readonly ValueInfoProto[] {
    return [...this.#inputs.values()]
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
    const parts = Object.entries(features).map(([feature, each]) => {
      const value = this.#input(columnOf(feature, each), rows)
      if (each.categories) return this.#addCategory(value, each, !isFloat(dtype))
      return each.part === undefined ? this.#addNumber(value, each) : this.#addDatePart(value, each, each.part)
    })
    const joined = parts.length === 1 ? parts[0]! : this.add('Concat', parts, [intAttribute('axis', 1)])
    const isOther = dtype !== 'float32' && dtype !== 'int64'
    const converted = isOther ? this.add('Cast', [joined], [intAttribute('to', dtypes[dtype].onnx)]) : joined
    const dims = (shape ?? ['N', -1]).slice(1).map((dim) => (typeof dim === 'number' ? BigInt(dim) : -1n))
    // At most one length is left open: the number of rows, unless the width is symbolic.
    const width = dims.includes(-1n) ? [0n, ...dims] : [-1n, ...dims]
    this.add('Reshape', [converted, this.constant('int64', [width.length], BigInt64Array.from(width))], [], [name])
  }

  /** Adds the nodes that compute an output from a scaled one; returns the new name of the scaled output. */
  addUnscaled({ output, node }: GraphProto, name: string, targets: readonly FeatureStatistics[]): string {
    if (!output.some((each) => each.name === name) || !node.some((each) => each.output.includes(name)))
      throw invalidOption('takeColumns', 'outputs', name, `outputs: ${output.map((each) => each.name).join(', ')}`)
    const dtype = output.find((each) => each.name === name)!.type?.tensorType?.elemType || dtypes.float32.onnx
    const scaled = this.unused(`${name}/scaled`)
    const list = (value: (target: FeatureStatistics) => number) =>
      this.constant('float64', targets.length === 1 ? [] : [targets.length], Float64Array.from(targets, value))
    const add = (opType: string, input: readonly string[], attribute = noAttributes, result?: readonly string[]) =>
      this.add(opType, input, attribute, result, this.after)
    const wide = add('Cast', [scaled], [intAttribute('to', dtypes.float64.onnx)])
    const product = add('Mul', [wide, list(({ divisor = 1 }) => divisor)])
    const sum = add('Add', [product, list(({ offset = 0 }) => offset)])
    add('Cast', [sum], [intAttribute('to', dtype)], [name])
    return scaled
  }

  /** A column as an input [N]; tensors that share a column share the input. */
  #input(column: string, rows: number | string): string {
    const info = this.#inputs.get(column) ?? declare(this.unused(column), this.#types.get(column)!, rows)
    this.#inputs.set(column, info)
    return info.name!
  }

  /** A number as a column [N, 1] of float32, computed in float64 as in training. */
  #addNumber(column: string, statistics: FeatureStatistics): string {
    const { fill } = statistics
    const filled = fill === undefined ? column : this.#fill(this.add('IsNaN', [column]), fill, column)
    return this.#scale(filled, statistics)
  }

  #addDatePart(column: string, statistics: FeatureStatistics, part: DatePart): string {
    const { fill } = statistics
    const key = `${column}/${fill !== undefined}`
    const dates = this.#dates.get(key) ?? new DateNodes(this, column, fill !== undefined)
    this.#dates.set(key, dates)
    const value = dates.part(part)
    return this.#scale(fill === undefined ? value : this.#fill(dates.isMissing, fill, value), statistics)
  }

  #fill(isMissing: string, fill: number | string, value: string): string {
    return this.add('Where', [isMissing, this.#scalar(Number(fill)), value])
  }

  #scalar(value: number): string {
    return this.constant('float64', [], Float64Array.of(value))
  }

  #scale(value: string, { offset, divisor }: FeatureStatistics): string {
    const shifted = offset === undefined ? value : this.add('Sub', [value, this.#scalar(offset)])
    const scaled = divisor === undefined ? shifted : this.add('Div', [shifted, this.#scalar(divisor)])
    return this.#toColumn(this.add('Cast', [scaled], [intAttribute('to', dtypes.float32.onnx)]))
  }

  /** A category as its number from 1, or as zeros and a 1. */
  #addCategory(column: string, { categories = [], fill }: FeatureStatistics, isNumber: boolean): string {
    const filled = fill === undefined ? 0 : categories.indexOf(String(fill)) + 1
    const keys = [...categories, ...(filled > 0 ? [''] : [])]
    const numbers = keys.map((_, i) => (i < categories.length ? i + 1 : filled))
    const encoded = this.add(
      'LabelEncoder',
      [column],
      [
        stringsAttribute('keys_strings', keys),
        intsAttribute('values_int64s', numbers),
        intAttribute('default_int64', 0),
      ],
    )
    const number = this.#toColumn(encoded)
    if (isNumber) return number
    const positions = BigInt64Array.from(categories, (_, i) => BigInt(i + 1))
    const equal = this.add('Equal', [number, this.constant('int64', [1, categories.length], positions)])
    return this.add('Cast', [equal], [intAttribute('to', dtypes.float32.onnx)])
  }

  #toColumn(vector: string): string {
    return this.add('Reshape', [vector, this.constant('int64', [2], BigInt64Array.of(-1n, 1n))])
  }
}

const noAttributes: readonly AttributeProto[] = []

const declare = (name: string, dtype: 'float64' | 'string', rows: number | string): ValueInfoProto => {
  const dim = create('Dimension', typeof rows === 'number' ? { dimValue: BigInt(rows) } : { dimParam: rows })
  const shape = create('TensorShapeProto', { dim: [dim] })
  const tensorType = create('TensorType', { elemType: dtypes[dtype].onnx, shape })
  return create('ValueInfoProto', { name, type: create('TypeProto', { tensorType }) })
}
