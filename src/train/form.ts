import type { Graph, Value } from '../ir/value.js'
import { trainNorms } from './batch-norm.js'
import { trainDropout } from './dropout.js'
import { widened } from './widen.js'

/** A model prepared for training. */
export interface PreparedModel {
  /** The model as it is evaluated, in float32 or float64. */
  readonly graph: Graph
  /** Outputs that the training loss reads: those of `graph`, or of its copy with BatchNormalization and Dropout in training mode. */
  readonly outputs: ReadonlyMap<string, Value>
  /** Next running statistics of the norms in training mode, by the parameter that holds the present ones. */
  readonly statistics: ReadonlyMap<string, Value>
  /** Random inputs of the Dropout nodes in training mode. */
  readonly noise: ReadonlyMap<string, Value>
}

/** Options of `prepareForTraining`. */
export interface PreparationOptions {
  /** 'frozen' normalizes by the pretrained statistics, 'trained' by the batch while updating them. Default 'frozen'. */
  readonly batchNorm?: 'frozen' | 'trained'
  /** 'on' activates the model's Dropout nodes in training; evaluation never does. Default 'off', as in the file. */
  readonly dropout?: 'off' | 'on'
}

/** Converts half floats to float32, and sets BatchNormalization and Dropout to training mode if the options say so. */
export function prepareForTraining(model: Graph, { batchNorm, dropout }: PreparationOptions): PreparedModel {
  const graph = widened(model)
  const { outputs } = graph
  const norms = batchNorm === 'trained' ? trainNorms(outputs) : { outputs, statistics: new Map() }
  const dropped = dropout === 'on' ? trainDropout(norms.outputs) : { outputs: norms.outputs, noise: new Map() }
  return { graph, statistics: norms.statistics, ...dropped }
}
