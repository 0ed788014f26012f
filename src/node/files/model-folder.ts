import { readdir, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { LanguageModel } from '../../language/language-model.js'
import type { ModelFolder } from '../../language/model-folder.js'
import type { Model } from '../../onnx/model.js'
import { readRegularFile, writeFileAtomic } from './files.js'
import { makeFolder } from './make-folder.js'
import { readModel, writeModel } from './model.js'

/**
 * Folder of a language model on the disk, for `readLanguageModel`. Weights in external data are read when they are
 * first used.
 * @example
 * const chat = await readLanguageModel(modelFolder('SmolLM2-135M-Instruct'), { dtype: 'q4' })
 */
export const modelFolder = (path: string): ModelFolder => ({
  name: path,
  has: async (file) => (await stat(join(path, file)).catch(() => null))?.isFile() ?? false,
  read: (file) => readRegularFile('file', join(path, file)),
  readModel: (file) => readModel(join(path, file)),
})

/** Files of weights, which are not copied. */
const weights = /\.(onnx|safetensors|bin|gguf|pt|pth|h5|msgpack|onnx_adapter)([._].*)?$/

/**
 * Writes a trained language model as a folder that transformers.js and `readLanguageModel` load: the model under the
 * name of its file, and copies of the other files next to config.json. The model is one file without external data, and
 * config.json names its type.
 * @throws OnnxIreError `io` with the reason; `external-data` for a model above 2 GiB
 */
export async function writeModelFolder(path: string, chat: LanguageModel, model: Model): Promise<void> {
  const source = chat.folder.name
  await makeFolder(dirname(join(path, chat.file)))
  for (const entry of await readdir(source, { withFileTypes: true })) {
    if (!entry.isFile() || entry.name === 'config.json' || weights.test(entry.name)) continue
    await writeFileAtomic(join(path, entry.name), await readRegularFile('file', join(source, entry.name)))
  }
  await writeFileAtomic(join(path, 'config.json'), `${JSON.stringify(configOf(chat), null, 2)}\n`)
  await writeModel(join(path, chat.file), model, { externalData: false })
}

/** The configuration with the type of the model's weights, and without files of external data. */
function configOf({ config, file }: LanguageModel): object {
  const key = 'transformers.js_config'
  const { use_external_data_format: _, ...settings } = (config[key] ?? {}) as Readonly<Record<string, unknown>>
  const dtype = /_(fp16|q\d+f16|q\d+)\.onnx$/.exec(basename(file))?.[1] ?? 'fp32'
  return { ...config, [key]: { ...settings, dtype } }
}
