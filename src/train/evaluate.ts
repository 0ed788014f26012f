import type { TensorMap } from '../backend/backend.js'
import { HostBackend } from '../backend/host.js'
import { batches } from '../data/batches.js'
import type { DatasetOrStream } from '../data/stream.js'
import { checkData } from '../data/stream.js'
import { leavesOf } from '../ir/topology.js'
import { checkLoss, type Loss } from '../loss/loss.js'
import { emptyAccumulatorState, type Measures, MetricAccumulator } from '../metric/accumulator.js'
import { accuracy } from '../metric/accuracy.js'
import { withLossTerms } from '../metric/loss-terms.js'
import type { Metric } from '../metric/metric.js'
import { type BuiltMetrics, buildMetrics } from '../metric/metric.js'
import { importGraph } from '../onnx/import/import-graph.js'
import type { Model } from '../onnx/model.js'
import { disableDropout } from '../op/rewrite.js'
import type { ParameterArrays } from '../optim/arrays.js'
import { checkRuntime, type Runtime } from '../runtime/runtime.js'
import { checkArguments, checkNames } from '../util/check.js'
import { orAborted, orReason, type Signal } from '../util/until-aborted.js'
import type { TrainingGraphs } from './graphs/build.js'
import { lossOutputs } from './graphs/build.js'
import { type PassOptions, repeatModel } from './model/repeat-model.js'
import { prepareBatch } from './prepare-batch.js'
import type { ProcessGroup } from './process-group.js'
import { Programs } from './programs.js'

/** Options of `evaluateModel`. */
export interface EvaluateOptions extends PassOptions {
  /** Loss to measure. */
  readonly loss: Loss
  /** Runtime that evaluates the model. */
  readonly runtime: Runtime
  /** Metrics in addition to the loss. Default: `accuracy` for losses over classes. */
  readonly metrics?: readonly Metric[]
  /** Number of examples per run of the model. Default 32. */
  readonly batchSize?: number
  /** Called after every batch with the number of examples so far, to show progress. */
  readonly onBatch?: (examples: number) => void
  /**
   * Ends the evaluation once it is aborted: the promise is rejected with its `reason`. An AbortSignal also ends the wait
   * for data that do not arrive.
   */
  readonly signal?: { readonly aborted: boolean; readonly reason?: unknown }
}

const optionNames: Readonly<Record<keyof EvaluateOptions, true>> = {
  ...{ loss: true, runtime: true, metrics: true, batchSize: true },
  ...{ onBatch: true, passes: true, pooling: true, signal: true },
}

/**
 * Evaluates loss and metrics of a model over a data set. The model is not differentiated, so it may have operators
 * without a gradient.
 *
 * @example
 * const model = await readModel('model.onnx')
 * const { loss, accuracy } = await evaluateModel(model, data, { loss: crossEntropy(), runtime: node() })
 *
 * @throws OnnxIreError `unsupported-operator`, `invalid-model`, `invalid-data`, `invalid-option`, `runtime`
 */
export async function evaluateModel(model: Model, data: DatasetOrStream, options: EvaluateOptions): Promise<Measures> {
  checkArguments('evaluateModel(model, data, { loss, runtime })', { data, options })
  checkNames('evaluateModel', options, Object.keys(optionNames))
  checkLoss('evaluateModel', options.loss)
  checkRuntime('evaluateModel', options.runtime)
  const { batchSize = 32, runtime } = options
  const programs = new Programs(buildEvaluation(model, options), HostBackend.forEvaluation(runtime))
  try {
    return await orReason(evaluateBatches(programs, data, batchSize, { parameters: {}, statistics: {} }, options))
  } finally {
    await programs.release()
  }
}

