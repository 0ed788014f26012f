import type { Settings } from '../protocol.js'

/** Settings that follow from the model and the amount of data. */
export type AutomaticSettings = Pick<Settings, 'layers' | 'epochs' | 'batchSize' | 'lr'>

/** Kinds of models, by their origin: the general picture model, the network made for a table, and files. */
export type ModelKind = 'general' | 'table' | 'file'

/** Steps that a training run takes about, and its learning rate. */
const plans: Readonly<Record<ModelKind, { readonly steps: number; readonly lr: number }>> = {
  general: { steps: 300, lr: 0.02 },
  table: { steps: 600, lr: 0.01 },
  file: { steps: 200, lr: 0.003 },
}

/**
 * Chooses the settings of a training run: few examples are repeated more often, so that a run takes hundreds of steps
 * whatever their number.
 *
 * @param examples number of examples, those held out included
 * @param held share of the examples that is held out
 */
export function chooseSettings(kind: ModelKind, examples: number, held: number): AutomaticSettings {
  const { steps, lr } = plans[kind]
  const trained = Math.max(1, examples - Math.round(examples * held))
  const batchSize = Math.max(1, Math.min(32, Math.max(4, Math.floor(trained / 4)), trained))
  const perEpoch = Math.ceil(trained / batchSize)
  const epochs = Math.min(200, Math.max(3, Math.round(steps / perEpoch)))
  return { layers: kind === 'general' ? 'head' : 'all', epochs, batchSize, lr }
}
