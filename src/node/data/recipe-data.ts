import { batchCount, batches } from '../../data/batches.js'
import { oversample } from '../../data/classes.js'
import { type Dataset, split } from '../../data/dataset.js'
import { splitStream } from '../../data/split-stream.js'
import type { DatasetOrStream } from '../../data/stream.js'
import { numbersOf } from '../../ir/leaf.js'
import { importGraph } from '../../onnx/import/import-graph.js'
import type { Model } from '../../onnx/model.js'
import { lossTarget, taskLosses } from '../../recipe/loss.js'
import { inSteps } from '../../recipe/optimizer.js'
import type { Recipe } from '../../recipe/recipe.js'
import { mixed, settled } from '../../recipe/settle.js'
import { OnnxIreError } from '../../util/errors.js'
import { withPath } from '../../util/with-path.js'
import type { ClassNames, OpenContext, OpenedSource } from './data-source.js'
import { openData } from './open-data.js'

/** A recipe's data, opened when first asked for, and the recipe with what it left to them. */
export class RecipeData {
  /** Everything but `data` is settled. */
  readonly recipe: Recipe
  private readonly parts: Parts

  private constructor(recipe: Recipe, parts: Parts) {
    this.recipe = recipe
    this.parts = parts
  }

  /**
   * @param model the model the data are for
   * @param trained the model with its head replaced, as it is trained
   */
  static async of(recipe: Recipe, model: Model, trained: Model): Promise<RecipeData> {
    const parts = new Parts(recipe, model)
    const graph = once(() => importGraph(trained))
    return new RecipeData(
      await settled(recipe, { graph, labels: async () => labelsOf((await parts.divided()).train) }),
      parts,
    )
  }

  async train(): Promise<DatasetOrStream> {
    return mixed(await this.parts.train(), this.recipe)
  }

  async validation(): Promise<DatasetOrStream | undefined> {
    const data = await this.parts.validation()
    return data && mixed(data, this.recipe)
  }

  /** The recipe with what it says in epochs counted in steps, for which the training data are opened. */
  async inSteps(): Promise<Recipe> {
    const { batchSize = 32, optimizer } = this.recipe
    const steps = async () => batchCount(await this.train(), { batchSize })
    return { ...this.recipe, optimizer: await inSteps(optimizer, steps) }
  }

  /** By tensor, the names of the class numbers in it. */
  classes(): Promise<ClassNames> {
    return this.parts.classes()
  }
}

const labelsOf = ({ data, labels = data }: OpenedSource): DatasetOrStream => labels

/** The sources of a recipe, before anything is done to their examples. */
class Parts {
  private readonly recipe: Recipe
  private readonly opening: OpenContext
  readonly divided = once(() => this.divide())

  constructor(recipe: Recipe, model: Model) {
    this.recipe = recipe
    const targets = taskLosses(recipe.loss).map(([, loss]) => lossTarget(loss))
    this.opening = { model, targets, classes: async () => ({}) }
  }

  async train(): Promise<DatasetOrStream> {
    const { train } = await this.divided()
    if (!this.recipe.data.balance) return train.data
    if (!('batch' in train.data))
      throw new OnnxIreError('invalid-option', 'data.balance: a stream is read in order; give classWeights instead')
    return withPath('data.balance', async () => {
      const labels = await classNumbers(labelsOf(train), this.opening.targets ?? [])
      return oversample(train.data as Dataset, labels, { seed: this.recipe.seed ?? 0 })
    })
  }

  async validation(): Promise<DatasetOrStream | undefined> {
    const { validation: source, split: share } = this.recipe.data
    if (share) return (await this.divided()).validation
    if (!source) return undefined
    return (await openData('data.validation', source, { ...this.opening, classes: () => this.classes() })).data
  }

  async classes(): Promise<ClassNames> {
    return (await this.divided()).train.classes ?? {}
  }

  private async divide(): Promise<{ readonly train: OpenedSource; readonly validation?: DatasetOrStream }> {
    const { train: source, split: share } = this.recipe.data
    const opened = await openData('data.train', source, this.opening)
    if (!share) return { train: opened }
    return withPath('data.split', async () => {
      const options = { validation: share.validation, seed: share.seed ?? 0 }
      const parts = (data: DatasetOrStream) => ('batch' in data ? split(data, options) : splitStream(data, options))
      const { train, validation } = parts(opened.data)
      // The same draw divides the labels, which are as many.
      const labels = opened.labels && parts(opened.labels).train
      return {
        train: { data: train, ...(labels ? { labels } : {}), ...(opened.classes ? { classes: opened.classes } : {}) },
        validation,
      }
    })
  }
}

async function classNumbers(
  data: DatasetOrStream,
  targets: readonly { readonly name: string; readonly isClasses: boolean }[],
) {
  const [target, ...others] = targets.filter(({ isClasses }) => isClasses)
  if (!target || others.length > 0)
    throw new OnnxIreError('invalid-option', 'the loss has to compare class numbers, and only once')
  const numbers: number[] = []
  for await (const { tensors, size } of batches(data, { batchSize: 1024 })) {
    const tensor = tensors[target.name]
    if (tensor?.dims.length !== 1 || tensor.dims[0] !== size)
      throw new OnnxIreError('invalid-data', `the data give no class number per example as '${target.name}'`)
    numbers.push(...numbersOf(tensor))
  }
  return numbers
}

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined
  return () => {
    made ??= { value: make() }
    return made.value
  }
}
