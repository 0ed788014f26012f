import type { Tensor } from 'onnx-ire'

/** Location of a tensor in `tensors.bin`: float32 or int64, row-major, little-endian. */
export interface TensorLocation {
  readonly dtype: 'float32' | 'int64'
  readonly dims: readonly number[]
  /** In bytes. */
  readonly offset: number
}

/** Content of `problem.json`, which every contender reads. */
export interface Problem {
  readonly model: string
  readonly sizes: Readonly<Record<string, number>>
  /** Axis of the classes in the logits: 1, or -1 for the last. */
  readonly classAxis: number
  readonly adamw: {
    readonly lr: number
    readonly betas: readonly [number, number]
    readonly eps: number
    readonly weightDecay: number
  }
  readonly ire: { readonly kappa: number; readonly gamma: number; readonly interval: number }
  /** The initial weights, running statistics included. */
  readonly weights: Readonly<Record<string, TensorLocation>>
  /** Names of the trained weights. */
  readonly trained: readonly string[]
  /** Batches of the steps: step i trains on batch i mod length. */
  readonly batches: readonly Readonly<Record<string, TensorLocation>>[]
}

/** A problem and a function to read its tensors. */
export interface Read {
  readonly problem: Problem
  readonly tensor: (location: TensorLocation) => Tensor & { readonly data: Float32Array | BigInt64Array }
}

/** Combines a problem with a function that copies `length` bytes from an offset of its `tensors.bin`. */
export const problemOf = (problem: Problem, read: (offset: number, length: number) => ArrayBuffer): Read => ({
  problem,
  tensor({ dtype, dims, offset }) {
    const length = dims.reduce((a, b) => a * b, 1)
    const width = dtype === 'int64' ? 8 : 4
    const own = read(offset, width * length)
    return { dtype, dims, data: dtype === 'int64' ? new BigInt64Array(own) : new Float32Array(own) }
  },
})
