import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Adapter } from '../adapter/adapter.js'
import { applyAdapter } from '../adapter/apply-adapter.js'
import { mergeAdapter } from '../adapter/merge-adapter.js'
import { peftFiles } from '../adapter/peft.js'
import { mergeQuantized } from '../adapter/quantize-model.js'
import { adapterOf, checksumBase } from '../adapter/read-adapter.js'
import { readOnnxAdapter, readPeftFolder, writeOnnxAdapter, writePeftFolder } from '../node/files/adapter.js'
import { listModelFiles, readModel, writeModel } from '../node/files/model.js'
import type { Model } from '../onnx/model.js'
import { OnnxIreError, prefixError } from '../util/errors.js'

/** Forms in which an adapter is stored: alone in a PEFT folder or an .onnx_adapter file, or in a model. */
type AdapterFormat = 'peft' | 'onnx-adapter' | 'model'

/** An adapter with where it was read from. */
export interface StoredAdapter {
  readonly adapter: Adapter
  readonly format: AdapterFormat
  readonly warnings: readonly string[]
  /** Files that were read. */
  readonly files: readonly string[]
}

/**
 * Reads an adapter: of a PEFT folder, of an `.onnx` file that contains one, otherwise of an `.onnx_adapter` file.
 * Throws `io`, `invalid-data`, `damaged`, `invalid-model`, or `invalid-option` for a model without an adapter.
 */
export async function readAdapter(path: string): Promise<StoredAdapter> {
  if (path.endsWith('.onnx')) {
    const model = await readModel(path)
    return { ...extractAdapter(model, path), format: 'model', warnings: [], files: listModelFiles(path, model) }
  }
  const found = await stat(path).catch(() => null)
  if (found?.isDirectory()) {
    const files = [peftFiles.config, peftFiles.weights].map((name) => join(path, name))
    return { ...(await readPeftFolder(path)), format: 'peft', files }
  }
  if (path.endsWith('.safetensors'))
    throw new OnnxIreError(
      'io',
      `${path} is a file of a PEFT folder: name the folder, which also has ${peftFiles.config}`,
    )
  return { adapter: await readOnnxAdapter(path), format: 'onnx-adapter', warnings: [], files: [path] }
}

/** The adapter of a model, with the checksum of its base. */
export function extractAdapter(model: Model, path: string): { readonly adapter: Adapter } {
  try {
    const { config, ...adapter } = adapterOf(model)
    return { adapter: { ...adapter, config: { ...config, baseChecksum: checksumBase(model) } } }
  } catch (error) {
    throw prefixError(error, path)
  }
}

/** Whether a model is the base that an adapter names; undefined if the adapter names none. */
export const isOwnBase = ({ config }: Adapter, model: Model): boolean | undefined =>
  config.baseChecksum === undefined ? undefined : config.baseChecksum === checksumBase(model)

/**
 * Inserts a stored adapter into a model.
 * @param path of the adapter, for messages
 * @param anyBase whether the checksum of the base is ignored
 * @throws OnnxIreError `invalid-data` for an adapter of another model
 */
export function applyStored({ adapter }: StoredAdapter, path: string, model: Model, anyBase: boolean): Model {
  if (!anyBase && isOwnBase(adapter, model) === false)
    throw new OnnxIreError(
      'invalid-data',
      `${path}: the adapter belongs to a model with the checksum ${adapter.config.baseChecksum}, this one has ${checksumBase(model)}; name its own base, or pass --any-base if this is the same model in another form, such as 4 bits`,
    )
  try {
    return applyAdapter(model, adapter)
  } catch (error) {
    throw prefixError(error, path)
  }
}

/** Forms in which a model with an adapter is written. */
export const exportForms = ['beside', 'merged', 'q4', 'q8', 'peft', 'onnx-adapter'] as const
export type ExportForm = (typeof exportForms)[number]

export const exportFormsHelp = `
  beside        a model with the adapter beside its weights; the only exact form of a quantized base
  merged        a model with the adapter merged into its float weights
  q4, q8        a model with the adapter merged, and all MatMul weights in 4 or 8 bits
  peft          a folder for PEFT, vLLM, llama.cpp, MLX: adapter_model.safetensors, adapter_config.json, README.md
  onnx-adapter  an .onnx_adapter file for onnxruntime and onnxruntime-genai; its base: onnx-ire adapter base`

/** Files that `writeForm` writes. */
export const formFiles = (form: ExportForm, output: string): readonly string[] =>
  form === 'peft' ? Object.values(peftFiles).map((name) => join(output, name)) : [output]

/** Converts a model with an adapter to a form that is a model. */
export function toModelForm(form: Exclude<ExportForm, 'peft' | 'onnx-adapter'>, model: Model): Model {
  if (form === 'beside') return model
  return form === 'merged' ? mergeAdapter(model) : mergeQuantized(model, { bits: form === 'q4' ? 4 : 8 })
}

/** Writes a model with an adapter, or the adapter alone. */
export async function writeForm(form: ExportForm, output: string, model: Model): Promise<void> {
  if (form === 'peft') return writePeftFolder(output, extractAdapter(model, output).adapter)
  if (form === 'onnx-adapter') return writeOnnxAdapter(output, extractAdapter(model, output).adapter)
  return writeModel(output, toModelForm(form, model))
}
