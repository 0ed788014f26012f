import type { Calculus } from '../grad/rule.js'
import type { Graph } from '../ir/value.js'
import { graphsOf, type TrainingGraphs, type TrainingOptions } from './graphs.js'
import { madeForm } from './made-form.js'

/** The graphs of a run from a model and a loss, with all that any options ask for at hand. Throws `not-differentiable`, `invalid-option`. */
export const trainingGraphs = (model: Graph, options: TrainingOptions, calculus: Calculus): TrainingGraphs =>
  graphsOf(madeForm(model, options), options, calculus)
