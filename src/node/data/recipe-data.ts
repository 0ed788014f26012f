import { batchCount, batches } from '../../data/batches.js'
import { oversample } from '../../data/classes.js'
import { type Dataset, splitIndices, subset } from '../../data/dataset.js'
import { removeClasses } from '../../data/model/model-usage.js'
import type { DatasetOrStream, ExampleStream } from '../../data/stream.js'
import { splitStream } from '../../data/stream.js'
import type { TableStatistics } from '../../data/table-statistics.js'
import { numbersOf } from '../../ir/leaf.js'
import type { LossTarget } from '../../loss/registry.js'
import { importGraph } from '../../onnx/import/import-graph.js'
import type { Model } from '../../onnx/model.js'
import { lossTargets } from '../../recipe/loss.js'
import { convertEpochsToSteps } from '../../recipe/optimizer.js'
import type { DataSource, LossRecipe, Recipe } from '../../recipe/recipe.js'
import { applyMixup, resolveRecipe } from '../../recipe/resolve.js'
import { repeatModel } from '../../train/model/repeat-model.js'
import type { HeadOptions } from '../../train/model/replace-head.js'
import { OnnxIreError, withPath } from '../../util/errors.js'
import { lazy } from '../../util/lazy.js'
import { getOwn } from '../../util/record.js'
import type { ClassNames, OpenContext, OpenedSource } from './data-source.js'
import { openData } from './open-data.js'

/** A recipe whose head has a number of classes. */
type ResolvedHead = Omit<Recipe, 'head'> & { readonly head?: HeadOptions }

/**
 * Resolves the number of classes of a new head, 'data' becoming the number of class names of the training data, or
 * their largest class number and one.
 * @throws OnnxIreError `invalid-data` for training data of one class
 */
export async function resolveHead(recipe: Recipe, model: Model): Promise<ResolvedHead> {
  const { head, ...rest } = recipe
  if (!head) return rest
  const classes =
    head.classes === 'data' ? await withPath('head.classes', () => countClasses(recipe, model)) : head.classes
  if (head.classes === 'data' && classes < 2)
    throw new OnnxIreError(
      'invalid-data',
      'head.classes: all training data are of one class; a classifier needs two or more classes',
    )
  return { ...rest, head: { ...head, classes } }
}

async function countClasses(recipe: Recipe, model: Model): Promise<number> {
  const { validation: _, ...data } = recipe.data
  const sources = new RecipeSources({ ...recipe, data: { ...data, balance: false } }, removeClasses(model))
  const targets = lossTargets(recipe.loss)
  const names = await sources.classes()
  const named = targets.flatMap(({ name, isClasses }) => (isClasses ? (getOwn(names, name) ?? []).length : []))
  const counts = new Set(named.filter((count) => count > 0))
  if (counts.size === 1) return [...counts][0]!
  const { numbers, ignoreIndex } = await readClassNumbers(await sources.labels(), targets)
  return numbers.reduce((most, label) => (label === ignoreIndex ? most : Math.max(most, label)), 0) + 1
}

/** Data sets of a recipe, opened at first use, and the recipe with its data-dependent fields resolved. */
export class RecipeData {
  /** The recipe; every field except `data` is resolved. */
  readonly recipe: Recipe
  readonly #sources: RecipeSources

  private constructor(recipe: Recipe, sources: RecipeSources) {
    this.recipe = recipe
    this.#sources = sources
  }

  /**
   * Resolves the fields of a recipe that depend on the model or the data. Opens the data only if a field needs them.
   * @param model the model that reads the data, with its head replaced
   */
  static async open(recipe: Recipe, model: Model): Promise<RecipeData> {
    const sources = new RecipeSources(recipe, model, recipe.loss)
    const graph = lazy(() => repeatModel(importGraph(model), recipe))
    const context = { graph, labels: () => sources.labels(), classes: () => sources.classes() }
    return new RecipeData(await resolveRecipe(recipe, context), sources)
  }

