import type { Model } from '../onnx/model.js'
import { invalidOption } from '../util/check.js'
import { type Ia3Options, ia3 } from './ia3.js'
import { type LoraOptions, lora } from './lora.js'

/** Options of a new adapter: those of `lora`, or with `kind: 'ia3'` those of `ia3`. */
export interface AdapterOptions extends LoraOptions, Pick<Ia3Options, 'feedforward'> {
  /** Kind of the adapter: 'lora' (default) has low-rank matrices, 'ia3' factors. */
  readonly kind?: 'lora' | 'ia3'
}

/** Adds a new adapter to a model. Throws `invalid-option` for options of the other kind too. */
export function createAdapter(model: Model, { kind = 'lora', ...options }: AdapterOptions): Model {
  if (kind === 'lora') return lora(model, options)
  if (kind === 'ia3') return ia3(model, options)
  throw invalidOption('adapter', 'kind', kind, "'lora' or 'ia3'")
}
