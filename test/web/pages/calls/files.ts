import { type CheckpointStore, encodeModel, type Model, namedTensors, OnnxIreError } from 'onnx-ire'
import { modelOf } from 'onnx-ire/graph'
import { mlp } from 'onnx-ire/models'
import {
  checkpointFolder,
  downloadModel,
  type ImageFilesOptions,
  type ImageMasksOptions,
  imageFiles,
  imageFolder,
  imageMasks,
  listFiles,
  pixels,
  type ReadModelOptions,
  readCsv,
  readIdx,
  readModel,
  type Source,
  storage,
  writeModel,
} from 'onnx-ire/web'
import { taken } from '../exchange.js'
import { plainOf, plainsOf } from '../tensors.js'

const codeAndMessage = (error: unknown) => {
  const { code, message } = error as OnnxIreError
  return { code, message }
}

/** A file of the exchange as one that was picked, with a path within the picked folder. */
async function file(name: string, path = name): Promise<File> {
  const picked = new File([await taken(name)], path.split('/').at(-1)!)
  Object.defineProperty(picked, 'webkitRelativePath', { value: path.includes('/') ? path : '' })
  return picked
}

const weights = (model: Model) =>
  Object.fromEntries([...namedTensors(model)].map(([name, tensor]) => [name, Array.from(tensor.data as Float32Array)]))

/** Weights of a model with external data from everywhere it may come from, and what is said where they are not. */
export async function models() {
  const load = async (source: Source, options?: ReadModelOptions) =>
    readModel(source, options).then(weights, codeAndMessage)
  const picked = await file('net.onnx')
  await storage.write('models/net.onnx', picked)
  await storage.write('models/weights/n.bin', await file('weights/n.bin'))
  const models = await (await navigator.storage.getDirectory()).getDirectoryHandle('models')
  await writeModel(await readModel('/exchange/net.onnx'), 'models/inside.onnx')
  return {
    address: await load('/exchange/net.onnx'),
    picked: await load(picked, { external: [await file('weights/n.bin')] }),
    folder: await load(await models.getFileHandle('net.onnx'), { external: models }),
    saved: await load(await storage.read('models/inside.onnx')),
    buffer: await load(await (await storage.read('models/inside.onnx')).arrayBuffer()),
    alone: await load(picked),
    others: await load(picked, { external: [picked] }),
    corrupt: await load('/exchange/corrupt.onnx'),
    text: await load(new File(['<!doctype html>'], 'page.onnx')),
    missing: await load('../exchange/nothing.onnx'),
    unreachable: await load('http://127.0.0.1:1/model.onnx'),
    notStored: await storage.read('models/nothing.onnx').catch(codeAndMessage),
  }
}

export async function download(name: string) {
  downloadModel(await readModel('/exchange/net.onnx'), name)
}

export const sameBytes = async (name: string) => {
  const bytes = await taken(name)
  const encoded = encodeModel(await readModel(bytes))
  return encoded.length === bytes.length && encoded.every((byte, i) => byte === bytes[i])
}

/** Saves and replaces checkpoints, and returns the contents of the store. */
export async function checkpoints() {
  await storage.remove('runs')
  const store = checkpointFolder('runs/a', { keep: 2 })
  const before = await store.steps()
  const content = (n: number) => new Uint8Array(1000).fill(n)
  for (const step of [10, 20, 30, 25]) await store.save(step, content(step))
  await storage.write('runs/a/notes.txt', new Blob(['mine']))
  const steps = await store.steps()
  await store.save(25, content(16))
  const again = await store.load(25)
  // A page that ends while it writes leaves an empty file.
  await storage.write('cut-off/checkpoint-00000003.safetensors', content(1))
  await storage.write('cut-off/checkpoint-00000007.safetensors', new Blob())
  // The folder of another run in that of this one.
  await checkpointFolder('cut-off/run').save(9, content(1))
  return {
    before,
    steps,
    cutOff: await checkpointFolder('cut-off').steps(),
    again: [again.length, again[0], again.at(-1)],
    names: await storage.list('runs/a'),
    missing: await store.load(10).catch(codeAndMessage),
    refused: codeAndMessage(
      await Promise.resolve()
        .then(() => checkpointFolder('x', { keep: 0 }))
        .catch((error) => error),
    ),
    folderAsFile: await storage.read('runs/a').catch(codeAndMessage),
  }
}

