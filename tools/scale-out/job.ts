import { performance } from 'node:perf_hooks'
import { setTimeout } from 'node:timers/promises'
import { adamw, crossEntropy, fromArrays, labelColumn, Trainer } from 'onnx-ire'
import { modelOf } from 'onnx-ire/graph'
import { mlp } from 'onnx-ire/models'
import { mpi, node } from 'onnx-ire/node'

/**
 * One process of a job that main.ts measures: `node --import tsx job.ts JSON`. Rank 0 prints the median times of sums over all
 * processes and of training steps, in seconds.
 */
export interface Task {
  /** Lengths of float32 arrays that are summed. */
  readonly lengths: readonly number[]
  /** Widths of the hidden layers. */
  readonly hidden: readonly number[]
  readonly batchSize: number
  /** Steps of an epoch. */
  readonly steps: number
  /** Default 1. */
  readonly epochs?: number
  /** Seconds that a process waits for another. */
  readonly timeout?: number
}

export interface Measured {
  readonly sums: readonly number[]
  readonly step: number
  readonly parameters: number
}

const { lengths, hidden, batchSize, steps, epochs = 1, timeout = 600 } = JSON.parse(process.argv[2]!) as Task
const group = await mpi({ timeout })
const runtime = node({ threads: 1 })
const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1]!

const sums: number[] = []
for (const length of group ? lengths : []) {
  const array = new Float32Array(length)
  const times: number[] = []
  for (let i = 0; i < 7; i++) {
    // As long as a step computes in between.
    await setTimeout(20)
    const start = performance.now()
    await group!.allReduce([array])
    times.push((performance.now() - start) / 1000)
  }
  sums.push(median(times.slice(1)))
}

const features = 256
const model = modelOf(mlp({ features, hidden, classes: 10 }))
const examples = batchSize * (steps + 2)
const numbers = Float32Array.from({ length: examples * features }, (_, i) => Math.sin(i * i))
const labels = labelColumn(Array.from({ length: examples }, (_, i) => i % 10))
const data = fromArrays({ x: { dims: [examples, features], data: numbers }, labels })
const trainer = await Trainer.create(model, {
  loss: crossEntropy(),
  optimizer: adamw({ lr: 1e-3 }),
  runtime,
  batchSize,
  group,
})
const times: number[] = []
let last = performance.now()
await trainer.train(data, {
  totalEpochs: epochs,
  onStep: () => {
    const now = performance.now()
    // The job is running: main.ts may disturb it.
    if (times.length === 5 && epochs > 1 && group?.rank === 0) console.log('{}')
    times.push((now - last) / 1000)
    last = now
  },
})
const parameters =
  features * hidden[0]! + hidden.slice(1).reduce((sum, width, i) => sum + width * hidden[i]!, 0) + 10 * hidden.at(-1)!
const measured: Measured = { sums, step: median(times.slice(2)), parameters }
if (!group || group.rank === 0) console.log(JSON.stringify(measured))
await trainer.dispose()
await runtime.dispose()
