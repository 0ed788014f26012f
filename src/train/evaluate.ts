import { batches } from '../data/batches.js'
import type { Dataset } from '../data/dataset.js'
import { leavesOf } from '../ir/topology.js'
import type { Loss } from '../loss/loss.js'
import { importGraph } from '../onnx/import.js'
import type { Model } from '../onnx/model.js'
import type { Runtime } from '../runtime/runtime.js'
import { conform } from './conform.js'
import type { TrainingGraphs } from './graphs.js'
import { type Measures, Tally } from './metrics.js'
import { Programs } from './programs.js'

export interface EvaluateOptions {
  readonly loss: Loss
  readonly runtime: Runtime
  /** Examples per run. Default 32. */
  readonly batchSize?: number
}

/**
 * Loss and, for a classifier, accuracy of a model as it is over a data set. Nothing of it is differentiated, so operators
 * without a gradient do not matter. Throws `unsupported-operator`, `invalid-model`, `invalid-data`, `invalid-option`, `runtime`.
 */
export async function evaluateModel(model: Model, data: Dataset, options: EvaluateOptions): Promise<Measures> {
  const { batchSize = 32, runtime } = options
  const graphs = evaluationOnly(model, options.loss)
  const programs = new Programs(graphs, runtime)
  try {
    programs.checkSizes(data.length, batchSize)
    const tally = new Tally()
    for await (const { tensors } of batches(data, { batchSize })) {
      const { loss, count, correct } = await programs.evaluate(
        conform(tensors, graphs.data, graphs.loss.labels),
        {},
        {},
      )
      tally.add(loss, count, correct)
    }
    return tally.measures()
  } finally {
    await programs.release()
  }
}

/** Graphs of which only the evaluation is of use: with the model's own tensors inside, and nothing to train. */
function evaluationOnly(model: Model, loss: Loss): TrainingGraphs {
  const graph = importGraph(model)
  const built = loss.build(graph.outputs)
  const outputs = new Map([
    ['loss', built.loss],
    ['count', built.count],
    ...(built.correct ? [['correct', built.correct] as const] : []),
  ])
  const used = new Set(leavesOf(outputs.values()))
  const data = new Map([...[...graph.inputs].filter(([, value]) => used.has(value)), ...built.targets])
  const evaluation = { name: `${graph.name || 'model'}/evaluation`, inputs: data, outputs }
  return {
    training: evaluation,
    evaluation,
    curvature: null,
    data,
    loss: built,
    noise: new Map(),
    parameters: new Map(),
    statistics: new Map(),
  }
}
