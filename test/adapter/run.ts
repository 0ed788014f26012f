import { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node'
import type { Tensor, Tensors } from '../../src/ir/tensor.js'
import { encodeModel, type Model } from '../../src/onnx/model.js'

/** Runs a model once in onnxruntime as it is. */
export async function runModel(model: Model, feeds: Tensors): Promise<Record<string, Tensor>> {
  const session = await InferenceSession.create(encodeModel(model), { logSeverityLevel: 3 })
  try {
    return await runSession(session, feeds)
  } finally {
    await session.release()
  }
}

async function runSession(session: InferenceSession, feeds: Tensors): Promise<Record<string, Tensor>> {
  const inputs = Object.entries(feeds).map(([name, { dtype, dims, data }]) => [
    name,
    new OrtTensor(dtype as 'float32', data as Float32Array, dims),
  ])
  const outputs = await session.run(Object.fromEntries(inputs))
  return Object.fromEntries(
    Object.entries(outputs).map(([name, { type, dims, data }]) => [
      name,
      { dtype: type, dims, data } as unknown as Tensor,
    ]),
  )
}

/** The largest difference of two lists of numbers, relative to the largest expected number. */
export function differenceOf(found: readonly number[], expected: readonly number[]): number {
  if (found.length !== expected.length) throw new Error(`there are ${found.length} numbers for ${expected.length}`)
  return Math.max(...found.map((value, i) => Math.abs(value - expected[i]!))) / Math.max(...expected.map(Math.abs))
}
