import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { decodePeft, type PeftAdapter } from '../../src/adapter/peft.js'
import { decodeSafetensors } from '../../src/ir/safetensors.js'
import type { Tensor } from '../../src/ir/tensor.js'
import { decodeModel, type Model } from '../../src/onnx/model.js'

/** Files that tools/adapters/golden.py and training.py wrote with PyTorch, PEFT, Olive and onnxruntime. */
export const golden = fileURLToPath(new URL('golden', import.meta.url))

export const readGolden = (name: string): Uint8Array => new Uint8Array(readFileSync(join(golden, name)))

/** The files of a folder that PEFT wrote. */
export const readGoldenFolder = (name: string): Record<string, Uint8Array> =>
  Object.fromEntries(readdirSync(join(golden, name)).map((file) => [file, readGolden(`${name}/${file}`)]))

export const readGoldenPeft = (name: string): PeftAdapter => decodePeft(readGoldenFolder(name))

export const readGoldenModel = (name: 'mixed' | 'llama' | 'grouped'): Model => decodeModel(readGolden(`${name}.onnx`))

/** Inputs `ids` and `tokens`, and the outputs that PyTorch computed, by the name of the folder. */
export const goldenTensors = (): Readonly<Record<string, Tensor>> =>
  decodeSafetensors(readGolden('outputs.safetensors'), { checksum: false }).tensors

/** The input `x` of grouped.onnx, and what PEFT computed with it. */
export const methodTensors = (): Readonly<Record<string, Tensor>> =>
  decodeSafetensors(readGolden('methods.safetensors'), { checksum: false }).tensors
