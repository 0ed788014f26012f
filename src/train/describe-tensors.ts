import { withBodies } from '../ir/topology.js'
import type { Graph, Node, Value } from '../ir/value.js'
import { filterAxesOf } from '../op/facts.js'
import { definitionOf } from '../op/op.js'
import type { HiddenMatrix, TrainedTensor } from '../optim/base-optimizer.js'
import { append } from '../util/append.js'
import { invalidOption } from '../util/check.js'
import { findOrigins, resolveParameters } from './model/stored-values.js'
import { findGroupField, type GroupOptions, layerDepths } from './parameter-groups.js'

/** A weight input of a node. */
interface Reader {
  readonly node: Node
  readonly index: number
}

/**
 * Describes the trained tensors for an optimizer that treats tensors by shape or role. A hidden matrix is a weight that
 * only matrix products and convolutions read, in one layer that is not the last; a group's `matrix` changes that.
 * @param graph the model, with parameters of the same names
 * @throws OnnxIreError `invalid-option` for a group with `matrix: true` and a tensor that is no matrix
 */
export function describeTensors(
  parameters: ReadonlyMap<string, Value>,
  graph: Graph,
  options: GroupOptions,
): Record<string, TrainedTensor> {
  const readers = findReaders(graph)
  const depths = layerDepths(graph)
  return Object.fromEntries(
    [...parameters].map(([name, { shape }]): [string, TrainedTensor] => {
      const dims = shape as readonly number[]
      const own = graph.parameters.get(name)
      const read = (own && readers.get(own)) ?? []
      const choice = findGroupField(name, options, 'matrix')
      const isHidden = read.length > 0 && read.every(isMatrixReader) && depths.get(name) !== 0
      const matrix = (choice ?? isHidden) ? matrixOf(dims, read[0]) : null
      if (choice && !matrix)
        throw invalidOption(
          'groups',
          'matrix',
          true,
          `omitted for '${name}': its shape [${dims.join(', ')}] is no matrix`,
        )
      return [name, { dims, matrix }]
    }),
  )
}

function findReaders(graph: Graph): ReadonlyMap<Value, readonly Reader[]> {
  const readers = new Map<Value, Reader[]>()
  const nodes = withBodies(graph.outputs.values())
  const origins = findOrigins(nodes)
  const passed = new Set(origins.values())
  for (const node of nodes) {
    // A part of a parameter belongs to the node that reads the part.
    if (definitionOf(node.operator).shapeOnly || node.outputs.some((y) => resolveParameters(y, origins).length > 0))
      continue
    for (const [index, x] of node.inputs.entries()) {
      // The readers of a value that Loop or Scan passes to its body are in the body.
      if (x && passed.has(x) && Object.hasOwn(node.attributes, 'body')) continue
      for (const parameter of resolveParameters(x, origins)) append(readers, parameter, { node, index })
    }
  }
  return readers
}

const convolutions = new Set(['Conv', 'ConvTranspose'])

function isMatrixReader({ node: { operator, inputs }, index }: Reader): boolean {
  if (convolutions.has(operator)) return index === 1
  return (operator === 'MatMul' || operator === 'Gemm') && index < 2 && inputs[index]!.shape?.length === 2
}

/** A tensor as [first axis, all others]; null if one of them is 1 or less. */
function matrixOf(dims: readonly number[], reader: Reader | undefined): HiddenMatrix | null {
  const rows = dims[0] ?? 0
  const columns = dims.slice(1).reduce((product, dim) => product * dim, 1)
  if (rows < 2 || columns < 2) return null
  const shape = reader?.node.inputs[reader.index]?.shape
  const axis = reader && shape && filterAxesOf(reader.node, reader.index, shape.length)?.[0]
  const outputs = axis === undefined ? rows : shape?.[axis]
  return { rows, columns, outputs: outputs === rows ? 'rows' : 'columns' }
}