  /** The training data, with mixup if the recipe sets it. */
  async train(): Promise<DatasetOrStream> {
    return applyMixup(await this.#sources.train(), this.recipe)
  }

  /**
   * The training data without balancing and mixup, with the class number of every example. Examples whose label the
   * loss ignores are left out.
   * @throws OnnxIreError `invalid-option` for a stream, or a loss that does not compare exactly one tensor of class
   * numbers
   */
  labeledTrain(): Promise<LabeledTrain> {
    return this.#sources.labeledTrain()
  }

  /** The validation data, if any. */
  async validation(): Promise<DatasetOrStream | undefined> {
    const data = await this.#sources.validation()
    return data && applyMixup(data, this.recipe)
  }

  /** Paths of the examples of a part, if every example is a file. */
  files(part: 'train' | 'validation'): Promise<readonly string[] | undefined> {
    return this.#sources.files(part)
  }

  /** Position of each example of a part in the source; undefined for streams, and for validation data of their own. */
  positions(part: 'train' | 'validation'): Promise<Uint32Array | undefined> {
    return this.#sources.positions(part)
  }

  /** Converts optimizer settings given in epochs to steps. Opens the training data to count its batches. */
  async inSteps(): Promise<Recipe> {
    const { batchSize = 32, optimizer } = this.recipe
    const steps = async () => batchCount(await this.train(), { batchSize })
    return { ...this.recipe, optimizer: await convertEpochsToSteps(optimizer, steps) }
  }

  /** Class names of the training data, by tensor. */
  classes(): Promise<ClassNames> {
    return this.#sources.classes()
  }

  /** Facts about the training data that a user should know. */
  warnings(): Promise<readonly string[]> {
    return this.#sources.warnings()
  }

  /** A warning of texts that `ctc` leaves out, if their number is known before training. */
  tooLong(): Promise<string | undefined> {
    return this.#sources.tooLong()
  }

  /** Adds the statistics of the training data to the sources of a recipe, so that it reads other data alike. */
  async withStatistics(recipe: Recipe): Promise<Recipe> {
    const statistics = await this.#sources.statistics()
    if (!statistics) return recipe
    const add = (source: DataSource): DataSource => (source.kind === 'csv' ? { ...source, statistics } : source)
    const { train, validation } = recipe.data
    return {
      ...recipe,
      data: { ...recipe.data, train: add(train), ...(validation && { validation: add(validation) }) },
    }
  }
}

/** Training data and the class numbers of their examples. */
export interface LabeledTrain {
  readonly data: Dataset
  readonly labels: readonly number[]
  /** Position of each example in the source of the training data. */
  readonly positions: Uint32Array
  /** Path of each example, if every example is a file. */
  readonly files: readonly string[] | undefined
  /** Each example as `data.exclude` names it: by its path relative to the folder of the source, or its position. */
  readonly names: readonly (string | number)[]
}

/** The part of a source that is trained on, or held out. */
interface SourcePart extends OpenedSource {
  /** Position of each example in the source; absent for streams. */
  readonly positions?: Uint32Array
}

/** The data sources of a recipe: split and balanced, without mixup. */
class RecipeSources {
  readonly #recipe: Recipe
  readonly #context: OpenContext
  readonly #split = lazy(() => this.#openAndSplit())

  /** @param loss undefined if the head of the model is yet to be replaced */
  constructor(recipe: Recipe, model: Model, loss?: LossRecipe) {
    this.#recipe = recipe
    const targets = lossTargets(recipe.loss)
    this.#context = { model, targets, loss, classes: async () => ({}) }
  }

