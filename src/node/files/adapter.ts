import { join } from 'node:path'
import type { Adapter } from '../../adapter/adapter.js'
import { decodeOnnxAdapter, encodeOnnxAdapter, type OnnxAdapterOptions } from '../../adapter/onnx-adapter.js'
import { decodePeft, type EncodePeftOptions, encodePeft, type PeftAdapter, peftFiles } from '../../adapter/peft.js'
import { prefixError } from '../../util/errors.js'
import { emptyRecord } from '../../util/record.js'
import { codeOf, commitAll, readRegularFile, type StagedFile, stageFile, writeFileAtomic } from './files.js'
import { makeFolder } from './make-folder.js'

/**
 * Reads an adapter from a folder that PEFT or `writePeftFolder` wrote.
 * @throws OnnxIreError `io` if a file cannot be read, `invalid-data` or `damaged` as `decodePeft`
 * @example
 * const { adapter } = await readPeftFolder('my-lora')
 */
export async function readPeftFolder(folder: string): Promise<PeftAdapter> {
  const files = emptyRecord<Uint8Array>()
  const read = async (name: string) => {
    files[name] = await readRegularFile('adapter', join(folder, name))
  }
  await read(peftFiles.config)
  try {
    await read(peftFiles.weights)
  } catch (error) {
    // decodePeft explains which file a folder without safetensors needs.
    if (!isMissing(error)) throw error
    await read('adapter_model.bin').catch(() => {
      throw error
    })
  }
  try {
    return decodePeft(files)
  } catch (error) {
    throw prefixError(error, folder)
  }
}

const isMissing = (error: unknown): boolean => codeOf(Object(error).cause) === 'ENOENT'

/**
 * Writes an adapter as a PEFT folder: adapter_model.safetensors, adapter_config.json and README.md. Creates the folder
 * if it does not exist; other files in it remain.
 * @throws OnnxIreError `io` with the reason, `invalid-data` as `encodePeft`
 * @example
 * await writePeftFolder('my-lora', adapterOf(model))
 */
export async function writePeftFolder(
  folder: string,
  adapter: Adapter,
  options: EncodePeftOptions = {},
): Promise<void> {
  const files = Object.entries(encodePeft(adapter, options))
  await makeFolder(folder)
  const staged: StagedFile[] = []
  try {
    for (const [name, bytes] of files) staged.push(await stageFile(join(folder, name), bytes))
    await commitAll(staged)
  } finally {
    for (const file of staged) await file.discard()
  }
}

/**
 * Reads an adapter from an `.onnx_adapter` file.
 * @throws OnnxIreError `io` if the file cannot be read, `invalid-data` or `damaged` as `decodeOnnxAdapter`
 * @example
 * const adapter = await readOnnxAdapter('my-lora.onnx_adapter')
 */
export async function readOnnxAdapter(path: string): Promise<Adapter> {
  const bytes = await readRegularFile('adapter', path)
  try {
    return decodeOnnxAdapter(bytes)
  } catch (error) {
    throw prefixError(error, path)
  }
}

/**
 * Writes an adapter as an `.onnx_adapter` file, for a model made by `makeLoraReady`.
 * @throws OnnxIreError `io` with the reason, `invalid-data` as `encodeOnnxAdapter`
 * @example
 * await writeOnnxAdapter('my-lora.onnx_adapter', adapterOf(model))
 */
export const writeOnnxAdapter = (path: string, adapter: Adapter, options: OnnxAdapterOptions = {}): Promise<void> =>
  writeFileAtomic(path, encodeOnnxAdapter(adapter, options))