const unlocks = new Map<string, () => void>()

/** Locks a folder of checkpoints, as `fit` does. */
export async function lockFolder(path: string) {
  try {
    unlocks.set(path, await storeOf(path).lock!())
    return true
  } catch (error) {
    return codeAndMessage(error)
  }
}
export const unlockFolder = (path: string) => unlocks.get(path)!()

const stores = new Map<string, CheckpointStore>()
function storeOf(path: string): CheckpointStore {
  if (!stores.has(path)) stores.set(path, checkpointFolder(path))
  return stores.get(path)!
}

/** Saves a checkpoint, and returns the steps in the store. */
export async function saveStep(path: string, step: number) {
  const store = storeOf(path)
  try {
    await store.save(step, new Uint8Array(10))
    return await store.steps()
  } catch (error) {
    return codeAndMessage(error)
  }
}

export async function clearStorage() {
  const root = await navigator.storage.getDirectory()
  for await (const name of root.keys()) await root.removeEntry(name, { recursive: true })
}

/** Writes more than the storage can hold, in every way. */
export async function fillStorage() {
  const large = new Uint8Array(8 * 2 ** 20)
  await storage.write('full/small.bin', new Uint8Array(2 ** 20))
  const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle('full')
  const model = modelOf(mlp({ features: 2048, hidden: [1024], classes: 2 }))
  const store = checkpointFolder('full-run')
  const errors = {
    write: await storage.write('full/large.bin', large).catch(codeAndMessage),
    replace: await storage.write('full/small.bin', large).catch(codeAndMessage),
    model: await writeModel(model, await folder.getFileHandle('small.bin')).catch(codeAndMessage),
    checkpoint: await store.save(1, large).catch(codeAndMessage),
  }
  const kept = (await storage.read('full/small.bin')).size
  return { ...errors, kept, names: await storage.list('full'), steps: await store.steps() }
}

export const idx = async (name: string) => readIdx(`/exchange/${name}`).then(plainOf, codeAndMessage)

export async function csv(name: string, options: Parameters<typeof readCsv>[1]) {
  try {
    const data = await readCsv(await file(name), options)
    const indices = Array.from({ length: data.length! }, (_, i) => i)
    return { tensors: plainsOf(await data.batch(indices)), classes: data.classes }
  } catch (error) {
    if (error instanceof OnnxIreError) return codeAndMessage(error)
    throw error
  }
}

/** Reads a folder as picked files and as a directory handle, to compare the results. */
export async function pictures(names: readonly string[], image: ImageFilesOptions['image']) {
  try {
    const picked = await Promise.all(names.map((name) => file(name, `pictures/${name}`)))
    await storage.remove('pictures')
    for (const name of names) await storage.write(`pictures/${name}`, await file(name))
    const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle('pictures')
    const [first, second] = [imageFolder(picked, { image }), imageFolder(await listFiles(folder), { image })]
    const indices = first.files.map((_, i) => i)
    return {
      classes: first.classes,
      files: first.files,
      tensors: plainsOf(await first.batch(indices)),
      stored: [second.classes, second.files, plainsOf(await second.batch(indices))],
    }
  } catch (error) {
    return codeAndMessage(error)
  }
}

/** Reads images and masks of the same names as picked files. */
export async function masks(names: readonly string[], options: ImageMasksOptions) {
  const folder = (of: string) => Promise.all(names.map((name) => file(`${of}/${name}`, `${of}/${name}`)))
  const data = imageMasks(await folder('photos'), await folder('masks'), options)
  try {
    return { files: data.files, tensors: plainsOf(await data.batch(names.map((_, i) => i))) }
  } catch (error) {
    return codeAndMessage(error)
  }
}

export async function picture(name: string, image: ImageFilesOptions['image']) {
  try {
    return plainsOf(await imageFiles([await file(name)], { image }).batch([0]))
  } catch (error) {
    return codeAndMessage(error)
  }
}

/** Pixels of a canvas drawing. */
export async function drawn() {
  const canvas = new OffscreenCanvas(2, 1)
  const context = canvas.getContext('2d')!
  context.fillStyle = '#ff0080'
  context.fillRect(0, 0, 1, 1)
  return [
    plainOf(await pixels(canvas)),
    plainOf(await pixels(canvas, { channels: 4 })),
    plainOf(await pixels(canvas, { background: 255 })),
  ]
}
