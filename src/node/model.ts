import { readFile, rm, stat } from 'node:fs/promises'
import { basename, dirname, resolve } from 'node:path'
import { checkModelSize, collectTensorProtos, decodeModel, type Model, maxModelBytes } from '../onnx/model.js'
import { type DataPiece, layOutModel } from '../onnx/model-layout.js'
import { encodeChunks } from '../onnx/proto/encode.js'
import { isExternal } from '../onnx/proto/external-data.js'
import { OnnxIreError } from '../util/errors.js'
import { FolderData } from './external.js'
import { commitAll, readError, stageFile } from './files.js'

/**
 * Reads an ONNX model. Tensors in external data are read from the model's folder when their elements are first looked at.
 * Throws `io` when the file cannot be read and `invalid-model` when it is not a model.
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
  const refuse = (cause: unknown): never => {
    throw readError('model', path, cause)
  }
  const { size } = await stat(path).catch(refuse)
  if (size > maxModelBytes) {
    throw new OnnxIreError(
      'invalid-model',
      `${path} has ${size} bytes: an ONNX model file has at most 2 GiB, the rest goes to external data`,
    )
  }
  return readFile(path).catch(refuse)
}

/** Options of `writeModel`. */
export interface WriteModelOptions {
  /**
   * Where tensors go. By default external tensors stay external, and only a model of more than 2 GiB has its initializers
   * moved out. `true` moves out initializers of 1024 bytes and more, a number those of so many bytes and more; `false`
   * puts everything into the model.
   */
  readonly externalData?: boolean | number
}

/**
 * Writes an ONNX model, and beside it `<name>.data` (or `<name>.2.data` ...) when it has external tensors. Data never goes
 * over that of a model that is there: the new model takes its place only when its own data is complete, in one step, so a
 * failure or a crash leaves what was there; then data that only the replaced model used is removed. Tensors are read and
 * written one by one. Throws `io` saying what stands in the way, and `external-data` when a tensor cannot be read.
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

/** Data files that the model at `path` has of its own, by the names given here; none where there is no readable model. */
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

/** `<model>.data` and `<model>.<number>.data`. */
const isOwnData = (name: string, location: string): boolean =>
  location.startsWith(`${name}.`) && /^(\d+\.)?data$/.test(location.slice(name.length + 1))

/** `<model>.data`, or a numbered name where that is the data of the model being replaced or of the one this was read from. */
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
