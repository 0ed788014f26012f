import * as ort from 'onnxruntime-node'
import { type DType, dtypes } from '../../src/ir/dtype.js'
import { exportGraph } from '../../src/onnx/export/export-graph.js'
import { encode } from '../../src/onnx/proto/encode.js'
import type { Case } from './cases/case.js'
import { type Compile, checkCase as checkWith, graphOf } from './directional.js'
import { type Array64, toFloat64 } from './draw.js'

/** Checks one case on Node's CPU. */
export const checkCase = (case_: Case, { symbolic }: { readonly symbolic: boolean }): Promise<void> =>
  checkWith(case_, { symbolic, compile })

/** Values as a function of inputs, in onnxruntime. Only inputs the values need are fed. */
export const compile: Compile = async (name, x, values) => {
  if (values.length === 0) return async () => []
  const session = await ort.InferenceSession.create(encode('ModelProto', exportGraph(graphOf(name, x, values))), {
    logSeverityLevel: 3,
    intraOpNumThreads: 1,
  })
  return async (feeds) => {
    const results = await session.run(Object.fromEntries(x.map((value, i) => [value.name!, toOrt(feeds[i]!)])))
    return values.map((_, i) => fromOrt(results[`out${i}`]!))
  }
}

function toOrt({ dtype, dims, data }: Array64): ort.Tensor {
  const array = new dtypes[dtype].array!(data.length)
  if (array instanceof BigInt64Array) array.set(Array.from(data, BigInt))
  else (array as Float64Array).set(data)
  return new ort.Tensor(dtype as 'float32', array as Float32Array, dims)
}

const fromOrt = ({ type, dims, data }: ort.Tensor): Array64 => ({
  dtype: type as DType,
  dims,
  data: toFloat64(data as ArrayLike<number | bigint>),
})
