import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { encodeModel, namedTensors, type Tensor } from 'onnx-ire'
import { Random } from 'onnx-ire/data'
import { findTrainable, modelOf } from 'onnx-ire/graph'
import { type Place, type Problem, problemOf, type Read } from './read.js'
import type { Workload } from './workloads.js'

const adamwOptions: Problem['adamw'] = { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 }
const ireOptions: Problem['ire'] = { kappa: 2, gamma: 0.8, interval: 10 }
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
    trained: [...findTrainable(graph, 'weights').keys()],
    batches,
  }
  writeFileSync(join(folder, 'model.onnx'), encodeModel(model))
  writeFileSync(join(folder, 'tensors.bin'), Buffer.concat(chunks))
  writeFileSync(join(folder, 'problem.json'), JSON.stringify(problem))
  return problem
}

/** What `writeProblem` wrote, read on Node; `problemOf` reads it anywhere. */
export function readProblem(folder: string): Read {
  const { buffer, byteOffset, byteLength } = readFileSync(join(folder, 'tensors.bin'))
  return problemOf(
    JSON.parse(readFileSync(join(folder, 'problem.json'), 'utf8')) as Problem,
    buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer,
  )
}
