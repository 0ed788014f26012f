import * as ort from 'onnxruntime-node'
import type { TypedArray } from '../../src/graph/index.js'
import type { Tensor, Tensors } from '../../src/index.js'

const options = { logSeverityLevel: 3, intraOpNumThreads: 1 } as const

/** A model as a function of its feeds, in onnxruntime with nothing of ours around it. */
export async function session(bytes: Uint8Array): Promise<{
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
  readonly run: (feeds: Tensors) => Promise<Tensors>
}> {
  const model = await ort.InferenceSession.create(bytes, options)
  return {
    inputNames: model.inputNames,
    outputNames: model.outputNames,
    run: async (feeds) => {
      const given = Object.entries(feeds).map(([name, { dtype, data, dims }]) => [
        name,
        new ort.Tensor(dtype as 'float32', data as Float32Array, dims),
      ])
      const results = await model.run(Object.fromEntries(given))
      return Object.fromEntries(
        Object.entries(results).map(([name, { type, data, dims }]) => [name, { dtype: type, data, dims } as Tensor]),
      )
    },
  }
}

export const run = async (bytes: Uint8Array, feeds: Tensors): Promise<Tensors> => (await session(bytes)).run(feeds)

/** Elements as numbers. */
export const numbers = ({ data }: Tensor): number[] => Array.from(data as TypedArray, Number)

/** The largest difference of elements, relative to the largest element of `b`. */
export function difference(a: Tensor, b: Tensor): number {
  const [x, y] = [numbers(a), numbers(b)]
  if (`${a.dtype}${a.dims}` !== `${b.dtype}${b.dims}`) return Number.POSITIVE_INFINITY
  const scale = y.reduce((most, v) => Math.max(most, Math.abs(v)), 1e-30)
  return x.reduce((most, v, i) => Math.max(most, Math.abs(v - y[i]!) / scale), 0)
}
