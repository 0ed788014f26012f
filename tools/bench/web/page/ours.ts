import { adamw, crossEntropy, type Dataset, decodeModel, ire, Trainer } from 'onnx-ire'
import { wasm, webgpu } from 'onnx-ire/web'
import type { Read } from '../../read.js'
import type { Training } from './main.js'

/** Our side, through the trainer as its users have it; backends are 'wasm' and 'webgpu', with ' ire' behind them or not. */
export async function start({ problem, tensor }: Read, backend: string): Promise<Training> {
  const [provider, enhanced] = backend.split(' ')
  const runtime = provider === 'webgpu' ? await webgpu() : await wasm()
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
    Object.fromEntries(Object.entries(batch).map(([name, place]) => [name, tensor(place)])),
  )
  let next = 0
  const data: Dataset = { length: size, batch: () => batches[next++ % batches.length]! }
  const parameters = Object.values(await trainer.parameters()).reduce((sum, { length }) => sum + length, 0)

  // One fit over all steps that are ever asked for: every step is handed out as it is taken.
  let taken: (loss: number) => void = () => {}
  let wanted: () => void = () => {}
  let asked = new Promise<void>((resolve) => {
    wanted = resolve
  })
  const onStep = async ({ loss }: { loss: number }) => {
    asked = new Promise((resolve) => {
      wanted = resolve
    })
    taken(loss)
    await asked
  }
  let failed: (error: unknown) => void = () => {}
  const all = async () => {
    await asked
    for await (const _ of trainer.fit(data, { totalSteps: 1e9, evaluateEvery: 1e9, onStep }));
  }
  all().catch((error) => failed(error))
  return {
    about: runtime.description,
    parameters,
    step: () =>
      new Promise((resolve, reject) => {
        taken = resolve
        failed = reject
        wanted()
      }),
  }
}
