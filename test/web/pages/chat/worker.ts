import { adamw, perplexity, type Runtime, Trainer } from 'onnx-ire'
import {
  type Adapter,
  adapterOf,
  applyAdapter,
  decodePeft,
  encodeOnnxAdapter,
  encodePeft,
  lora,
} from 'onnx-ire/adapter'
import {
  chatData,
  type LanguageModel,
  nextToken,
  readLanguageModel,
  TextGenerator,
  trainingModel,
} from 'onnx-ire/language'
import { checkpointFolder, type FolderFile, modelFolder, readJsonRows, storage, wasm, webgpu } from 'onnx-ire/web'

/** Order of the page. */
export type Action =
  | { readonly kind: 'open'; readonly files: readonly FolderFile[]; readonly gpu: boolean }
  | { readonly kind: 'teach'; readonly file: File; readonly epochs: number; readonly lr: number }
  | { readonly kind: 'ask'; readonly question: string }
  | { readonly kind: 'take' }

/** Message to the page: text to show, or files to download. */
export interface Report {
  readonly text?: string
  readonly files?: readonly File[]
}

const report = (message: Report) => postMessage(message)
const say = (line: string) => report({ text: `${line}\n` })

/** Folders in the origin's private file system: of the adapter, and of the run that trains it. */
const [adapterFolder, runFolder] = ['support/adapter', 'support/run']

let runtime: Runtime
let chat: LanguageModel
let adapter: Adapter | undefined

async function open(files: readonly FolderFile[], gpu: boolean): Promise<void> {
  await runtime?.dispose()
  runtime = gpu ? await webgpu({ fallback: wasm }) : await wasm()
  chat = await readLanguageModel(await modelFolder(files))
  adapter = await readStoredAdapter()
  say(`${chat.file} on ${runtime.description}${adapter ? ', with the adapter of the last visit' : ''}`)
}

async function teach(file: File, epochs: number, lr: number): Promise<void> {
  const data = chatData(await readJsonRows(file), chat, { length: 512, batchSize: 4 })
  for (const warning of data.report.warnings) say(`warning: ${warning}`)
  const model = trainingModel(lora(chat.model, { r: 16, alpha: 32, taskType: 'CAUSAL_LM' }))
  const trainer = await Trainer.create(model, {
    loss: nextToken(),
    optimizer: adamw({ lr }),
    schedule: { kind: 'cosine', warmup: 2 },
    clipNorm: 1,
    batchSize: 4,
    microBatch: 1,
    recompute: 'blocks',
    metrics: [perplexity()],
    runtime,
  })
  const store = checkpointFolder(runFolder)
  const resumed = await trainer.resume(store)
  if (resumed) say(`resuming from step ${resumed.step}`)
  say(`before: perplexity ${(await trainer.evaluate(data))['perplexity']}`)
  const checkpoints = { store, everySeconds: 60 }
  for await (const { epoch, loss } of trainer.fit(data, { totalEpochs: epochs, checkpoints }))
    say(`pass ${epoch + 1}: loss ${loss.toFixed(3)}`)
  say(`after: perplexity ${(await trainer.evaluate(data))['perplexity']}`)
  adapter = adapterOf(trainer.export())
  await trainer.dispose()
  for (const [name, bytes] of Object.entries(encodePeft(adapter)))
    await storage.write(`${adapterFolder}/${name}`, bytes)
  await storage.remove(runFolder)
}

async function ask(question: string): Promise<void> {
  const models = { base: chat.model, ...(adapter && { tuned: applyAdapter(chat.model, adapter) }) }
  for (const [name, model] of Object.entries(models)) {
    const generator = await TextGenerator.create({ ...chat, model }, runtime)
    report({ text: `${name}: ` })
    for await (const text of generator.generate([{ role: 'user', content: question }], { maxTokens: 40 }))
      report({ text })
    say('')
    await generator.dispose()
  }
}

function take(): void {
  if (!adapter) throw new Error('there is no adapter yet')
  const files = { ...encodePeft(adapter), 'support.onnx_adapter': encodeOnnxAdapter(adapter) }
  report({ files: Object.entries(files).map(([name, bytes]) => new File([new Uint8Array(bytes)], name)) })
}

async function readStoredAdapter(): Promise<Adapter | undefined> {
  const files: Record<string, Uint8Array> = {}
  for (const name of await storage.list(adapterFolder))
    files[name] = new Uint8Array(await (await storage.read(`${adapterFolder}/${name}`)).arrayBuffer())
  return Object.keys(files).length > 0 ? decodePeft(files).adapter : undefined
}

async function act(action: Action): Promise<void> {
  if (action.kind === 'open') return open(action.files, action.gpu)
  if (action.kind === 'teach') return teach(action.file, action.epochs, action.lr)
  if (action.kind === 'ask') return ask(action.question)
  take()
}

/** Actions run one after the other. */
let last = Promise.resolve()
addEventListener('message', ({ data }: MessageEvent<Action>) => {
  last = last.then(() => act(data)).catch((error: Error) => say(`error: ${error.message}`))
})
