import type { Tensor } from 'onnx-ire'

/** Where a tensor lies in `tensors.bin`: float32 or int64, row-major, little-endian. */
export interface Place {
  readonly dtype: 'float32' | 'int64'
  readonly dims: readonly number[]
  readonly offset: number
}

/** `problem.json`: what every contender reads. */
export interface Problem {
  readonly model: string
  readonly sizes: Readonly<Record<string, number>>
  readonly adamw: {
    readonly lr: number
    readonly betas: readonly [number, number]
    readonly eps: number
    readonly weightDecay: number
  }
  readonly ire: { readonly kappa: number; readonly gamma: number; readonly interval: number }
  /** The initial weights, running statistics included. */
  readonly weights: Readonly<Record<string, Place>>
  /** Names of those that are trained. */
  readonly trained: readonly string[]
  /** Step i takes batch i mod length. */
  readonly batches: readonly Readonly<Record<string, Place>>[]
}

/** A problem and the tensors in it. */
export interface Read {
  readonly problem: Problem
  readonly tensor: (place: Place) => Tensor & { readonly data: Float32Array | BigInt64Array }
}

/** A problem with the bytes of its `tensors.bin`. */
export const problemOf = (problem: Problem, bytes: ArrayBuffer): Read => ({
  problem,
  tensor({ dtype, dims, offset }) {
    const length = dims.reduce((a, b) => a * b, 1)
    const width = dtype === 'int64' ? 8 : 4
    const own = bytes.slice(offset, offset + width * length)
    return { dtype, dims, data: dtype === 'int64' ? new BigInt64Array(own) : new Float32Array(own) }
  },
})
