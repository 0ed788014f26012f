import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { encodeModel, modelOf, namedTensors, Random, type Tensor, trainableOf } from 'onnx-ire'
import type { Workload } from './workloads.js'

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
  readonly adamw: typeof adamwOptions
  readonly ire: typeof ireOptions
  /** The initial weights, running statistics included. */
  readonly weights: Readonly<Record<string, Place>>
  /** Names of those that are trained. */
  readonly trained: readonly string[]
  /** Step i takes batch i mod length. */
  readonly batches: readonly Readonly<Record<string, Place>>[]
}

const adamwOptions = { lr: 1e-3, betas: [0.9, 0.999] as const, eps: 1e-8, weightDecay: 0.01 }
const ireOptions = { kappa: 2, gamma: 0.8, interval: 10 }
const distinctBatches = 4

/** Writes model.onnx, tensors.bin and problem.json: the same weights and batches for everyone. */
export function writeProblem(folder: string, name: string, workload: Workload): Problem {
  mkdirSync(folder, { recursive: true })
  const graph = workload.graph()
  const model = modelOf(graph)
  const chunks: Uint8Array[] = []
  let offset = 0
  const place = ({ dtype, dims, data }: Tensor): Place => {
    const { buffer, byteOffset, byteLength } = data as Float32Array
    chunks.push(new Uint8Array(buffer, byteOffset, byteLength))
    offset += byteLength
    return { dtype: dtype as Place['dtype'], dims, offset: offset - byteLength }
  }
  const random = new Random(2)
  const placed = (tensors: Iterable<readonly [string, Tensor]>) =>
    Object.fromEntries([...tensors].map(([key, tensor]) => [key, place(tensor)]))
  // The bytes of 8 first: everything is aligned.
  const batches = Array.from({ length: distinctBatches }, () => {
    const drawn = Object.entries(workload.draw(random))
    return placed(drawn.sort(([, a], [, b]) => Number(b.dtype === 'int64') - Number(a.dtype === 'int64')))
  })
  const problem: Problem = {
    model: name,
    sizes: workload.sizes,
    adamw: adamwOptions,
    ire: ireOptions,
    weights: placed([...namedTensors(model)].filter(([key]) => graph.parameters.has(key))),
    trained: [...trainableOf(graph, 'weights').keys()],
    batches,
  }
  writeFileSync(join(folder, 'model.onnx'), encodeModel(model))
  writeFileSync(join(folder, 'tensors.bin'), Buffer.concat(chunks))
  writeFileSync(join(folder, 'problem.json'), JSON.stringify(problem))
  return problem
}

export interface Read {
  readonly problem: Problem
  readonly tensor: (place: Place) => Tensor & { readonly data: Float32Array | BigInt64Array }
}

export function readProblem(folder: string): Read {
  const problem = JSON.parse(readFileSync(join(folder, 'problem.json'), 'utf8')) as Problem
  const bytes = readFileSync(join(folder, 'tensors.bin'))
  const copied = (offset: number, size: number) =>
    bytes.buffer.slice(bytes.byteOffset + offset, bytes.byteOffset + offset + size) as ArrayBuffer
  return {
    problem,
    tensor({ dtype, dims, offset }) {
      const length = dims.reduce((a, b) => a * b, 1)
      const data =
        dtype === 'int64' ? new BigInt64Array(copied(offset, 8 * length)) : new Float32Array(copied(offset, 4 * length))
      return { dtype, dims, data }
    },
  }
}
