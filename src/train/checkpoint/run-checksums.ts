import type { Value } from '../../ir/value.js'
import type { Model } from '../../onnx/model.js'
import type { TrainingGraphs } from '../graphs/build.js'
import type { TrainerOptions } from '../options.js'
import { checksumGraph, checksumModel, type SourceChecksums } from './checksums.js'

/**
 * Computes the checksums of the model, the loss and the metrics of a run.
 * @param model the model, and the outputs that the loss is built onto
 * @param isTrained whether training changes the tensor of a name
 */
export function checksumSources(
  model: { readonly file: Model; readonly outputs: readonly Value[] },
  { evaluation, metrics }: TrainingGraphs,
  { loss, best, earlyStopping, schedule }: TrainerOptions,
  isTrained: (name: string) => boolean,
): SourceChecksums {
  const checksumOf = (outputs: ReadonlyMap<string, Value>) => checksumGraph(outputs.values(), model.outputs)
  const measured = metrics.evaluation.outputs
  const losses = new Map([...evaluation.outputs].filter(([name]) => !measured.has(name)))
  const monitors = [best, earlyStopping, schedule?.kind === 'plateau' ? schedule : undefined]
  const isMonitored = monitors.some((monitor) => monitor && (monitor.metric ?? 'loss') !== 'loss')
  return {
    ...checksumModel(model.file, isTrained),
    loss: `${loss.name} ${checksumOf(losses)}`,
    ...(isMonitored ? { metrics: checksumOf(measured) } : {}),
  }
}
