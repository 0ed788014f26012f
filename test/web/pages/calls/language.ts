import { encodeModel } from 'onnx-ire'
import { type Adapter, adapterFeeds, adapterOf, applyAdapter, lora, makeLoraReady } from 'onnx-ire/adapter'
import { modelOf } from 'onnx-ire/graph'
import { readLanguageModel } from 'onnx-ire/language'
import { mlp } from 'onnx-ire/models'
import { modelFolder, storage } from 'onnx-ire/web'
import * as ort from 'onnxruntime-web/wasm'
import { type ChatTask, teach } from '../chat-task.js'
import { put, taken } from '../exchange.js'
import type { Where } from '../task.js'
import { start } from './training.js'

/** Trains an adapter over a model folder of the exchange, and hands over the adapter's files below `adapter/`. */
export async function teachFrom(where: Where, folder: string, task: ChatTask) {
  const chat = await readLanguageModel(await modelFolder(`/exchange/${folder}/`))
  const { adapter, ...taught } = await teach(chat, await start(where), task)
  for (const [name, bytes] of Object.entries(adapter)) await put(`adapter/${name}`, new Uint8Array(bytes))
  return taught
}

/** Stores files of the exchange in the private file system and reads the language model from there. */
export async function readStored(folder: string, paths: readonly string[]) {
  for (const path of paths) await storage.write(`${folder}/${path}`, await taken(`${folder}/${path}`))
  const root = await navigator.storage.getDirectory()
  const { file, endTokens } = await readLanguageModel(await modelFolder(await root.getDirectoryHandle(folder)))
  return { file, endTokens }
}

/**
 * Swaps two adapters over one session of onnxruntime-web. Returns the outputs of the base and of both, and those of
 * models with the adapter beside the weights.
 */
export async function swapAdapters() {
  const runtime = await start('wasm')
  const base = modelOf(mlp({ features: 4, hidden: [8], classes: 3 }))
  const adapters = [2, 5].map((r): Adapter => {
    const { config, layers } = adapterOf(lora(base, { r, alpha: 8, targets: 'all-linear' }))
    const filled = layers.map(({ b, ...layer }) => ({
      ...layer,
      b: { ...b, data: Float32Array.from({ length: b.data.length }, (_, i) => Math.sin(i + r)) },
    }))
    return { config, layers: filled }
  })
  const x = Float32Array.of(1, -2, 3, 0.5)
  const ready = encodeModel(makeLoraReady(base, { optional: false, targets: 'all-linear' }))
  const session = await ort.InferenceSession.create(ready, { executionProviders: ['wasm'] })
  const swapped: number[][] = []
  for (const adapter of [null, ...adapters]) {
    const feeds = adapterFeeds(adapter, session.inputMetadata, ort.Tensor)
    const outputs = await session.run({ x: new ort.Tensor('float32', x, [1, 4]), ...feeds })
    swapped.push([...(outputs[session.outputNames[0]!]!.data as Float32Array)])
  }
  await session.release()
  const beside: number[][] = []
  for (const model of [base, ...adapters.map((adapter) => applyAdapter(base, adapter))]) {
    const program = await runtime.compile(encodeModel(model))
    const outputs = await program.run({ x: { dtype: 'float32', dims: [1, 4], data: x } })
    beside.push([...(Object.values(outputs)[0]!.data as Float32Array)])
    await program.release()
  }
  return { swapped, beside }
}