  async train(): Promise<DatasetOrStream> {
    const { data } = (await this.#split()).train
    if (!this.#recipe.data.balance) return data
    if (!('batch' in data))
      throw new OnnxIreError('invalid-option', 'data.balance: streams cannot be balanced; use classWeights of the loss')
    return withPath('data.balance', async () => {
      const { numbers, ignoreIndex } = await readClassNumbers(await this.labels(), this.#context.targets ?? [])
      return oversample(data, numbers, { seed: this.#recipe.seed ?? 0, ignoreIndex })
    })
  }

  async labeledTrain(): Promise<LabeledTrain> {
    const { data, files, positions } = (await this.#split()).train
    if (!('batch' in data) || !positions)
      throw new OnnxIreError(
        'invalid-option',
        'data.train: a stream has no numbered examples; load the data without stream',
      )
    const { numbers, ignoreIndex } = await readClassNumbers(await this.labels(), this.#context.targets ?? [])
    const { keys } = data.identify?.() ?? {}
    const counted = positions.map((_, i) => i).filter((i) => numbers[i] !== ignoreIndex)
    return {
      data: subset(data, counted),
      labels: Array.from(counted, (i) => numbers[i]!),
      positions: counted.map((i) => positions[i]!),
      files: files && Array.from(counted, (i) => files[i]!),
      names: Array.from(counted, (i) => (files && keys ? keys[i]! : positions[i]!)),
    }
  }

  /** The training data, restricted to cheap tensors if the source provides them. */
  async labels(): Promise<DatasetOrStream> {
    const { data, labels = data } = (await this.#split()).train
    return labels
  }

  async validation(): Promise<DatasetOrStream | undefined> {
    const { validation: source, split: fraction } = this.#recipe.data
    if (fraction) return (await this.#split()).validation?.data
    if (!source) return undefined
    const statistics = () => this.statistics()
    const context = { ...this.#context, classes: () => this.classes(), statistics }
    return (await openData('data.validation', source, context)).data
  }

  /** Files of the training data, or of those that `data.split` holds out. */
  async files(part: 'train' | 'validation'): Promise<readonly string[] | undefined> {
    return (await this.#split())[part]?.files
  }

  async positions(part: 'train' | 'validation'): Promise<Uint32Array | undefined> {
    return (await this.#split())[part]?.positions
  }

  /** Statistics of the columns of the training data, if it is a table with features. */
  async statistics(): Promise<TableStatistics | undefined> {
    const { train } = this.#recipe.data
    if (train.kind !== 'csv') return undefined
    return train.statistics ?? (await this.#split()).train.data.statistics
  }

  async classes(): Promise<ClassNames> {
    return (await this.#split()).train.classes ?? {}
  }

  async warnings(): Promise<readonly string[]> {
    return (await this.#split()).train.warnings ?? []
  }

  async tooLong(): Promise<string | undefined> {
    const { positions, tooLong } = (await this.#split()).train
    return withPath('data.train', () => positions && tooLong?.(positions))
  }

  async #openAndSplit(): Promise<{ readonly train: SourcePart; readonly validation?: SourcePart }> {
    const { train: source, split: fraction, exclude = [] } = this.#recipe.data
    const opened = await openData('data.train', source, this.#context)
    const { data, ...others } = opened
    const excluded = await withPath('data.exclude', () => findExcluded(opened, exclude))
    if (!('batch' in data)) {
      if (!fraction) return { train: opened }
      return withPath('data.split', () => {
        const isFitted = source.kind === 'csv' && source.statistics !== undefined
        const { train, validation, labels } = splitStreamed(data, opened.labels, fraction, isFitted)
        return { train: { ...others, data: train, ...(labels ? { labels } : {}) }, validation: { data: validation } }
      })
    }
    const { seed = 0, ...options } = fraction ?? {}
    const all = Uint32Array.from({ length: data.length }, (_, i) => i)
    const chosen = fraction
      ? await withPath('data.split', () => splitIndices(data, { ...options, seed }))
      : { train: all, validation: undefined }
    const positions = chosen.train.filter((position) => !excluded.has(position))
    if (!fraction && excluded.size === 0) return { train: { ...opened, positions } }
    const fitted = data.fitTo?.(positions) ?? data
    const { labels, files } = opened
    const filesAt = (places: Uint32Array) => (files ? { files: Array.from(places, (place) => files[place]!) } : {})
    return {
      train: {
        ...{ ...others, data: subset(fitted, positions), positions },
        ...(labels && 'batch' in labels ? { labels: subset(labels, positions) } : {}),
        ...filesAt(positions),
      },
      ...(chosen.validation && {
        validation: {
          ...{ data: subset(fitted, chosen.validation), positions: chosen.validation },
          ...filesAt(chosen.validation),
        },
      }),
    }
  }
}

/** Positions of the examples that a recipe excludes. Throws `invalid-option`. */
function findExcluded({ data, files }: OpenedSource, names: readonly (string | number)[]): Set<number> {
  if (names.length === 0) return new Set()
  if (!('batch' in data))
    throw new OnnxIreError('invalid-option', 'a stream has no numbered examples; load it without stream')
  const keys = files && data.identify?.().keys
  const positions = new Map<string | number, number>(keys?.map((key, i) => [key, i] as const))
  return new Set(
    names.map((name) => {
      const position = typeof name === 'number' ? name : positions.get(name)
      if (position !== undefined && position < data.length) return position
      const allowed = `${keys ? 'a path of a file relative to the folder, or ' : ''}a number from 0 to ${data.length - 1}`
      throw new OnnxIreError('invalid-option', `there is no example ${JSON.stringify(name)}: it must be ${allowed}`)
    }),
  )
}

/** Splits the examples of a stream, and their labels in the same way. */
function splitStreamed(
  data: ExampleStream,
  labels: DatasetOrStream | undefined,
  { seed = 0, ...options }: NonNullable<Recipe['data']['split']>,
  isFitted: boolean,
) {
  if (data.statistics && !isFitted)
    throw new OnnxIreError(
      'invalid-option',
      'the statistics of the columns of a stream would include the examples that are held out: give the validation data as data.validation, or read the table without stream',
    )
  const { validation, folds, stratify } = options
  if (stratify || validation === undefined)
    throw new OnnxIreError(
      'invalid-option',
      `${folds === undefined ? 'stratify' : 'folds'}: a stream is not read before it is split: omit the field`,
    )
  const shared = { validation, seed }
  return {
    ...splitStream(data, shared),
    labels: labels && !('batch' in labels) ? splitStream(labels, shared).train : undefined,
  }
}

/**
 * Reads the class number of every example, among them the one that the loss ignores. Throws unless the loss compares
 * exactly one tensor of class numbers.
 */
async function readClassNumbers(
  data: DatasetOrStream,
  targets: readonly LossTarget[],
): Promise<{ readonly numbers: readonly number[]; readonly ignoreIndex: number | undefined }> {
  const [target, ...others] = targets.filter(({ isClasses }) => isClasses)
  if (!target || others.length > 0)
    throw new OnnxIreError('invalid-option', 'the loss must compare exactly one tensor of class numbers')
  const numbers: number[] = []
  for await (const { tensors, size } of batches(data, { batchSize: 1024 })) {
    const tensor = getOwn(tensors, target.name)
    if (tensor?.dims.length !== 1 || tensor.dims[0] !== size)
      throw new OnnxIreError(
        'invalid-data',
        `'${target.name}' of the data is ${tensor ? `[${tensor.dims.join(', ')}] for ${size} examples` : 'missing'}: it must have one class number per example`,
      )
    numbers.push(...numbersOf(tensor))
  }
  return { numbers, ignoreIndex: target.ignoreIndex }
}
