import { existsSync } from 'node:fs'
import { findScoreKind, type ScoreKind } from '../../analysis/snippet/score-kind.js'
import type { Dataset } from '../../data/dataset.js'
import { numbersOf } from '../../ir/leaf.js'
import type { Tensor } from '../../ir/tensor.js'
import { RecipeData } from '../../node/data/recipe-data.js'
import { readModel } from '../../node/files/model.js'
import { encodePng } from '../../node/trackers/encode-png.js'
import type { Model } from '../../onnx/model.js'
import { passOptions } from '../../recipe/build.js'
import { lossTarget } from '../../recipe/loss.js'
import type { Runtime } from '../../runtime/runtime.js'
import { predict } from '../../train/predict.js'
import { OnnxIreError } from '../../util/errors.js'
import { getOwn } from '../../util/record.js'
import type { StoredRun } from '../runs/read-run.js'
import { RunFolder } from '../training/run-folder.js'

/** An example of the validation data and its prediction. */
export interface ShownExample {
  /** Path of the file within the folder of the data, or the position among the validation data. */
  readonly name: string | number
  readonly given: string | number
  readonly predicted: string | number
  /** Probability of the predicted class, and that of the given one. */
  readonly probability: number
  readonly givenProbability: number
  /** PNG as a data address, if the model reads images. */
  readonly image?: string
  /** Text, if the data have one. */
  readonly text?: string
}

/** Examples for a report: some of all, and those whose label has the lowest probability; or why there are none. */
export type ShownExamples =
  | { readonly samples: readonly ShownExample[]; readonly worst: readonly ShownExample[] }
  | { readonly reason: string }

/** Predicts the validation data of a finished classification run with its trained model. */
export async function predictExamples(run: StoredRun, count: number, runtime: Runtime): Promise<ShownExamples> {
  const { mixup: _, ...recipe } = run.recipe
  const { loss } = recipe
  const path = new RunFolder(run.path).tuned
  if (!existsSync(path)) return { reason: 'the run is not finished' }
  const target = loss.kind === 'cross-entropy' || loss.kind === 'focal' ? lossTarget(loss) : undefined
  if (!target?.isClasses || passOptions(recipe).passes) return { reason: 'the loss does not compare classes' }
  const model = await readModel(path)
  const opened = await RecipeData.open(recipe, model, model)
  const data = await opened.validation()
  if (!data) return { reason: 'the recipe has no validation data' }
  if (!('batch' in data)) return { reason: 'the validation data are a stream' }
  const output = (loss as { logits?: string }).logits ?? onlyOutput(model)
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
    if (!rows) return { reason: `the output '${output}' is not one score per class` }
    for (const [i, index] of indices.entries())
      if (labels[index]! >= 0) found.push({ index, given: labels[index]!, probabilities: rows[i]! })
  }
  if (found.length === 0) return { reason: 'the labels are not one class per example' }
  const names = Object.values(run.classes).length === 1 ? Object.values(run.classes)[0] : undefined
  const { keys } = data.identify?.() ?? {}
  const show = async ({ index, given, probabilities }: (typeof found)[number]): Promise<ShownExample> => {
    const best = probabilities.indexOf(Math.max(...probabilities))
    return {
      name: recipe.data.train.kind === 'image-folder' && keys ? keys[index]! : index,
      ...{ given: names?.[given] ?? given, predicted: names?.[best] ?? best },
      ...{ probability: probabilities[best]!, givenProbability: probabilities[given] ?? 0 },
      ...drawInput(await data.batch([index]), target.name),
    }
  }
  const step = Math.max(1, found.length / count)
  const spread = Array.from({ length: Math.min(count, found.length) }, (_, i) => found[Math.floor(i * step)]!)
  const ranked = found.toSorted((a, b) => (a.probabilities[a.given] ?? 0) - (b.probabilities[b.given] ?? 0))
  return {
    samples: await Promise.all(spread.map(show)),
    worst: await Promise.all(ranked.slice(0, count).map(show)),
  }
}

function onlyOutput({ proto }: Model): string {
  const [name, ...others] = (proto.graph?.output ?? []).map((output) => output.name ?? '')
  if (name !== undefined && others.length === 0) return name
  throw new OnnxIreError('invalid-recipe', 'the model has several outputs: name that with the scores, loss.logits')
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

/** Longest side of an image in pixels. */
const side = 96
/** Characters of a text that are shown. */
const longest = 240

/** The input of an example as an image as the model reads it, scaled to its darkest and brightest value, or as a text. */
function drawInput(tensors: Readonly<Record<string, Tensor>>, target: string): Pick<ShownExample, 'image' | 'text'> {
  for (const [name, tensor] of Object.entries(tensors)) {
    if (name === target) continue
    if (tensor.dtype === 'string') return { text: String((tensor.data as readonly string[])[0]).slice(0, longest) }
    const [, a, b, c, ...others] = tensor.dims
    if (a === undefined || b === undefined || c === undefined || others.length > 0) continue
    const isFirst = a === 1 || a === 3
    if (!isFirst && c !== 1 && c !== 3) continue
    const [channels, rows, columns] = isFirst ? [a, b, c] : [c, a, b]
    const numbers = numbersOf(tensor)
    const at = (channel: number, y: number, x: number) =>
      numbers[isFirst ? (channel * rows + y) * columns + x : (y * columns + x) * channels + channel]!
    return { image: drawImage(channels, rows, columns, at) }
  }
  return {}
}

function drawImage(
  channels: number,
  rows: number,
  columns: number,
  at: (channel: number, y: number, x: number) => number,
): string {
  const scale = Math.min(1, side / Math.max(rows, columns))
  const [height, width] = [Math.max(1, Math.round(rows * scale)), Math.max(1, Math.round(columns * scale))]
  const pixels: number[] = []
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let channel = 0; channel < 3; channel++)
        pixels.push(meanOf(at, channel % channels, [y, height, rows], [x, width, columns]))
  const least = pixels.reduce((p, q) => Math.min(p, q), Number.POSITIVE_INFINITY)
  const range = pixels.reduce((p, q) => Math.max(p, q), Number.NEGATIVE_INFINITY) - least || 1
  const rgb = Uint8Array.from(pixels, (value) => Math.round((255 * (value - least)) / range))
  return `data:image/png;base64,${Buffer.from(encodePng(width, height, rgb)).toString('base64')}`
}

type Axis = readonly [at: number, shown: number, length: number]

/** Mean of the pixels that become one. */
function meanOf(
  at: (channel: number, y: number, x: number) => number,
  channel: number,
  rows: Axis,
  columns: Axis,
): number {
  const range = ([i, shown, length]: Axis) => {
    const from = Math.floor((i * length) / shown)
    return [from, Math.max(from + 1, Math.floor(((i + 1) * length) / shown))] as const
  }
  const [[top, bottom], [left, right]] = [range(rows), range(columns)]
  let sum = 0
  for (let y = top; y < bottom; y++) for (let x = left; x < right; x++) sum += at(channel, y, x)
  return sum / ((bottom - top) * (right - left))
}
