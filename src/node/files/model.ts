import { createReadStream } from 'node:fs'
import { lstat, readdir, rm, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import {
  checkModel,
  checkModelSize,
  collectTensorProtos,
  decodeModel,
  type Model,
  maxModelBytes,
} from '../../onnx/model.js'
import { type DataPiece, layOutModel } from '../../onnx/model-layout.js'
import { encodeChunks } from '../../onnx/proto/encode.js'
import { isExternal } from '../../onnx/proto/external-data.js'
import { registerModelFile } from '../../onnx/proto/model-file.js'
import { withPath } from '../../util/errors.js'
import { codeOf, commitAll, pathOf, stageFile } from './files.js'
import { FolderData } from './folder-data.js'
import { readModelBytes } from './model-bytes.js'

/**
 * Reads an ONNX model. Tensors in external data are read from the model's folder when their elements are first used,
 * and so are initializers of at least 64 KiB in the model's file, which remains open: replacing it is safe, writing to
 * it is not. `decodeModel` decodes bytes, such as those of a download.
 * @throws OnnxIreError `invalid-option` for a value that is not a path, `io` if the file cannot be read,
 * `invalid-model` if it is not a model
 * @example
 * const model = await readModel('model.onnx')
 */
export async function readModel(file: string | URL): Promise<Model> {
  const path = pathOf('readModel', file, '; decodeModel decodes the bytes of a file or of a download')
  const external = new FolderData(path)
  const own = new FolderData(path)
  own.watch(basename(path))
  const read = await readModelBytes(path)
  registerModelFile({ ...read, external: own, location: basename(path) })
  const model = await withPath(path, async () => decodeModel(read.bytes, external))
  const outside = collectTensorProtos(model.proto).filter(isExternal)
  if (outside.length === 0) return { ...model, external: null }
  const locations = outside.flatMap(({ externalData }) => externalData.filter(({ key }) => key === 'location'))
  for (const location of new Set(locations.map(({ value = '' }) => value))) external.watch(location)
  return model
}

/** Absolute paths of a model's file and of its data files. */
export const listModelFiles = (path: string, { external }: Model): readonly string[] => [
  resolve(path),
  ...(external instanceof FolderData ? external.files : []),
]

/** Options of `writeModel`. */
export interface WriteModelOptions {
  /**
   * Location of tensors. By default external tensors stay external, and initializers are moved to external data only if
   * the model exceeds 2 GiB. `true` moves initializers of 1024 bytes and more, a number those of at least that many
   * bytes; `false` writes all tensors into the model.
   */
  readonly externalData?: boolean | number
}

/**
 * Writes an ONNX model, with `<name>.data` (or `<name>.2.data` ...) next to it if it has external tensors. The data go
 * to a new file, never over an existing one: the new model replaces the old one atomically after its own data are
 * complete, so a failure or a crash leaves the old model intact. Afterwards the data file of the old model is removed,
 * unless its name occurs in another file of the folder, such as a copy of the old model. Tensors are read and written
 * one at a time.
 * @throws OnnxIreError `io` with the reason, `external-data` if a tensor cannot be read
 * @example
 * await writeModel('tuned.onnx', trainer.export())
 */
export async function writeModel(file: string | URL, model: Model, options: WriteModelOptions = {}): Promise<void> {
  const path = pathOf('writeModel', file, ', and the model after it: writeModel(path, model)')
  checkModel(model)
  const folder = dirname(path)
  const existing = await listOwnData(path)
  const replaced = existing.length === 0 ? [] : await findOccurring(path, existing, [])
  const dataPath = await findFreeName(path)
  const { proto, pieces } = layOutModel(model, basename(dataPath), options.externalData)
  const { size, chunks } = encodeChunks('ModelProto', proto)
  checkModelSize(size)
  const data = pieces.length > 0 ? [await stageFile(dataPath, contentOf(pieces))] : []
  try {
    await commitAll([...data, await stageFile(path, chunks)])
  } finally {
    for (const file of data) await file.discard()
  }
  const written = pieces.length > 0 ? [basename(dataPath)] : []
  const unused = await findUnusedData(folder, replaced, [...existing, ...written])
  for (const name of unused) await rm(join(folder, name), { force: true })
}

/** Names of the files in a model's folder that `writeModel` would choose for its data. */
async function listOwnData(path: string): Promise<readonly string[]> {
  const names = await readdir(dirname(path)).catch((): string[] => [])
  const [model, isNumberedData] = [`${basename(path)}.`, /^(\d+\.)?data$/]
  return names.filter((name) => name.startsWith(model) && isNumberedData.test(name.slice(model.length)))
}

/** Path `<model>.data`, or the first numbered one that does not exist. */
async function findFreeName(path: string): Promise<string> {
  // lstat also finds names that differ in case only, where the file system ignores case, and broken links.
  const isTaken = (candidate: string) =>
    lstat(candidate).then(
      () => true,
      () => false,
    )
  let candidate = `${path}.data`
  for (let i = 2; await isTaken(candidate); i++) candidate = `${path}.${i}.data`
  return candidate
}

/** Finds the data files among `names` that no file of the folder names, except the files in `ignored`. */
export async function findUnusedData(
  folder: string,
  names: readonly string[],
  ignored: readonly string[],
): Promise<string[]> {
  let unused = [...names]
  for (const file of unused.length === 0 ? [] : await readdir(folder)) {
    if (ignored.includes(file)) continue
    // A file that cannot be read may name them all.
    const named = await findOccurring(join(folder, file), unused, unused)
    unused = unused.filter((name) => !named.includes(name))
  }
  return unused
}

/**
 * Finds the `names` whose bytes occur in a file that may be a model: a regular file of at most 2 GiB. A model holds the
 * names of its data files as they are, so it need not be decoded. Case is ignored, as some file systems do.
 * @param otherwise result for a file that cannot be read
 */
async function findOccurring(
  path: string,
  names: readonly string[],
  otherwise: readonly string[],
): Promise<readonly string[]> {
  const searched = new Map(names.map((name) => [name, Buffer.from(name).toString('latin1').toLowerCase()]))
  const overlap = Math.max(...[...searched.values()].map(({ length }) => length)) - 1
  const found = new Set<string>()
  try {
    const kind = await stat(path)
    if (!kind.isFile() || kind.size > maxModelBytes) return []
    let text = ''
    for await (const block of createReadStream(path, { highWaterMark: 2 ** 20 })) {
      text = text.slice(-overlap) + (block as Buffer).toString('latin1').toLowerCase()
      for (const [name, bytes] of searched) if (text.includes(bytes)) found.add(name)
      if (found.size === names.length) break
    }
    return [...found]
  } catch (error) {
    return codeOf(error) === 'ENOENT' ? [] : otherwise
  }
}

async function* contentOf(pieces: readonly DataPiece[]): AsyncGenerator<Uint8Array> {
  let at = 0
  for (const { offset, length, blocks } of pieces) {
    for (; at < offset; at += Math.min(offset - at, zeros.length)) yield zeros.subarray(0, offset - at)
    yield* blocks()
    at += length
  }
}

const zeros = new Uint8Array(2 ** 16)
