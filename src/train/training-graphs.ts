import type { Graph } from '../ir/value.js'
import { graphsOf, type TrainingGraphs, type TrainingOptions } from './graphs.js'
import { madeForm } from './made-form.js'

/** Builds the graphs from a model and a loss; float16 and bfloat16 models are trained in float32. Throws `not-differentiable`, `invalid-option`. */
export const trainingGraphs = (model: Graph, options: TrainingOptions): TrainingGraphs =>
  graphsOf(madeForm(model, options), options)
