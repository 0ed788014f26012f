import { isFloat, type TypedArray } from '../../ir/dtype.js'
import type { Tensor } from '../../ir/tensor.js'
import { withBodies } from '../../ir/topology.js'
import type { Graph, Value } from '../../ir/value.js'
import { importGraph } from '../../onnx/import/import-graph.js'
import type { Model } from '../../onnx/model.js'
import { intsAttribute } from '../../onnx/proto/attribute.js'
import { create, edit } from '../../onnx/proto/message.js'
import { resolveParameters } from './stored-values.js'
import { findWeights } from './trainable.js'

/** A weight with the elements of an embedding, stored once more. */
export interface TiedCopy {
  readonly tensor: string
  /** Name of the embedding. */
  readonly embedding: string
  readonly transposed: boolean
}

/**
 * Finds the weights that are copies of an embedding, transposed or not. Models with tied embeddings use one tensor for
 * embedding and last layer; torch.onnx stores the last layer's transpose as a tensor of its own.
 */
export function findTiedCopies(model: Model, graph: Graph): readonly TiedCopy[] {
  const { initializer, node } = model.proto.graph!
  // Tensors of bodies and functions are left as they are.
  const stored = new Set([...initializer.map(({ name }) => name), ...node.flatMap(({ output }) => output)])
  const tables = new Set(
    withBodies(graph.outputs.values()).flatMap(({ operator, inputs }) =>
      operator === 'Gather' ? resolveParameters(inputs[0]) : [],
    ),
  )
  const weights = [...findWeights(graph)].filter((x) => stored.has(x.name) && tensorOf(x).dims.length === 2)
  return weights.flatMap((weight) => {
    if (tables.has(weight)) return []
    for (const table of weights) {
      const order = tables.has(table) ? compare(tensorOf(table), tensorOf(weight)) : undefined
      if (order) return [{ tensor: weight.name!, embedding: table.name!, transposed: order === 'transposed' }]
    }
    return []
  })
}

/**
 * Makes one tensor of each embedding and the last layer that is a copy of it: the layer reads the embedding, through
 * Transpose if the copy is transposed. The function of the model stays the same; training then changes one tensor, as
 * in PyTorch, and the file is smaller by the copy. Copies are listed by `inspectModel`.
 *
 * @example
 * const tied = tieTensors(await readModel('qwen3.onnx'))
 */
export function tieTensors(model: Model): Model {
  const copies = findTiedCopies(model, importGraph(model))
  if (copies.length === 0) return model
  const graph = model.proto.graph!
  const names = new Set(copies.map(({ tensor }) => tensor))
  const isCopy = ({ name = '' }: { readonly name?: string | undefined }) => names.has(name)
  const readers = copies.map(({ tensor, embedding, transposed }) =>
    create('NodeProto', {
      opType: transposed ? 'Transpose' : 'Identity',
      name: `${tensor}/tied`,
      input: [embedding],
      output: [tensor],
      attribute: transposed ? [intsAttribute('perm', [1, 0])] : [],
    }),
  )
  // The embedding may be the output of a Constant node, which has to come first.
  const embeddings = new Set(copies.map(({ embedding }) => embedding))
  const others = graph.node.filter(({ output }) => !names.has(output[0] ?? ''))
  const isFirst = ({ output }: { readonly output: readonly string[] }) => embeddings.has(output[0] ?? '')
  return {
    ...model,
    proto: edit(model.proto, {
      graph: edit(graph, {
        initializer: graph.initializer.filter((each) => !isCopy(each)),
        input: graph.input.filter((each) => !isCopy(each)),
        node: [...others.filter(isFirst), ...readers, ...others.filter((each) => !isFirst(each))],
      }),
    }),
  }
}

/** The tensor of a parameter. */
const tensorOf = ({ source }: Value): Tensor => (source as Extract<Value['source'], { kind: 'parameter' }>).tensor

/** Whether a matrix has the elements of another one, which differ, in the same order or transposed. */
function compare(table: Tensor, weight: Tensor): 'same' | 'transposed' | undefined {
  const [rows, columns] = table.dims as [number, number]
  const [height, width] = weight.dims
  if (table.dtype !== weight.dtype || !isFloat(table.dtype)) return undefined
  const isEqual = (indexOf: (row: number, column: number) => number) => {
    const [a, b] = [table.data as TypedArray, weight.data as TypedArray]
    for (let row = 0; row < rows; row++)
      for (let column = 0; column < columns; column++)
        if (a[row * columns + column] !== b[indexOf(row, column)]) return false
    return a.some((element) => element !== a[0])
  }
  if (height === rows && width === columns && isEqual((row, column) => row * columns + column)) return 'same'
  if (height === columns && width === rows && isEqual((row, column) => column * rows + row)) return 'transposed'
  return undefined
}
