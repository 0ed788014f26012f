import { closeSync, mkdirSync, openSync, readFileSync, readSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { encodeModel, namedTensors, type Tensor } from 'onnx-ire'
import { Random } from 'onnx-ire/data'
import { findTrainable, modelOf } from 'onnx-ire/graph'
import { type Problem, problemOf, type Read, type TensorLocation } from './read.js'
import type { Workload } from './workloads.js'

const adamwOptions: Problem['adamw'] = { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 }
const ireOptions: Problem['ire'] = { kappa: 2, gamma: 0.8, interval: 10 }
const distinctBatches = 4

/** Writes model.onnx, tensors.bin and problem.json: the weights and batches that all contenders train on. */
export function writeProblem(folder: string, workload: Workload): Problem {
  mkdirSync(folder, { recursive: true })
  const graph = workload.graph()
  const model = modelOf(graph)
  const file = openSync(join(folder, 'tensors.bin'), 'w')
  let offset = 0
  const store = ({ dtype, dims, data }: Tensor): TensorLocation => {
    const { buffer, byteOffset, byteLength } = data as Float32Array
    writeSync(file, new Uint8Array(buffer, byteOffset, byteLength))
    offset += byteLength
    return { dtype: dtype as TensorLocation['dtype'], dims, offset: offset - byteLength }
  }
  const random = new Random(2)
  const storeAll = (tensors: Iterable<readonly [string, Tensor]>) =>
    Object.fromEntries([...tensors].map(([key, tensor]) => [key, store(tensor)]))
  // Elements of 8 bytes come first, so that every tensor is aligned.
  const batches = Array.from({ length: distinctBatches }, () => {
    const tensors = Object.entries(workload.sample(random))
    return storeAll(tensors.sort(([, a], [, b]) => Number(b.dtype === 'int64') - Number(a.dtype === 'int64')))
  })
  const problem: Problem = {
    model: workload.model,
    sizes: workload.sizes,
    classAxis: workload.classAxis ?? -1,
    adamw: adamwOptions,
    ire: ireOptions,
    weights: storeAll([...namedTensors(model)].filter(([key]) => graph.parameters.has(key))),
    trained: [...findTrainable(graph, 'weights').keys()],
    batches,
  }
  writeFileSync(join(folder, 'model.onnx'), encodeModel(model))
  closeSync(file)
  writeFileSync(join(folder, 'problem.json'), JSON.stringify(problem))
  return problem
}

/** Reads the files of `writeProblem` in Node, a tensor at a time: the whole file would count as memory of training. */
export function readProblem(folder: string): Read {
  const file = openSync(join(folder, 'tensors.bin'), 'r')
  return problemOf(JSON.parse(readFileSync(join(folder, 'problem.json'), 'utf8')) as Problem, (offset, length) => {
    const bytes = new ArrayBuffer(length)
    readSync(file, new Uint8Array(bytes), { position: offset })
    return bytes
  })
}
