import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { ModelFolder } from '../../language/model-folder.js'
import { readRegularFile } from './files.js'
import { readModel } from './model.js'

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
