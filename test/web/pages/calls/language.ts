import { readLanguageModel } from 'onnx-ire/language'
import { modelFolder, storage } from 'onnx-ire/web'
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
