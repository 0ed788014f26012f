import { collectTensorProtos, decodeModel, embedExternalData, encodeModel, type Model } from '../../onnx/model.js'
import { checkLocation, externalFiles, isExternal, readExternalRange } from '../../onnx/proto/external-data.js'
import { OnnxIreError } from '../../util/errors.js'
import { addressAt, readBytes, type Source, withSourceName } from './source.js'
import { replaceFile, storage, storageError } from './storage.js'

/** Options of `readModel`. */
export interface ReadModelOptions {
  /**
   * Files with external data, found by their names (or by `webkitRelativePath`), or the folder that contains them.
   * Default: for a URL, the files next to it.
   */
  readonly external?: Iterable<File> | FileSystemDirectoryHandle | undefined
}

/**
 * Loads an ONNX model and its external data into memory.
 * @throws OnnxIreError `io`, `invalid-model`, or `external-data` naming the missing file
 * @example
 * const model = await readModel('models/mobilenet.onnx')       // and models/mobilenet.onnx.data, if it is used
 * const dropped = await readModel(file, { external: files })   // from a drop or an <input type="file" multiple>
 * const stored = await readModel(await storage.read('tuned.onnx'))
 */
export async function readModel(source: Source, options: ReadModelOptions = {}): Promise<Model> {
  const bytes = await readBytes('model', source)
  const model = withSourceName(source, () => decodeModel(bytes))
  const outside = collectTensorProtos(model.proto).filter(isExternal)
  if (outside.length === 0) return model
  const files = new Map<string, Uint8Array>()
  for (const location of new Set(outside.map((tensor) => readExternalRange(tensor).location))) {
    checkLocation(location)
    files.set(location, await externalBytes(source, location, options))
  }
  return { ...model, external: externalFiles(files) }
}

async function externalBytes(source: Source, location: string, { external }: ReadModelOptions): Promise<Uint8Array> {
  const missing = (where: string, cause?: unknown) =>
    new OnnxIreError('external-data', `the model needs its external data file ${JSON.stringify(location)}, ${where}`, {
      cause,
    })
  try {
    if (external && 'getFileHandle' in external) {
      const folders = location.split('/')
      const name = folders.pop()!
      let folder = external
      for (const each of folders) folder = await folder.getDirectoryHandle(each)
      return await readBytes('external data', await folder.getFileHandle(name))
    }
    if (external) {
      const found = findExternal(source, location, [...external])
      if (found) return await readBytes('external data', found)
      throw missing('which is not among the given files')
    }
    if (typeof source === 'string' || source instanceof URL)
      return await readBytes('external data', addressAt(location, new URL(source, globalThis.location?.href)))
  } catch (cause) {
    if (cause instanceof OnnxIreError && cause.code === 'external-data') throw cause
    throw missing(`which cannot be read: ${(cause as Error).message}`, cause)
  }
  throw missing("which is a separate file: provide it with the option 'external'")
}

/** Finds the file at a location: in the folder of a picked model, otherwise by its path, otherwise by its name. */
function findExternal(source: Source, location: string, files: readonly File[]): File | undefined {
  const picked = source instanceof File ? source.webkitRelativePath : ''
  const beside = picked && picked.slice(0, picked.lastIndexOf('/') + 1) + location
  const name = location.split('/').at(-1)
  return (
    files.find(({ webkitRelativePath }) => beside !== '' && webkitRelativePath === beside) ??
    files.find((file) => file.name === location || file.webkitRelativePath.endsWith(`/${location}`)) ??
    files.find((file) => file.name === name)
  )
}

/**
 * Writes a model with its external data embedded, to a path of the origin's private file system or to a file from
 * `showSaveFilePicker`. An existing file is replaced when all bytes are written.
 * @throws OnnxIreError `io`, and `external-data` if the model exceeds 2 GiB
 */
export async function writeModel(model: Model, to: string | FileSystemFileHandle): Promise<void> {
  const bytes = encodeModel(embedExternalData(model))
  if (typeof to === 'string') return storage.write(to, bytes)
  try {
    await replaceFile(to, bytes)
  } catch (cause) {
    throw storageError('write', to.name, cause)
  }
}

/** Offers a model with its external data embedded as a download. Call it in a page; workers cannot download. */
export function downloadModel(model: Model, name: string): void {
  const bytes = encodeModel(embedExternalData(model)) as Uint8Array<ArrayBuffer>
  const address = URL.createObjectURL(new Blob([bytes], { type: 'application/octet-stream' }))
  const link = Object.assign(document.createElement('a'), { href: address, download: name })
  link.click()
  // By then the browser has started the download, which keeps the data alive.
  setTimeout(() => URL.revokeObjectURL(address), 60_000)
}
