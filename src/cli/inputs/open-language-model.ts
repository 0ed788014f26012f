import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Option } from 'commander'
import { type LanguageDtype, type LanguageModel, readLanguageModel } from '../../language/language-model.js'
import { modelFolder } from '../../node/files/model-folder.js'
import { OnnxIreError } from '../../util/errors.js'
import { type Io, writeText } from '../io.js'
import { applyStored, readAdapter } from '../stored-adapter.js'

/** The option `--dtype`, which chooses a file of a model folder. */
export const dtypeOption = (): Option =>
  new Option(
    '--dtype <type>',
    'file of the folder: fp32, fp16, q4, q4f16 ... (default: that of config.json, or the first of these)',
  )

/** The folder of the model in the output folder of a fine-tuning of texts. */
export const modelFolderOf = (output: string): string => join(output, 'model')

/** Reads a language model. Throws `io` naming the folder in the output folder of a fine-tuning. */
export async function openLanguageModel(folder: string, dtype: string | undefined): Promise<LanguageModel> {
  const hasConfig = (path: string) => existsSync(join(path, 'config.json'))
  const inside = modelFolderOf(folder)
  if (!hasConfig(folder) && hasConfig(inside))
    throw new OnnxIreError('io', `${folder} is not the folder of a language model, but contains one: name ${inside}`)
  return readLanguageModel(modelFolder(folder), { dtype: dtype as LanguageDtype | undefined })
}

/** Reads an adapter and inserts it into a language model. */
export async function withAdapter(io: Io, chat: LanguageModel, path: string, anyBase: boolean): Promise<LanguageModel> {
  const stored = await readAdapter(path)
  for (const warning of stored.warnings) writeText(io.stderr, `warning: ${warning}\n`)
  return { ...chat, model: applyStored(stored, path, chat.model, anyBase) }
}
