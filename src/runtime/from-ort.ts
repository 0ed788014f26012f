import { type DType, dtypes } from '../ir/dtype.js'
import type { Tensor } from '../ir/tensor.js'

/** A tensor of the host as onnxruntime's JavaScript has it, in Node and in a browser. */
interface OrtTensor {
  readonly type: DType
  readonly dims: readonly number[]
  readonly data: (ArrayBufferView & { readonly length: number }) | readonly string[]
}

/** Where the engine has Float16Array, onnxruntime answers in it: we keep to the bits. */
export function fromOrt({ type, dims, data }: OrtTensor): Tensor {
  if (!ArrayBuffer.isView(data)) return { dtype: type, dims, data }
  const { buffer, byteOffset, length } = data
  return { dtype: type, dims, data: new dtypes[type].array!(buffer, byteOffset, length) }
}
