import type { Graph, Value } from '../ir/value.js'
import { needed } from '../needed.js'
import type { TrainingOptions } from './graphs.js'
import { holdsHalf } from './half.js'

/** A model in the form in which it is trained. */
export interface TrainingForm {
  /** The model as it is evaluated, without half floats. */
  readonly graph: Graph
  /** What the loss of training is built of: outputs of `graph`, or of it with norms and Dropout at work. */
  readonly outputs: ReadonlyMap<string, Value>
  /** Next running statistics of norms at work, by the parameter that holds the present one. */
  readonly statistics: ReadonlyMap<string, Value>
  /** What decides what Dropout drops. */
  readonly noise: ReadonlyMap<string, Value>
}

/** What decides the form of a model. */
export type FormOptions = Pick<TrainingOptions, 'batchNorm' | 'dropout'>

/** The form of a model. Most are trained as they are: what makes others of them is loaded when one needs it. */
export async function formOf(graph: Graph, options: FormOptions): Promise<TrainingForm> {
  if (options.batchNorm !== 'trained' && options.dropout !== 'on' && !holdsHalf(graph))
    return { graph, outputs: graph.outputs, statistics: new Map(), noise: new Map() }
  const { madeForm } = await needed(import('./made-form.js'))
  return madeForm(graph, options)
}
