import { type DType, dtypes } from '../ir/dtype.js'
import type { Tensor } from '../ir/tensor.js'
import { decode } from '../onnx/proto/decode.js'
import { encode } from '../onnx/proto/encode.js'
import { create } from '../onnx/proto/message.js'
import { OnnxIreError } from '../util/errors.js'
import type { InputInfo } from './feeds.js'

/** A host tensor of onnxruntime's JavaScript packages, for Node and for browsers. */
interface OrtTensor {
  readonly type: DType
  readonly dims: readonly number[]
  readonly data: (ArrayBufferView & { readonly length: number }) | readonly string[]
}

/** Converts a tensor of onnxruntime. If the engine has Float16Array, onnxruntime returns one; ours store the bits. */
export function fromOrtTensor({ type, dims, data }: OrtTensor): Tensor {
  if (!ArrayBuffer.isView(data)) return { dtype: type, dims, data }
  const { buffer, byteOffset, length } = data
  return { dtype: type, dims, data: new dtypes[type].array!(buffer, byteOffset, length) }
}

/**
 * Serialized model y = Identity(x) for one type and any shape. It is the smallest model that starts a provider, and it
 * copies tensors to and from memory that only a run can access. Opset 21 is the first whose Identity accepts every
 * type.
 */
export function identityModel(dtype: DType): Uint8Array {
  const valueInfo = (name: string) => {
    const tensorType = create('TensorType', { elemType: dtypes[dtype].onnx })
    return create('ValueInfoProto', { name, type: create('TypeProto', { tensorType }) })
  }
  const graph = create('GraphProto', {
    name: 'identity',
    node: [create('NodeProto', { opType: 'Identity', input: ['x'], output: ['y'] })],
    input: [valueInfo('x')],
    output: [valueInfo('y')],
  })
  const opsetImport = [create('OperatorSetIdProto', { domain: '', version: 21n })]
  return encode('ModelProto', create('ModelProto', { irVersion: 10n, graph, opsetImport }))
}

/** Types of GPU buffers that onnxruntime's JavaScript accepts. */
const bufferTypes: ReadonlySet<DType> = new Set(['float32', 'float16', 'int32', 'int64', 'uint32', 'uint8', 'bool'])

/** Throws `invalid-data` for tensors that onnxruntime's JavaScript cannot store on a WebGPU device. */
export function checkDeviceType(dtype: DType): void {
  if (!bufferTypes.has(dtype))
    throw new OnnxIreError(
      'invalid-data',
      `${dtype} tensors cannot stay on a WebGPU device; it stores ${[...bufferTypes].join(', ')}`,
    )
}

/**
 * Names of a model's outputs: onnxruntime needs their locations before a session exists. Empty if the bytes are not a
 * model, which onnxruntime reports itself.
 */
export function readOutputNames(model: Uint8Array): string[] {
  try {
    return decode('ModelProto', model).graph?.output.map(({ name }) => name ?? '') ?? []
  } catch (error) {
    if (error instanceof OnnxIreError) return []
    throw error
  }
}

/**
 * Whether onnxruntime refused a model because of nodes that would run on the CPU. Its message does not name them: see
 * `nameCpuNodes`.
 */
export const isCpuRefusal = (error: unknown): error is OnnxIreError =>
  error instanceof OnnxIreError && /fallback to CPU EP has been explicitly disabled/.test(error.message)

/** The inputs of a session of onnxruntime. */
interface DeclaredInputs {
  readonly inputMetadata: readonly (
    | { readonly isTensor: true; readonly name: string; readonly type: string }
    | { readonly isTensor: false; readonly name: string }
  )[]
}

/** Names and types of a session's inputs. @throws OnnxIreError `runtime` for an input that is not a tensor */
export const inputsOf = ({ inputMetadata }: DeclaredInputs): InputInfo[] =>
  inputMetadata.map((input) => {
    if (input.isTensor) return { name: input.name, dtype: input.type as DType }
    throw new OnnxIreError(
      'runtime',
      `input '${input.name}' is not a tensor: sequences and maps are not supported as inputs`,
    )
  })
