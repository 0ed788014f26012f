import { readFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { setTimeout } from 'node:timers/promises'
import { adamw, crossEntropy, fromArrays, ire, labelColumn, Trainer, type TrainerOptions } from 'onnx-ire'
import { modelOf } from 'onnx-ire/graph'
import { mlp } from 'onnx-ire/models'
import { mpi, node } from 'onnx-ire/node'

/**
 * One process of a job that another file of this folder measures: `node --import tsx job.ts JSON`. Rank 0 prints the
 * median times of sums over all processes and of training steps, and the mean of the latter, in seconds, and the largest
 * memory of each process.
 */
export interface Task {
  /** Calls for sums of a step; each one gives the lengths of its float32 arrays. */
  readonly calls: readonly (readonly number[])[]
  /** Widths of the hidden layers. */
  readonly hidden: readonly number[]
  readonly batchSize: number
  /** Steps of an epoch. */
  readonly steps: number
  /** Default 1. */
  readonly epochs?: number
  /** Whether IRE with smoothed curvature is around AdamW. */
  readonly enhanced?: boolean
  readonly shardOptimizer?: boolean
  /** Options that send less. */
  readonly sending?: Pick<TrainerOptions, 'gradientCompression' | 'localSteps'>
  /** Seconds that a process waits for another. */
  readonly timeout?: number
}

export interface Measured {
  /** All sums of a step. */
  readonly sums: number
  readonly step: number
  /** Mean time of a step, for steps of different kinds. */
  readonly mean: number
  readonly parameters: number
  /** Largest resident memory of each process, in bytes. */
  readonly peaks: readonly number[]
}

const task = JSON.parse(process.argv[2]!) as Task
const { calls, hidden, batchSize, steps, epochs = 1, timeout = 600, enhanced, shardOptimizer = false, sending } = task
const group = await mpi({ timeout })
const runtime = node({ threads: 1 })
const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1]!

const sums: number[] = []
await measureSums()
const features = 256
const model = modelOf(mlp({ features, hidden, classes: 10 }))
const examples = batchSize * (steps + 2)
const numbers = Float32Array.from({ length: examples * features }, (_, i) => Math.sin(i * i))
const labels = labelColumn(Array.from({ length: examples }, (_, i) => i % 10))
const data = fromArrays({ x: { dims: [examples, features], data: numbers }, labels })
const base = adamw({ lr: 1e-3 })
const trainer = await Trainer.create(model, {
  loss: crossEntropy(),
  optimizer: enhanced ? ire(base, { interval: 4, beta: 0.9 }) : base,
  runtime,
  batchSize,
  group,
  shardOptimizer,
  ...sending,
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
const peaks = new Float64Array(group?.size ?? 1)
peaks[group?.rank ?? 0] = 1024 * Number(/VmHWM:\s*(\d+)/.exec(readFileSync('/proc/self/status', 'latin1'))![1])
await group?.allReduce([peaks])
await measureSums()
const steady = times.slice(2)
const [step, mean] = [median(steady), steady.reduce((sum, time) => sum + time, 0) / steady.length]
const measured: Measured = { sums: group ? median(sums) : 0, step, mean, parameters, peaks: [...peaks] }
if (!group || group.rank === 0) console.log(JSON.stringify(measured))
await trainer.dispose()
await runtime.dispose()

/** Measures the sums of steps without training. A connection may take longer at its start than later. */
async function measureSums(): Promise<void> {
  if (!group) return
  const arrays = calls.map((lengths) => lengths.map((length) => new Float32Array(length)))
  for (let i = 0; i < 9; i++) {
    // As long as a step computes in between.
    await setTimeout(20)
    const start = performance.now()
    for (const each of arrays) await group.allReduce(each)
    if (i > 0) sums.push((performance.now() - start) / 1000)
  }
}
