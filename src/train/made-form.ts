import type { Graph } from '../ir/value.js'
import { trainNorms } from './batch-norm.js'
import { trainDropout } from './dropout.js'
import type { FormOptions, TrainingForm } from './form.js'
import { widened } from './widen.js'

/** The form of a model: in float32 where it is in half floats, with norms and Dropout at work where the options say so. */
export function madeForm(model: Graph, { batchNorm, dropout }: FormOptions): TrainingForm {
  const graph = widened(model)
  const { outputs } = graph
  const norms = batchNorm === 'trained' ? trainNorms(outputs) : { outputs, statistics: new Map() }
  const dropped = dropout === 'on' ? trainDropout(norms.outputs) : { outputs: norms.outputs, noise: new Map() }
  return { graph, statistics: norms.statistics, ...dropped }
}
