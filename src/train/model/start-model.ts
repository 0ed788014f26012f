import { type LoraOptions, lora } from '../../adapter/lora.js'
import { adapterTensors } from '../../adapter/record.js'
import type { Model } from '../../onnx/model.js'
import { type HeadOptions, headTensors, replaceHead } from './replace-head.js'
import type { Trainable } from './trainable.js'

/** Options that change a model before training, and the tensors to train. */
export interface StartOptions {
  /** Resizes the model's last layer before training; see `replaceHead`. */
  readonly head?: HeadOptions
  /**
   * Adds a low-rank adapter before training; see `lora`. Only the adapter is trained, and with `head` also the new
   * layer, unless `trainable` is given.
   */
  readonly adapter?: LoraOptions
  /** Tensors to train; see `TrainingOptions`. */
  readonly trainable?: Trainable
}

/** Creates the model that training starts from: with its new head and its adapter. */
export function createStartModel(
  model: Model,
  { head, adapter, trainable }: StartOptions,
): { readonly model: Model; readonly trainable?: Trainable } {
  const chosen = trainable === undefined ? {} : { trainable }
  const resized = head ? replaceHead(model, head) : model
  if (!adapter) return { model: resized, ...chosen }
  const own = head ? headTensors(resized, head) : []
  const exclude = [...[adapter.exclude ?? []].flat(), ...own.slice(0, 1)]
  const adapted = lora(resized, exclude.length > 0 ? { ...adapter, exclude } : adapter)
  if (!head || trainable !== undefined) return { model: adapted, ...chosen }
  return { model: adapted, trainable: [...adapterTensors(adapted), ...own] }
}
