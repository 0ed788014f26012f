import { type DType, dtypes } from '../ir/dtype.js'
import type { TensorData } from '../ir/tensor.js'

/** The dtype that a bare array most likely means: float16, bfloat16, bool and the 4-bit types have to be said. */
export const dtypeOfArray = (data: TensorData): DType | undefined =>
  ArrayBuffer.isView(data) ? byClass.find((dtype) => data instanceof (dtypes[dtype].array ?? Array)) : 'string'

const byClass = (Object.keys(dtypes) as DType[]).filter(
  (d) => !['float16', 'bfloat16', 'bool', 'int4', 'uint4'].includes(d),
)
