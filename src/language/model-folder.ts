import type { Model } from '../onnx/model.js'
import { OnnxIreError } from '../util/errors.js'
import { isObject } from '../util/record.js'
import { decodeUtf8 } from '../util/utf8.js'

/**
 * Files of a language model by their path in its folder, such as `onnx/model_q4.onnx`: on disk, picked by the user, in
 * the browser's storage or on a server. `modelFolder` of 'onnx-ire/node' and 'onnx-ire/web' creates one.
 */
export interface ModelFolder {
  /** Path or address, for messages. */
  readonly name: string
  /** Whether the folder has a file. */
  has(path: string): Promise<boolean>
  /** Reads a file. @throws OnnxIreError `io` with the reason */
  read(path: string): Promise<Uint8Array>
  /** Reads a model, with its external data. @throws OnnxIreError `io`, `invalid-model`, `external-data` */
  readModel(path: string): Promise<Model>
}

/** Reads a JSON file that holds an object; null if the folder does not have it. */
export async function readJson(folder: ModelFolder, path: string): Promise<Readonly<Record<string, unknown>> | null> {
  if (!(await folder.has(path))) return null
  let value: unknown
  try {
    value = JSON.parse(decodeUtf8(await folder.read(path)))
  } catch (cause) {
    if (cause instanceof OnnxIreError) throw cause
    throw new OnnxIreError('invalid-data', `${folder.name}: ${path} is not valid JSON: ${(cause as Error).message}`, {
      cause,
    })
  }
  if (isObject(value)) return value
  throw new OnnxIreError('invalid-data', `${folder.name}: ${path} is not a JSON object`)
}
