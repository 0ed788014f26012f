import { existsSync } from 'node:fs'
import { findScoreKind, type ScoreKind } from '../../analysis/snippet/score-kind.js'
import { type Dataset, subset } from '../../data/dataset.js'
import { numbersOf } from '../../ir/leaf.js'
import type { Tensor } from '../../ir/tensor.js'
import { RecipeData } from '../../node/data/recipe-data.js'
import { readModel } from '../../node/files/model.js'
import type { Model } from '../../onnx/model.js'
import { passOptions } from '../../recipe/build.js'
import { createLoss, lossTarget, taskLosses } from '../../recipe/loss.js'
import type { Recipe } from '../../recipe/recipe.js'
import { hasImageFiles } from '../../recipe/sources/source.js'
import type { Runtime } from '../../runtime/runtime.js'
import { evaluateExamples } from '../../train/evaluate.js'
import { predict } from '../../train/predict.js'
import { OnnxIreError } from '../../util/errors.js'
import { getOwn } from '../../util/record.js'
import { timeFirstOutputs } from '../prediction/top-classes.js'
import type { StoredRun } from '../runs/read-run.js'
import { spread } from '../spread.js'
import { RunFolder } from '../training/run-folder.js'
import { findOutdatedModel } from '../training/run-record.js'
import { type DescribedPrediction, describePrediction } from './describe-prediction.js'
import { drawInput } from './draw-example.js'

interface Shown {
  /** Path of the file within the folder of the data, or the position among the validation data. */
  readonly name: string | number
  /** PNG as a data address, if the model reads images. */
  readonly image?: string
  /** Text, if the data have one. */
  readonly text?: string
}

/** An example of the validation data with its class. */
export interface ClassExample extends Shown {
  readonly given: string | number
  readonly predicted: string | number
  /** Probability of the predicted class, and that of the given one. */
  readonly probability: number
  readonly givenProbability: number
}

/** An example of the validation data with other targets. */
export interface LossExample extends Shown, DescribedPrediction {
  readonly loss: number
}

/** Examples for a report: some of all, and the worst of them; or why there are none. */
export type ShownExamples =
  | { readonly kind: 'classes'; readonly samples: readonly ClassExample[]; readonly worst: readonly ClassExample[] }
  | { readonly kind: 'losses'; readonly samples: readonly LossExample[]; readonly worst: readonly LossExample[] }
  | { readonly reason: string }

/** The trained model of a run with its validation data. */
interface Trained {
  readonly run: StoredRun
  readonly recipe: Recipe
  readonly model: Model
  readonly data: Dataset
  readonly runtime: Runtime
}

/**
 * Predicts the validation data of a finished run with its trained model. The worst examples are those whose class has
 * the lowest probability; with other targets than one class per example, those with the largest loss.
 */
export async function predictExamples(run: StoredRun, count: number, runtime: Runtime): Promise<ShownExamples> {
  const { mixup: _, ...recipe } = run.recipe
  const path = new RunFolder(run.path).tuned
  if (!existsSync(path) || (await findOutdatedModel(run.path))) return { reason: 'the run is not finished' }
  if (passOptions(recipe).passes || taskLosses(recipe.loss).some(([, loss]) => !lossTarget(loss)))
    return { reason: 'the loss compares examples with each other' }
  const model = await readModel(path)
  const opened = await RecipeData.open(recipe, model)
  const data = await opened.validation()
  if (!data) return { reason: 'the recipe has no validation data' }
  if (!('batch' in data)) return { reason: 'the validation data are a stream' }
  const trained: Trained = { run, recipe: opened.recipe, model, data, runtime }
  return (await predictClasses(trained, count)) ?? (await rankByLoss(trained, count))
}

