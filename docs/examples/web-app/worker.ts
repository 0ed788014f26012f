/** Trains and classifies, in a worker because WebAssembly blocks the thread that calls it. */
import { accuracy, adamw, addUsage, crossEntropy, encodeModel, type Model, predict, split, Trainer } from 'onnx-ire'
import { modelOf } from 'onnx-ire/graph'
import { lenet } from 'onnx-ire/models'
import { type FolderFile, imageFiles, imageFolder, wasm, webgpu } from 'onnx-ire/web'
import { drawShapes } from './draw-shapes'

/** An action of the user. */
export type Action =
  | { readonly kind: 'train'; readonly photos: readonly FolderFile[]; readonly gpu: boolean }
  | { readonly kind: 'stop' }
  | { readonly kind: 'classify'; readonly file: File }

/** A message to the page: text to show, and the tuned model when there is one. */
export interface Report {
  readonly text: string
  readonly model?: Uint8Array
  /** Whether training has ended. */
  readonly ended?: boolean
}

const report = (message: Report) => postMessage(message)

const epochs = 10
/** Conversion of an image to the input of LeNet. */
const image = { size: 28, channels: 1, mean: 0.5, std: 0.5 } as const

let tuned: { readonly model: Model; readonly classes: readonly string[] } | undefined
let training: AbortController | undefined

async function train(photos: readonly FolderFile[], gpu: boolean): Promise<void> {
  training = new AbortController()
  const { signal } = training
  const runtime = gpu ? await webgpu({ fallback: wasm }) : await wasm()
  report({ text: runtime.description })
  const all = imageFolder(photos.length > 0 ? photos : await drawShapes(40), { image, input: 'x' })
  const { train: data, validation } = split(all, { validation: 0.2 })
  // A pretrained model of your own in its place: await readModel('/model.onnx') of 'onnx-ire/web', from public/.
  const trainer = await Trainer.create(modelOf(lenet()), {
    head: { classes: all.classes.length },
    loss: crossEntropy(),
    optimizer: adamw({ lr: 3e-3 }),
    metrics: [accuracy()],
    batchSize: 16,
    runtime,
  })
  for await (const { epoch, loss, validation: held } of trainer.fit(data, { totalEpochs: epochs, validation, signal }))
    report({ text: `epoch ${epoch + 1}: loss ${loss.toFixed(4)}, held-out accuracy ${held?.accuracy?.toFixed(2)}` })
  // The class names and the conversion of images are stored in the file.
  const model = addUsage(trainer.export(), { classes: all.classes, image })
  tuned = { model, classes: all.classes }
  report({ text: 'The model can be tried and downloaded.', model: encodeModel(model), ended: true })
  await trainer.dispose()
  await runtime.dispose()
}

async function classify(file: File): Promise<void> {
  if (!tuned) return report({ text: 'Train first.' })
  const runtime = await wasm()
  for await (const { outputs } of predict(tuned.model, imageFiles([file], { image, input: 'x' }), { runtime })) {
    const logits = [...(Object.values(outputs)[0]!.data as Float32Array)]
    report({ text: `${file.name}: ${tuned.classes[logits.indexOf(Math.max(...logits))]}` })
  }
  await runtime.dispose()
}

addEventListener('message', async ({ data }: MessageEvent<Action>) => {
  try {
    if (data.kind === 'train') await train(data.photos, data.gpu)
    else if (data.kind === 'classify') await classify(data.file)
    else training?.abort()
  } catch (error) {
    report({ text: (error as Error).message, ended: data.kind === 'train' })
  }
})
