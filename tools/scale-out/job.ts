import { readFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { setTimeout } from 'node:timers/promises'
import {
  adamw,
  crossEntropy,
  fromArrays,
  ire,
  labelColumn,
  type ProcessGroup,
  Trainer,
  type TrainerOptions,
} from 'onnx-ire'
import { modelOf } from 'onnx-ire/graph'
import { mlp } from 'onnx-ire/models'
import { mpi, node } from 'onnx-ire/node'

/**
 * One process of a job that another file of this folder measures: `node --import tsx job.ts JSON`. Rank 0 prints the
 * median times of training steps, with and without the sums of the gradients, and of these sums alone, and the mean time
 * of steps, in seconds, and the largest memory of each process.
 */
export interface Task {
  /**
   * Lengths of the gradients. If given, blocks of whole steps, of steps without the sums of the gradients, and of these
   * sums without steps follow each other, so that a change of the machine's load concerns all alike. Otherwise all steps
   * are whole.
   */
  readonly gradients?: readonly number[]
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
  readonly step: number
  /** A step without the sums of the gradients: the processes wait for each other as in a whole one. */
  readonly partialStep: number
  /** The sums of the gradients alone. */
  readonly sums: number
  /** The sum of one number alone. */
  readonly smallSum: number
  /** Mean time of a step, for steps of different kinds. */
  readonly mean: number
  readonly parameters: number
  /** Largest resident memory of each process, in bytes. */
  readonly peaks: readonly number[]
}

/** Steps in a block. The first is not measured: what it finds in caches and links belongs to the block before. */
const blockSteps = 4
/** Times that a block sums the gradients alone. */
const blockSums = 3

const task = JSON.parse(process.argv[2]!) as Task
const {
  gradients,
  hidden,
  batchSize,
  steps,
  epochs = 1,
  timeout = 600,
  enhanced,
  shardOptimizer = false,
  sending,
} = task
const group = await mpi({ timeout })
const runtime = node({ threads: 1 })
const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0

/** Whether the current step sums the gradients. */
let isWhole = true
const features = 256
const model = modelOf(mlp({ features, hidden, classes: 10 }))
const examples = batchSize * (steps + 2)
// All examples are alike, and so are the gradients of all processes: they have the same weights without sums, too.
const numbers = Float32Array.from({ length: examples * features }, (_, i) => Math.sin((i % features) ** 2))
const data = fromArrays({
  x: { dims: [examples, features], data: numbers },
  labels: labelColumn(Array(examples).fill(3)),
})
// Larger steps soon fit such examples, and calculate with numbers near 0.
const base = adamw({ lr: 1e-6 })
const trainer = await Trainer.create(model, {
  loss: crossEntropy(),
  optimizer: enhanced ? ire(base, { interval: 4, beta: 0.9 }) : base,
  runtime,
  batchSize,
  processGroup: group && leaveOutGradients(group),
  shardOptimizer,
  ...sending,
})
const whole: number[] = []
const partial: number[] = []
const sums: number[] = []
const smallSums: number[] = []
/** Arrays like the gradients. */
const arrays = (gradients ?? []).map((length) => new Float32Array(length))
let count = 0
let last = performance.now()
await trainer.train(data, {
  totalEpochs: epochs,
  onStep: async () => {
    const seconds = (performance.now() - last) / 1000
    const isMeasured = gradients ? count % blockSteps > 0 : count >= 2
    if (isMeasured) (isWhole ? whole : partial).push(seconds)
    // The job is running: main.ts may disturb it.
    if (count === 5 && epochs > 1 && group?.rank === 0) console.log('{}')
    count++
    if (gradients && group && count % blockSteps === 0) {
      if (!isWhole) await measureSums(group)
      isWhole = !isWhole
    }
    last = performance.now()
  },
})
const parameters =
  features * hidden[0]! + hidden.slice(1).reduce((sum, width, i) => sum + width * hidden[i]!, 0) + 10 * hidden.at(-1)!
const peaks = new Float64Array(group?.size ?? 1)
peaks[group?.rank ?? 0] = 1024 * Number(/VmHWM:\s*(\d+)/.exec(readFileSync('/proc/self/status', 'latin1'))![1])
await group?.allReduce([peaks])
const measured: Measured = {
  step: median(whole),
  partialStep: median(partial),
  sums: median(sums),
  smallSum: median(smallSums),
  mean: whole.reduce((sum, time) => sum + time, 0) / whole.length,
  parameters,
  peaks: [...peaks],
}
if (!group || group.rank === 0) console.log(JSON.stringify(measured))
await trainer.dispose()
await runtime.dispose()

/** Returns the group of the trainer, which leaves out the sums of the gradients unless the step is a whole one. */
function leaveOutGradients(group: ProcessGroup): ProcessGroup {
  return {
    rank: group.rank,
    size: group.size,
    allReduce: async (arrays) => {
      const isGradient = arrays.some(({ length }) => length > 1000)
      if (isWhole || !isGradient) await group.allReduce(arrays)
    },
    allToAll: (sent, received) => group.allToAll(sent, received),
    allGather: (own, all) => group.allGather(own, all),
    reduceScatter: (parts) => group.reduceScatter(parts),
    gatherParts: (parts) => group.gatherParts(parts),
    broadcast: (arrays, root) => group.broadcast(arrays, root),
  }
}

async function measureSums(group: ProcessGroup): Promise<void> {
  const measure = async (arrays: readonly Float32Array[]) => {
    const start = performance.now()
    await group.allReduce(arrays)
    return (performance.now() - start) / 1000
  }
  for (let i = 0; i < blockSums; i++) {
    // A link rests for as long as during a step.
    await setTimeout(1000 * median(partial))
    // Until all processes are here.
    await measure([new Float32Array(1)])
    smallSums.push(await measure([new Float32Array(1)]))
    sums.push(await measure(arrays))
  }
}
