import { adamw, crossEntropy, type Dataset, decodeModel, ire, type Runtime, Trainer } from 'onnx-ire'
import { wasm, webgpu } from 'onnx-ire/web'
import type { Read } from '../../read.js'
import type { Training } from './main.js'

const runtimes = new Map<string, Promise<Runtime>>()

/** Starts training with the public API of the trainer; backends are 'wasm', 'wasm ire', 'webgpu' and 'webgpu ire'. */
export async function start({ problem, tensor }: Read, backend: string): Promise<Training> {
  const [provider, ...variants] = backend.split(' ')
  const enhanced = variants.includes('ire')
  const gradients = variants.includes('onnxruntime') ? 'onnxruntime' : 'shaders'
  const key = `${provider} ${gradients}`
  if (!runtimes.has(key)) runtimes.set(key, provider === 'webgpu' ? webgpu({ gradients }) : wasm())
  const runtime = await runtimes.get(key)!
  const base = adamw(problem.adamw)
  const model = decodeModel(new Uint8Array(await (await fetch(`${problem.model}/model.onnx`)).arrayBuffer()))
  const size = problem.batches[0]!['labels']!.dims[0]!
  const trainer = await Trainer.create(model, {
    loss: crossEntropy(),
    optimizer: enhanced ? ire(base, problem.ire) : base,
    runtime,
    batchNorm: 'trained',
    batchSize: size,
  })
  const batches = problem.batches.map((batch) =>
    Object.fromEntries(Object.entries(batch).map(([name, location]) => [name, tensor(location)])),
  )
  let next = 0
  const data: Dataset = { length: size, batch: () => batches[next++ % batches.length]! }
  const parameters = Object.values(await trainer.parameters()).reduce((sum, { length }) => sum + length, 0)

  // One call of `fit` runs all steps; `onStep` returns the loss of each and waits for the request of the next.
  let stepDone: (loss: number) => void = () => {}
  let requestStep: () => void = () => {}
  let requested = new Promise<void>((resolve) => {
    requestStep = resolve
  })
  const onStep = async ({ loss }: { loss: number }) => {
    requested = new Promise((resolve) => {
      requestStep = resolve
    })
    stepDone(loss)
    await requested
  }
  let failed: (error: unknown) => void = () => {}
  const all = async () => {
    await requested
    for await (const _ of trainer.fit(data, { totalSteps: 1e9, evaluateEvery: 1e9, onStep }));
  }
  all().catch((error) => failed(error))
  return {
    get about() {
      return runtime.description
    },
    parameters,
    step: () =>
      new Promise((resolve, reject) => {
        stepDone = resolve
        failed = reject
        requestStep()
      }),
  }
}
