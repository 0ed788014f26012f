/**
 * Architectures with random weights.
 * @module onnx-ire/models
 */

import type { Graph } from 'onnx-ire'
import { type ConvnetOptions, convnet } from './convnet.js'
import { type LenetOptions, lenet } from './lenet.js'
import { type LlamaOptions, llama } from './llama.js'
import { type MlpOptions, mlp } from './mlp.js'
import { type ResnetOptions, resnet } from './resnet.js'
import { type TransformerOptions, transformer } from './transformer.js'
import { type VitOptions, vit } from './vit.js'
import { type WideResnetOptions, wideResnet } from './wide-resnet.js'

export {
  type ConvnetOptions,
  convnet,
  type LenetOptions,
  type LlamaOptions,
  lenet,
  llama,
  type MlpOptions,
  mlp,
  type ResnetOptions,
  resnet,
  type TransformerOptions,
  transformer,
  type VitOptions,
  vit,
  type WideResnetOptions,
  wideResnet,
}

/** Options of every architecture, by the name that presets use. */
export interface Architectures {
  readonly mlp: MlpOptions
  readonly lenet: LenetOptions
  readonly convnet: ConvnetOptions
  readonly resnet: ResnetOptions
  readonly 'wide-resnet': WideResnetOptions
  readonly vit: VitOptions
  readonly transformer: TransformerOptions
  readonly llama: LlamaOptions
}

/** Name of an architecture. */
export type Architecture = keyof Architectures

/** A model of one size as data, as in the JSON files of `presets/`; `about` describes it. */
export type Preset = {
  [A in Architecture]: { readonly kind: A; readonly about?: string } & Architectures[A]
}[Architecture]

/** Builds the model of a preset, initialized with `seed`, otherwise the preset's seed, otherwise 0. */
export function build(preset: Preset, seed: number = preset.seed ?? 0): Graph {
  switch (preset.kind) {
    case 'mlp':
      return mlp({ ...preset, seed })
    case 'lenet':
      return lenet({ ...preset, seed })
    case 'convnet':
      return convnet({ ...preset, seed })
    case 'resnet':
      return resnet({ ...preset, seed })
    case 'wide-resnet':
      return wideResnet({ ...preset, seed })
    case 'vit':
      return vit({ ...preset, seed })
    case 'transformer':
      return transformer({ ...preset, seed })
    case 'llama':
      return llama({ ...preset, seed })
  }
}
