import { readFile, rm, stat } from 'node:fs/promises'
import { basename, dirname, resolve } from 'node:path'
import { checkModelSize, collectTensorProtos, decodeModel, type Model, maxModelBytes } from '../../onnx/model.js'
import { type DataPiece, layOutModel } from '../../onnx/model-layout.js'
import { encodeChunks } from '../../onnx/proto/encode.js'
import { isExternal } from '../../onnx/proto/external-data.js'
import { OnnxIreError } from '../../util/errors.js'
import { commitAll, readError, stageFile } from './files.js'
import { FolderData } from './folder-data.js'

/**
 * Reads an ONNX model. Tensors in external data are read from the model's folder when their elements are first used.
 * @throws 'io' if the file cannot be read, 'invalid-model' if it is not a model
 * @example
 * const model = await readModel('model.onnx')
 */
export async function readModel(path: string): Promise<Model> {
  const external = new FolderData(path)
  const model = decodeModel(await readBytes(path), external)
  const outside = collectTensorProtos(model.proto).filter(isExternal)
  if (outside.length === 0) return { ...model, external: null }
  const locations = outside.flatMap(({ externalData }) => externalData.filter(({ key }) => key === 'location'))
  for (const location of new Set(locations.map(({ value = '' }) => value))) external.watch(location)
  return model
}

async function readBytes(path: string): Promise<Uint8Array> {
  const fail = (cause: unknown): never => {
    throw readError('model', path, cause)
  }
  const { size } = await stat(path).catch(fail)
  if (size > maxModelBytes) {
    throw new OnnxIreError(
      'invalid-model',
      `${path} has ${size} bytes: an ONNX model file has at most 2 GiB; move tensors to external data`,
    )
  }
  return readFile(path).catch(fail)
}

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
 * Writes an ONNX model, with `<name>.data` (or `<name>.2.data` ...) next to it if it has external tensors. The data of
 * an existing model is never overwritten: the new model replaces it atomically after its own data is complete, so a
 * failure or a crash leaves the old model intact. Data files that only the replaced model used are removed afterwards.
 * Tensors are read and written one at a time.
 * @throws 'io' with the reason, 'external-data' if a tensor cannot be read
 * @example
 * await writeModel('tuned.onnx', trainer.export())
 */
export async function writeModel(path: string, model: Model, options: WriteModelOptions = {}): Promise<void> {
  const replaced = await dataOf(path)
  const dataPath = dataPathOf(path, model, replaced)
  const { proto, pieces } = layOutModel(model, basename(dataPath), options.externalData)
  const { size, chunks } = encodeChunks('ModelProto', proto)
  checkModelSize(size)
  const data = pieces.length > 0 ? [await stageFile(dataPath, contentOf(pieces))] : []
  try {
    await commitAll([...data, await stageFile(path, chunks)])
  } finally {
    for (const file of data) await file.discard()
  }
  for (const file of replaced) await rm(file, { force: true })
}

/** Data files of the model at `path` whose names `writeModel` assigned; empty if there is no readable model. */
async function dataOf(path: string): Promise<ReadonlySet<string>> {
  try {
    const { external } = await readModel(path)
    const candidates = external instanceof FolderData ? external.locations : []
    const own = candidates.filter((location) => isOwnData(basename(path), location))
    return new Set(own.map((location) => resolve(dirname(path), location)))
  } catch {
    return new Set()
  }
}

/** Whether a location is `<model>.data` or `<model>.<number>.data`. */
const isOwnData = (name: string, location: string): boolean =>
  location.startsWith(`${name}.`) && /^(\d+\.)?data$/.test(location.slice(name.length + 1))

/** Path `<model>.data`, or a numbered one if the replaced model, or the model that was read, uses it. */
function dataPathOf(path: string, { external }: Model, replaced: ReadonlySet<string>): string {
  const inUse = (candidate: string) =>
    replaced.has(resolve(candidate)) || (external instanceof FolderData && external.holds(resolve(candidate)))
  let candidate = `${path}.data`
  for (let i = 2; inUse(candidate); i++) candidate = `${path}.${i}.data`
  return candidate
}

async function* contentOf(pieces: readonly DataPiece[]): AsyncGenerator<Uint8Array> {
  let at = 0
  for (const { offset, length, bytes } of pieces) {
    for (; at < offset; at += Math.min(offset - at, zeros.length)) yield zeros.subarray(0, offset - at)
    yield bytes()
    at += length
  }
}

const zeros = new Uint8Array(2 ** 16)
