import { encodeModel, OnnxIreError } from 'onnx-ire'
import { Random } from 'onnx-ire/data'
import { constant, input, modelOf, op, parameter, tensor, type Value } from 'onnx-ire/graph'
import { readCsv } from 'onnx-ire/web'
import type { TableChoice } from '../protocol.js'
import { findDelimiter } from './preview.js'

/** Width of the hidden layers. */
const width = 32

/**
 * Creates a network of two hidden layers for the columns of a table. It subtracts their means and divides by their
 * deviations itself, so the exported model takes rows as they are in the file.
 */
export async function createTableModel({ file: csv, label, columns: inputs = ['*'] }: TableChoice): Promise<File> {
  const table = await readCsv(csv, {
    delimiter: await findDelimiter(csv),
    tensors: { row: inputs, labels: { columns: label, as: 'class' } },
    missing: 'skip',
  })
  const { row } = await table.batch(Uint32Array.from({ length: table.length }, (_, i) => i))
  const [rows, columns] = row!.dims as [number, number]
  if (columns === 0) throw new OnnxIreError('invalid-data', `${csv.name} has no column beside '${label}'.`)
  const [mean, deviation] = [new Float32Array(columns), new Float32Array(columns)]
  for (let column = 0; column < columns; column++) {
    const values = Array.from({ length: rows }, (_, i) => Number(row!.data[i * columns + column]))
    mean[column] = values.reduce((sum, value) => sum + value, 0) / rows
    const variance = values.reduce((sum, value) => sum + (value - mean[column]!) ** 2, 0) / rows
    deviation[column] = Math.sqrt(variance) || 1
  }
  const random = new Random(0)
  const parameters = new Map<string, Value>()
  const linear = (name: string, x: Value, from: number, to: number): Value => {
    const weights = random.fill(new Float32Array(from * to), 'normal').map((z) => z * Math.sqrt(2 / from))
    const [weight, bias] = [
      parameter(`${name}.weight`, tensor('float32', [from, to], weights)),
      parameter(`${name}.bias`, tensor('float32', [to], new Float32Array(to))),
    ]
    parameters.set(`${name}.weight`, weight).set(`${name}.bias`, bias)
    return op.Gemm(x, weight, bias)
  }
  const x = input('row', 'float32', ['N', columns])
  const fixed = (values: Float32Array) => constant(tensor('float32', [columns], values))
  const scaled = op.Div(op.Sub(x, fixed(mean)), fixed(deviation))
  const first = op.Relu(linear('hidden0', scaled, columns, width))
  const second = op.Relu(linear('hidden1', first, width, width))
  const scores = linear('head', second, width, table.classes['labels']!.length)
  const graph = { name: 'table', inputs: new Map([['row', x]]), parameters, outputs: new Map([['scores', scores]]) }
  return new File([encodeModel(modelOf(graph)) as Uint8Array<ArrayBuffer>], 'table-network.onnx')
}
