import { join } from 'node:path'
import { adamw, crossEntropy, type Dataset, encodeModel, ire, type Program, type Runtime, sam, Trainer } from 'onnx-ire'
import { input, modelOf, op } from 'onnx-ire/graph'
import { readModel } from 'onnx-ire/node'
import type { BenchDevice } from './contenders.js'
import { readProblem } from './problem.js'
import { serve } from './protocol.js'
import { openRuntime } from './runtime.js'

/**
 * The contender of this library, `ours.ts FOLDER THREADS adamw|ire|sam|sam-ire cpu|cuda|webgpu`: training with the public API of the
 * trainer.
 */
const [folder = '', threads = '', kind, device] = process.argv.slice(2)
const runtime = await openRuntime(device as BenchDevice, Number(threads))
// The first model loads onnxruntime in its worker.
const x = input('x', 'float32', [1])
const identity = { name: 'identity', inputs: new Map([['x', x]]), outputs: new Map([['y', op.Identity(x)]]) }
await (await runtime.compile(encodeModel(modelOf(identity)))).release()
const loaded = process.memoryUsage.rss()
const { problem, tensor } = readProblem(folder)
let inRuntime = 0
const time = async <T>(run: () => Promise<T>): Promise<T> => {
  const start = performance.now()
  const outputs = await run()
  inRuntime += (performance.now() - start) / 1000
  return outputs
}
const timed: Runtime = {
  ...runtime,
  async compile(model, hints) {
    const program = await runtime.compile(model, hints)
    return {
      ...program,
      run: (feeds) => time(() => program.run(feeds)),
      ...(program.runInto ? { runInto: (feeds, outputs) => time(() => program.runInto!(feeds, outputs)) } : {}),
    } satisfies Program
  },
}
const base = adamw(problem.adamw)
const optimizer = {
  adamw: () => base,
  ire: () => ire(base, problem.ire),
  sam: () => sam(base),
  'sam-ire': () => ire(sam(base), problem.ire),
}[kind as 'adamw' | 'ire' | 'sam' | 'sam-ire']()
const trainer = await Trainer.create(await readModel(join(folder, 'model.onnx')), {
  loss: crossEntropy({ axis: problem.classAxis }),
  optimizer,
  runtime: timed,
  batchNorm: 'trained',
  batchSize: problem.batches[0]!['labels']!.dims[0]!,
})

/** The batches that all contenders train on. An epoch is one batch, so that shuffling leaves their order unchanged. */
const batches = problem.batches.map((batch) =>
  Object.fromEntries(Object.entries(batch).map(([name, location]) => [name, tensor(location)])),
)
let next = 0
const data: Dataset = {
  length: problem.batches[0]!['labels']!.dims[0]!,
  batch: () => batches[next++ % batches.length]!,
}

const parameters = Object.values(await trainer.parameters()).reduce((sum, { length }) => sum + length, 0)
await serve({ about: runtime.description, loaded, parameters }, async (steps) => {
  const losses: number[] = []
  inRuntime = 0
  const onStep = ({ loss }: { loss: number }) => void losses.push(loss)
  const rounds = trainer.fit(data, { totalSteps: trainer.step + steps, evaluateEvery: Number.MAX_SAFE_INTEGER, onStep })
  for await (const _ of rounds);
  // On a device, programs are those of `runtime.device`.
  return device === 'cpu' ? { losses, inRuntime } : { losses }
})
await trainer.dispose()
await runtime.dispose()