/** Evaluates the loss of every example by itself, in order; NaN for an example without a target that counts. */
export async function* evaluateExamples(
  model: Model,
  data: DatasetOrStream,
  options: Pick<EvaluateOptions, 'loss' | 'runtime'>,
): AsyncGenerator<number, void, undefined> {
  const programs = new Programs(
    buildEvaluation(model, { ...options, metrics: [] }),
    HostBackend.forEvaluation(options.runtime),
  )
  try {
    const { data: inputs, loss, metrics } = programs.graphs
    if (data.length !== undefined) programs.checkSizes(data.length, 1)
    for await (const { tensors } of batches(data, { batchSize: 1 })) {
      const accumulator = new MetricAccumulator(metrics.evaluation)
      accumulator.add(await programs.evaluate(prepareBatch(tensors, inputs, loss.labels), 1, {}, {}))
      yield accumulator.measures().loss
    }
  } finally {
    await programs.release()
  }
}

/**
 * Evaluates loss and metrics over a data set with the given parameters. The processes of a group evaluate parts of
 * every batch, and return the same measures.
 * @throws Aborted if the signal is aborted meanwhile
 */
export async function evaluateBatches<T extends TensorMap>(
  programs: Programs<T>,
  data: DatasetOrStream,
  batchSize: number,
  at: { readonly parameters: T; readonly statistics: ParameterArrays },
  { onBatch, signal }: { readonly onBatch?: EvaluateOptions['onBatch']; readonly signal?: Signal | undefined } = {},
): Promise<Measures> {
  const { graphs } = programs
  checkData('evaluate: the data', data)
  if (data.length !== undefined) programs.checkSizes(data.length, batchSize)
  const { group, part } = programs
  const { evaluation } = graphs.metrics
  const accumulator = new MetricAccumulator(evaluation, group && emptyAccumulatorState(evaluation))
  let seen = 0
  for await (const { tensors, size, whole, first } of orAborted(batches(data, { batchSize, part }), signal)) {
    if (first < whole) {
      const batch = prepareBatch(tensors, graphs.data, graphs.loss.labels)
      accumulator.add(await programs.evaluate(batch, size, at.parameters, at.statistics))
    }
    seen += whole
    onBatch?.(seen)
  }
  return group ? (await reduceSums(group, evaluation, accumulator)).measures() : accumulator.measures()
}

/** Adds up the sums of all processes. */
export async function reduceSums(
  group: ProcessGroup,
  metrics: BuiltMetrics,
  own: MetricAccumulator,
): Promise<MetricAccumulator> {
  const { loss, weight, count, sums } = own.save()
  const numbers = Float64Array.of(loss, weight, count)
  const arrays = Object.entries(sums).map(([name, sum]) => [name, Float64Array.from(sum)] as const)
  await group.allReduce([numbers, ...arrays.map(([, array]) => array)])
  return new MetricAccumulator(metrics, {
    ...{ loss: numbers[0]!, weight: numbers[1]!, count: numbers[2]! },
    sums: Object.fromEntries(arrays.map(([name, array]) => [name, [...array]])),
  })
}

/** Builds an evaluation graph with the tensors of the model as constants. The other graphs are not used. */
function buildEvaluation(model: Model, options: EvaluateOptions): TrainingGraphs {
  const { loss, metrics } = options
  const graph = disableDropout(repeatModel(importGraph(model), options))
  const built = loss.build(graph.outputs)
  const builtMetrics = withLossTerms(buildMetrics(metrics ?? [accuracy()], built, metrics !== undefined), built)
  const outputs = new Map([...lossOutputs(built), ...builtMetrics.outputs])
  const used = new Set(leavesOf(outputs.values()))
  const data = new Map([...[...graph.inputs].filter(([, value]) => used.has(value)), ...built.targets])
  const evaluation = { name: `${graph.name || 'model'}/evaluation`, inputs: data, outputs }
  return {
    training: evaluation,
    evaluation,
    curvature: null,
    noise: new Map(),
    data,
    loss: built,
    evaluated: built,
    metrics: { training: builtMetrics, evaluation: builtMetrics },
    parameters: new Map(),
    statistics: new Map(),
  }
}