/** Undefined if the targets are not one class per example. */
async function predictClasses(trained: Trained, count: number): Promise<ShownExamples | undefined> {
  const { run, recipe, model, data, runtime } = trained
  const { loss } = recipe
  const target = loss.kind === 'cross-entropy' || loss.kind === 'focal' ? lossTarget(loss) : undefined
  if (!target?.isClasses) return undefined
  const [only, ...others] = model.proto.graph?.output ?? []
  const output = (loss as { logits?: string }).logits ?? (others.length === 0 ? only?.name : undefined)
  if (output === undefined) return undefined
  const labels = new Float64Array(data.length).fill(Number.NaN)
  const settings = {
    runtime,
    outputs: [output],
    ...(recipe.batchSize === undefined ? {} : { batchSize: recipe.batchSize }),
  }
  const kind = findScoreKind(model, output)
  const found: { index: number; given: number; probabilities: readonly number[] }[] = []
  for await (const { indices, outputs } of predict(model, recordLabels(data, target.name, labels), settings)) {
    const rows = probabilitiesOf(outputs[output]!, indices.length, kind)
    if (!rows) return undefined
    for (const [i, index] of indices.entries())
      if (labels[index]! >= 0 && labels[index] !== target.ignoreIndex)
        found.push({ index, given: labels[index]!, probabilities: rows[i]! })
  }
  if (found.length === 0) return undefined
  const names = classNamesOf(run)
  const nameOf = nameExamples(trained)
  const show = async ({ index, given, probabilities }: (typeof found)[number]): Promise<ClassExample> => {
    const best = probabilities.indexOf(Math.max(...probabilities))
    return {
      name: nameOf(index),
      ...{ given: names?.[given] ?? given, predicted: names?.[best] ?? best },
      ...{ probability: probabilities[best]!, givenProbability: probabilities[given] ?? 0 },
      ...drawInput(await data.batch([index]), [target.name]),
    }
  }
  const ranked = found.toSorted((a, b) => (a.probabilities[a.given] ?? 0) - (b.probabilities[b.given] ?? 0))
  return {
    kind: 'classes',
    samples: await Promise.all(spread(found, count).map(show)),
    worst: await Promise.all(ranked.slice(0, count).map(show)),
  }
}

async function rankByLoss(trained: Trained, count: number): Promise<ShownExamples> {
  const { run, recipe, model, data, runtime } = trained
  const found: { index: number; loss: number }[] = []
  try {
    for await (const loss of evaluateExamples(model, data, { loss: createLoss(recipe.loss), runtime }))
      found.push({ index: found.length, loss })
  } catch (error) {
    if (!(error instanceof OnnxIreError)) throw error
    return { reason: error.message }
  }
  const losses = taskLosses(recipe.loss).map(([, loss]) => loss)
  const targets = losses.map((loss) => lossTarget(loss)!.name)
  const nameOf = nameExamples(trained)
  const source = recipe.data.train
  const details = { names: classNamesOf(run), statistics: source.kind === 'csv' ? source.statistics : undefined }
  const shown = new Map<number, LossExample>()
  const samples = spread(found, count)
  // The loss of an example without a target that counts is no number.
  const ranked = found.filter(({ loss }) => !Number.isNaN(loss)).sort((a, b) => b.loss - a.loss)
  const worst = ranked.slice(0, count)
  const chosen = [...new Set([...samples, ...worst])]
  const which = chosen.map(({ index }) => index)
  const settings = { runtime, batchSize: 1, timeFirst: timeFirstOutputs(model, recipe.loss) }
  for await (const { indices, outputs } of predict(model, subset(data, which), settings)) {
    const { index, loss } = chosen[indices[0]!]!
    const tensors = await data.batch([index])
    const described = describePrediction(model, losses[0]!, tensors, outputs, details)
    shown.set(index, { name: nameOf(index), loss, ...drawInput(tensors, targets), ...described })
  }
  const show = ({ index }: (typeof found)[number]) => shown.get(index)!
  return { kind: 'losses', samples: samples.map(show), worst: worst.map(show) }
}

function classNamesOf({ classes }: StoredRun): readonly string[] | undefined {
  const [names, ...others] = Object.values(classes)
  return others.length === 0 ? names : undefined
}

function nameExamples({ recipe, data }: Trained): (index: number) => string | number {
  const keys = hasImageFiles(recipe.data.train) ? data.identify?.().keys : undefined
  return (index) => keys?.[index] ?? index
}

/** The data, with the class number of every example that is read written to `labels`. */
const recordLabels = (data: Dataset, target: string, labels: Float64Array): Dataset => ({
  ...data,
  length: data.length,
  async batch(indices) {
    const tensors = await data.batch(indices)
    const tensor = getOwn(tensors, target)
    if (tensor?.dims.length === 1) for (const [i, label] of numbersOf(tensor).entries()) labels[indices[i]!] = label
    return tensors
  },
})

/** Probabilities of the classes of every example; undefined for another output. */
function probabilitiesOf(tensor: Tensor, examples: number, kind: ScoreKind): number[][] | undefined {
  const [rows, classes, ...others] = tensor.dims
  if (rows !== examples || classes === undefined || classes < 2 || others.length > 0) return undefined
  const numbers = numbersOf(tensor)
  return Array.from({ length: examples }, (_, i) => {
    const row = numbers.slice(i * classes, (i + 1) * classes)
    if (kind === 'probabilities') return row
    const most = Math.max(...row)
    const exponentials = row.map((score) => Math.exp(score - most))
    const total = exponentials.reduce((sum, each) => sum + each, 0)
    return exponentials.map((each) => each / total)
  })
}
