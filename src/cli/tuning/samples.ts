import { findScoreKind } from '../../analysis/snippet/score-kind.js'
import type { Dataset } from '../../data/dataset.js'
import { numbersOf } from '../../ir/leaf.js'
import { sizeOf } from '../../ir/tensor.js'
import { compileGraph } from '../../lowering/compile.js'
import { importGraph } from '../../onnx/import/import-graph.js'
import type { Model } from '../../onnx/model.js'
import { disableDropout } from '../../op/rewrite.js'
import type { Runtime } from '../../runtime/runtime.js'
import { type PassOptions, passInput, repeatModel } from '../../train/model/repeat-model.js'
import { predict } from '../../train/predict.js'
import { shortenText } from '../format.js'
import { topClasses } from '../prediction/top-classes.js'

/** An example with the predictions of the model before and after a fine-tuning. */
export interface PredictedSample {
  readonly input: string
  readonly expected: string
  readonly before: string
  readonly after: string
}

/** Predictions of a task for some of its examples, as text. */
export interface Sampling {
  /** Describes an example by its number: a text, or the path of an image. */
  input(index: number): string
  expected(index: number): string
  /** Returns one prediction per number. */
  predict(model: Model, indices: readonly number[], runtime: Runtime): Promise<string[]>
}

const percent = (share: number): string => `${Math.round(100 * share)} %`

/** Predicts the most probable class with its probability, from the first output that has classes. */
export async function predictClasses(
  model: Model,
  data: Dataset,
  classes: readonly string[],
  runtime: Runtime,
): Promise<string[]> {
  const found: string[] = []
  for await (const { outputs } of predict(model, data, { runtime })) {
    const [name, scores] = Object.entries(outputs).find(([, { dims }]) => dims.at(-1) === classes.length)!
    for (const { class: top, probability } of topClasses(name, scores, findScoreKind(model, name)))
      found.push(top === null ? 'no class (its probability is NaN)' : `${classes[top]} (${percent(probability)})`)
  }
  return found
}

/** Computes the cosine similarity of every anchor of a batch with every positive, by an output of the model. */
export async function compareEmbeddings(
  model: Model,
  data: Dataset,
  { embedding, ...options }: PassOptions & { readonly embedding: string },
  runtime: Runtime,
): Promise<number[][]> {
  const { name, inputs, outputs } = disableDropout(repeatModel(importGraph(model), options))
  const program = await compileGraph(runtime, { name, inputs, outputs })
  try {
    const batch = await data.batch(Array.from({ length: data.length }, (_, i) => i))
    const results = await program.run(Object.fromEntries(program.inputNames.map((each) => [each, batch[each]!])))
    const [anchors, positives] = ['anchor', 'positive'].map((pass) => {
      const result = results[passInput(pass, embedding)]!
      const { dims } = result
      const width = sizeOf(dims) / dims[0]!
      const numbers = numbersOf(result)
      return Array.from({ length: dims[0]! }, (_, row) => normalize(numbers.slice(row * width, (row + 1) * width)))
    })
    return anchors!.map((a) => positives!.map((b) => a.reduce((sum, x, i) => sum + x * b[i]!, 0)))
  } finally {
    await program.release()
  }
}

function normalize(x: readonly number[]): number[] {
  const norm = Math.hypot(...x) || 1
  return x.map((value) => value / norm)
}

/** Samples as text. */
export const formatSamples = (samples: readonly PredictedSample[]): string[] =>
  samples.map(
    ({ input, expected, before, after }) =>
      `sample:   ${shortenText(input)}\nexpected: ${shortenText(expected)}\nbefore:   ${shortenText(before)}\nafter:    ${shortenText(after)}\n`,
  )
