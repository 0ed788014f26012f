import { findScoreKind, type ScoreKind } from '../../analysis/snippet/score-kind.js'
import { numbersOf } from '../../ir/leaf.js'
import type { Tensor } from '../../ir/tensor.js'
import { type LabeledTrain, RecipeData } from '../../node/data/recipe-data.js'
import type { Model } from '../../onnx/model.js'
import { fitOptions } from '../../recipe/build.js'
import type { Recipe } from '../../recipe/recipe.js'
import { type LabelMargin, LabelMargins } from '../../train/label-margins.js'
import { predict } from '../../train/predict.js'
import { Trainer } from '../../train/trainer.js'
import { OnnxIreError } from '../../util/errors.js'
import { type CliProvider, createRuntime } from '../options.js'
import type { TrainingProgress } from '../progress.js'
import { openTraining } from '../training/open-training.js'
import { Stopped, stopOnAbort } from '../training/stop-on-abort.js'

/** An example of the training data, and how well its label fits. */
export interface MeasuredLabel {
  /** Path of the file, or the position in the data: an item of `data.exclude`. */
  readonly example: string | number
  /** Path of the file, if the example is one. */
  readonly file?: string
  /** Class of the label, by name if the classes have names. */
  readonly given: string | number
  /** The other class that the model preferred most. */
  readonly preferred: string | number
  readonly margin: number
}

/** The labels of the training data, the most doubtful first. */
export interface MeasuredLabels {
  readonly labels: readonly MeasuredLabel[]
  readonly evaluations: number
  readonly interrupted: boolean
}

/**
 * Trains a recipe, without a run folder, and measures after every evaluation interval by how much the score of the
 * given class of every training example exceeds those of the others.
 * @throws OnnxIreError `invalid-recipe` if the loss does not compare one output with class numbers
 */
export async function measureLabels(
  recipe: Recipe,
  {
    provider,
    signal,
    progress,
  }: { provider: CliProvider; signal: { readonly aborted: boolean }; progress: TrainingProgress },
): Promise<MeasuredLabels> {
  const output = scoreOutput(recipe)
  const { model, options, data, validation, classes } = await openTraining(recipe)
  const plain = await openPlain(recipe, model)
  const runtime = await createRuntime(provider, recipe.threads)
  try {
    const trainer = await Trainer.create(model, { ...options, runtime })
    let margins: LabelMargins | undefined
    const measure = async () => {
      const exported = trainer.export()
      const name = output ?? onlyOutput(exported)
      const kind = findScoreKind(exported, name)
      const { batchSize } = recipe
      const settings = { runtime, outputs: [name], ...(batchSize === undefined ? {} : { batchSize }) }
      for await (const { indices, outputs } of predict(exported, stopOnAbort(plain.data, signal), settings)) {
        const rows = scoresOf(name, outputs[name]!, indices.length, kind)
        margins ??= new LabelMargins(plain.labels, rows[0]!.length)
        for (const [i, row] of rows.entries()) margins.add(indices[i]!, row)
      }
      margins?.endEvaluation()
    }
    try {
      await trainer.train(data, {
        ...fitOptions(recipe),
        ...(validation ? { validation: stopOnAbort(validation, signal) } : {}),
        ...{ signal, onStep: progress.step },
        async onEvaluate(metrics) {
          progress.evaluation(metrics)
          await measure()
        },
      })
    } catch (error) {
      if (!(error instanceof Stopped)) throw error
      margins = undefined // some examples have a score more than others
    }
    await trainer.dispose()
    const [names] = Object.values(classes)
    return {
      labels: margins ? margins.rank().map((label) => describeLabel(label, plain, names)) : [],
      evaluations: margins?.evaluations ?? 0,
      interrupted: signal.aborted,
    }
  } finally {
    progress.stop()
    await runtime.dispose()
  }
}

/** Opens the training data without mixup. Predictions read them as evaluations do, without random augmentation. */
async function openPlain(recipe: Recipe, trained: Model): Promise<LabeledTrain> {
  const { mixup: _, ...plain } = recipe
  const opened = await RecipeData.open(plain, trained)
  return opened.labeledTrain()
}

/** Name of the output with the scores of the classes; undefined for the only one. */
function scoreOutput({ loss }: Recipe): string | undefined {
  if (loss.kind === 'cross-entropy' || loss.kind === 'focal') return loss.logits
  throw new OnnxIreError(
    'invalid-recipe',
    `labels are measured for the losses 'cross-entropy' and 'focal' with one class per example, and loss.kind is '${loss.kind}'`,
  )
}

function onlyOutput({ proto }: Model): string {
  const [name, ...others] = (proto.graph?.output ?? []).map((output) => output.name ?? '')
  if (name !== undefined && others.length === 0) return name
  throw new OnnxIreError('invalid-recipe', 'the model has several outputs: name that with the scores, loss.logits')
}

/** The scores of every example, as logits or logarithms of probabilities. */
function scoresOf(name: string, tensor: Tensor, examples: number, kind: ScoreKind): number[][] {
  const [rows, classes, ...others] = tensor.dims
  if (rows !== examples || classes === undefined || classes < 2 || others.length > 0)
    throw new OnnxIreError(
      'invalid-data',
      `the output '${name}' is [${tensor.dims.join(', ')}] for ${examples} examples; it must have a score per example and class`,
    )
  const numbers = numbersOf(tensor)
  // Probabilities that are rounded to 0 have a finite margin.
  const convert = kind === 'probabilities' ? (p: number) => Math.log(Math.max(p, 1e-30)) : (score: number) => score
  return Array.from({ length: examples }, (_, i) => numbers.slice(i * classes, (i + 1) * classes).map(convert))
}

function describeLabel(
  { index, given, preferred, margin }: LabelMargin,
  { names, files }: LabeledTrain,
  classes: readonly string[] | undefined,
): MeasuredLabel {
  return {
    example: names[index]!,
    ...(files ? { file: files[index]! } : {}),
    ...{ given: classes?.[given] ?? given, preferred: classes?.[preferred] ?? preferred, margin },
  }
}
