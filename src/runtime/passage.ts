import { type DType, dtypes } from '../ir/dtype.js'
import { encode } from '../onnx/proto/encode.js'
import { create } from '../onnx/proto/message.js'

/**
 * y = x of one type and any shape, as ONNX: the least model that starts a provider, and what carries tensors into and out
 * of memory that only a run can reach. Of the first operator set whose Identity takes every type.
 */
export function passage(dtype: DType): Uint8Array {
  const port = (name: string) => {
    const tensorType = create('TensorType', { elemType: dtypes[dtype].onnx })
    return create('ValueInfoProto', { name, type: create('TypeProto', { tensorType }) })
  }
  const graph = create('GraphProto', {
    name: 'passage',
    node: [create('NodeProto', { opType: 'Identity', input: ['x'], output: ['y'] })],
    input: [port('x')],
    output: [port('y')],
  })
  const opsetImport = [create('OperatorSetIdProto', { domain: '', version: 21n })]
  return encode('ModelProto', create('ModelProto', { irVersion: 10n, graph, opsetImport }))
}
