import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { languageModels } from '../requirements.js'

/** Folders that are committed, with one file of weights each. */
export const golden = fileURLToPath(new URL('golden', import.meta.url))

/** A prompt with the results of PyTorch. */
export interface Reference {
  readonly messages: readonly { readonly role: string; readonly content: string }[]
  /** The prompt after the chat template, with the start of the answer. */
  readonly text: string
  readonly ids: readonly number[]
  /** Mean cross-entropy of the prompt's tokens after the first. */
  readonly loss: number
  /** Logits of the last position. */
  readonly logits: readonly number[]
  /** Greedy continuation by transformers' generate. */
  readonly generated: readonly number[]
}

export const readReference = (folder: string): readonly Reference[] =>
  JSON.parse(readFileSync(join(folder, 'reference.json'), 'utf8'))

/** An exported model: its folder and the type of its weights. */
export interface Exported {
  readonly name: string
  readonly folder: string
  readonly dtype: 'fp32' | 'fp16' | 'q4' | 'q4f16'
}

function listExported(root: string): Exported[] {
  if (!existsSync(root)) return []
  return readdirSync(root)
    .toSorted()
    .flatMap((name) =>
      (['fp32', 'fp16', 'q4', 'q4f16'] as const).flatMap((dtype): Exported[] => {
        const suffix = dtype === 'fp32' ? '' : `_${dtype}`
        const folder = join(root, name)
        return existsSync(join(folder, `onnx/model${suffix}.onnx`)) ? [{ name: `${name} ${dtype}`, folder, dtype }] : []
      }),
    )
}

export const committed = listExported(golden)
/** Models that tools/language/export.py has written on this machine. */
export const exported = listExported(languageModels)
