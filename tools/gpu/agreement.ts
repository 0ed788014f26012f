import { adamw, crossEntropy, fromArrays, ire, labelColumn, type Runtime, Trainer } from 'onnx-ire'
import { Random } from 'onnx-ire/data'
import { modelOf } from 'onnx-ire/graph'
import { lenet, mlp } from 'onnx-ire/models'
import { cApi, node } from 'onnx-ire/node'

/**
 * The program `agreement.ts cuda|webgpu`: trains on the device and on the CPU, and prints an `AgreementReport` as JSON.
 * A process of its own, because a failing driver can end it.
 */

/** Differences between a training on a device and one on the CPU. */
export interface Agreement {
  readonly model: string
  readonly steps: number
  /** Largest difference of a loss. */
  readonly loss: number
  /** Distance between the parameters at the end, relative to the distance that training moved them. */
  readonly parameters: number
  /** Median duration of a step in ms. */
  readonly cpu: number
  readonly device: number
}

export interface AgreementReport {
  /** Description of the device's runtime. */
  readonly runtime: string
  readonly models: readonly Agreement[]
}

const steps = 50
const batchSize = 32
const classes = 10

const models = {
  'MLP 256-512-512-10': { model: () => mlp({ features: 256, hidden: [512, 512], classes }), dims: [256] },
  LeNet: { model: () => lenet({ classes }), dims: [1, 28, 28] },
}

/** Trains each model for 50 steps of AdamW + IRE on the CPU and on the device, from the same weights and batches. */
async function compareWithCpu(device: Runtime): Promise<Agreement[]> {
  const cpu = node()
  try {
    const results: Agreement[] = []
    for (const [name, { model, dims }] of Object.entries(models)) {
      const expected = await train(cpu, model, dims)
      const actual = await train(device, model, dims)
      results.push({
        model: name,
        steps,
        loss: Math.max(...expected.losses.map((loss, i) => Math.abs(loss - actual.losses[i]!))),
        parameters: relativeDistance(expected.start, expected.parameters, actual.parameters),
        cpu: expected.milliseconds,
        device: actual.milliseconds,
      })
    }
    return results
  } finally {
    await cpu.dispose()
  }
}

type Parameters = Readonly<Record<string, ArrayLike<number>>>

async function train(runtime: Runtime, model: () => ReturnType<typeof mlp>, dims: readonly number[]) {
  const trainer = await Trainer.create(modelOf(model()), {
    loss: crossEntropy(),
    optimizer: ire(adamw({ lr: 1e-3 }), { kappa: 1, gamma: 0.8, interval: 10, warmup: 10 }),
    batchSize,
    runtime,
  })
  const start = Object.fromEntries(
    Object.entries(await trainer.parameters()).map(([name, array]) => [name, array.slice()]),
  )
  const losses: number[] = []
  const durations: number[] = []
  let before = performance.now()
  const onStep = ({ loss }: { loss: number }) => {
    losses.push(loss)
    durations.push(performance.now() - before)
    before = performance.now()
  }
  for await (const _ of trainer.fit(randomExamples(dims), { totalSteps: steps, evaluateEvery: steps, onStep }));
  const parameters = await trainer.parameters()
  await trainer.dispose()
  return { losses, start, parameters, milliseconds: durations.sort((a, b) => a - b)[Math.floor(steps / 2)]! }
}

/** Separable classes: each has a random center. */
function randomExamples(dims: readonly number[]) {
  const count = 5 * batchSize
  const size = dims.reduce((product, n) => product * n, 1)
  const random = new Random(1)
  const centers = Float32Array.from({ length: classes * size }, () => random.normal())
  const labels = Array.from({ length: count }, (_, i) => i % classes)
  const data = Float32Array.from(
    { length: count * size },
    (_, i) => 0.5 * centers[labels[Math.floor(i / size)]! * size + (i % size)]! + random.normal(),
  )
  return fromArrays({ x: { dims: [count, ...dims], data }, labels: labelColumn(labels) })
}

/** Distance between the parameters of both ends, relative to the distance from the start. */
function relativeDistance(start: Parameters, expected: Parameters, actual: Parameters): number {
  let [apart, moved] = [0, 0]
  for (const [name, array] of Object.entries(expected))
    for (let i = 0; i < array.length; i++) {
      apart += (array[i]! - actual[name]![i]!) ** 2
      moved += (array[i]! - start[name]![i]!) ** 2
    }
  return Math.sqrt(apart / moved)
}

const [provider] = process.argv.slice(2)
const runtime = provider === 'cuda' ? cApi({ provider }) : await node({ provider: 'webgpu', fallback: null })
const report: AgreementReport = { runtime: runtime.description, models: await compareWithCpu(runtime) }
await runtime.dispose()
console.log(JSON.stringify(report))
