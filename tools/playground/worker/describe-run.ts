import { type DatasetSplit, OnnxIreError, split } from 'onnx-ire'
import { importGraph } from 'onnx-ire/graph'
import type { DataSummary, Settings } from '../protocol.js'
import type { Examples } from './data.js'
import { findInput, toImageOptions } from './form.js'
import { nameOf, type OpenModel } from './open-model.js'
import type { TrainedRun } from './take-away/trained-run.js'

/** A run with its parts for training and evaluation, apart from its models. */
export type Description = Omit<TrainedRun, 'tuned' | 'history'> & { readonly parts: DatasetSplit }

/** Describes a run with a model and data. */
export async function describeRun(
  { source, file: original, form, classes }: OpenModel,
  { dataset, summary, choice }: Examples,
  settings: Settings,
): Promise<Description> {
  const graph = importGraph(original)
  const [input, { shape, dtype }] = findInput(graph)
  const parts = split(dataset, { validation: settings.held, seed: settings.seed })
  const image = form.kind === 'image' ? { image: toImageOptions(form) } : {}
  const task = form.kind === 'image' ? 'image-classification' : 'tabular-classification'
  const fits = summary.classes.length === classes
  // Runs that were stored before there was a choice kept a head that fits.
  const keepsHead = fits && (settings.head ?? 'kept') === 'kept'
  return {
    ...{ original, name: nameOf(source), form, choice, summary, settings, parts, input },
    usage: { task, classes: summary.classes, ...image },
    newHead: keepsHead ? null : summary.classes.length,
    trained: parts.train.length,
    output: [...graph.outputs.keys()][0]!,
    dtype: dtype === 'float16' ? dtype : 'float32',
    batch: typeof shape?.[0] === 'number' ? shape[0] : 1,
    example: (await dataset.batch(Uint32Array.of(0)))[input]!,
  }
}

/** Throws 'invalid-option' unless there are examples for training and for evaluation. */
export function checkHeldOut({ examples, counts }: DataSummary, settings: Settings): void {
  const held = Math.round(examples * settings.held)
  if (held < 1 || held >= examples)
    throw new OnnxIreError(
      'invalid-option',
      `Of ${examples} examples a share of ${settings.held} leaves none for ${held < 1 ? 'evaluation' : 'training'}: add examples, or change the held-out share.`,
    )
  // Of no class all examples are held out.
  if (counts.every((count) => count < 2))
    throw new OnnxIreError(
      'invalid-option',
      'Every class has one example only: add more, since some are held out to measure how well the model works on new ones.',
    )
}
