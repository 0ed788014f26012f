import { extname } from 'node:path'
import type { Command } from 'commander'
import { findScoreKind } from '../../analysis/snippet/score-kind.js'
import type { DatasetOrStream } from '../../data/stream.js'
import type { ClassNames } from '../../node/data/data-source.js'
import { readRegularFile, writeFileAtomic } from '../../node/files/files.js'
import { listModelFiles } from '../../node/files/model.js'
import type { Model } from '../../onnx/model.js'
import { parseJson } from '../../recipe/parse.js'
import type { LossRecipe } from '../../recipe/recipe.js'
import { type Prediction, predict } from '../../train/predict.js'
import { isStringList } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { matchNames } from '../../util/pattern.js'
import { getOwn } from '../../util/record.js'
import { usageError } from '../errors.js'
import { formatCount, formatDuration } from '../format.js'
import type { DataOptions } from '../inputs/select-data.js'
import { Interrupted, onInterrupt } from '../interrupts.js'
import { type Io, print, writeText } from '../io.js'
import { createRuntime, type RuntimeOptions } from '../options.js'
import { prepareOutputs } from '../outputs.js'
import { createExampleCounter } from '../progress.js'
import { type Origins, type PredictionFormat, writeCsv, writeJsonLines, writeTopClasses } from './format-predictions.js'
import { findBlank, findClassAxis, hasBinaryScores, timeFirstOutputs } from './top-classes.js'

/** Options of `onnx-ire predict`. */
export interface PredictOptions extends RuntimeOptions, Pick<DataOptions, 'on' | 'set' | 'data'> {
  readonly output?: string
  readonly outputs?: readonly string[]
  readonly classes?: true
  readonly classNames?: string
  /** Field of the texts; default 'text'. */
  readonly text?: string
  /** Tokens of the longest text; default `defaultTextLength`. */
  readonly length?: number
}

/** A model, and the names of its classes in its metadata or its run. */
export interface GivenModel {
  readonly path: string
  readonly model: Model
  readonly names: readonly string[] | undefined
  /** The loss of the recipe, if one is given. */
  readonly loss?: LossRecipe | undefined
}

/** Examples to predict for. */
export interface ExampleSource {
  /** Lists the files that are read. */
  listFiles(): Promise<readonly string[]>
  open(): Promise<OpenedExamples>
}

/** Opened examples, with where each comes from. */
export interface OpenedExamples {
  readonly data: DatasetOrStream
  readonly origins: Origins | undefined
  /** Position of each example in the data of which these are a part. */
  readonly positions?: Uint32Array | undefined
  /** Number of the examples of which `data` are a part, if both are known. */
  readonly total?: number | undefined
  /** Class names of the data, by tensor. */
  readonly classes?: ClassNames | undefined
}

/** Writes predictions in one format. */
export type Writer = (predictions: AsyncIterable<Prediction>, format: PredictionFormat) => AsyncIterable<Uint8Array>

/** The writer for the format of the output. */
export function selectWriter(command: Command, { output, classes, classNames, json }: PredictOptions): Writer {
  if (classNames !== undefined && !classes) usageError(command, '--class-names needs --classes')
  if (output === undefined) return classes && !json ? writeTopClasses : writeJsonLines
  const writers: Readonly<Record<string, Writer>> = { '.jsonl': writeJsonLines, '.csv': writeCsv }
  return (
    getOwn(writers, extname(output).toLowerCase()) ??
    usageError(command, '--output must end in .jsonl or .csv, which sets the format')
  )
}

/** Predicts for examples, and writes the predictions to the output or prints them. */
export async function writePredictions(
  io: Io,
  given: GivenModel,
  source: ExampleSource,
  options: PredictOptions,
  writer: Writer,
): Promise<void> {
  const { path, model } = given
  const { output, outputs, batchSize, threads, quiet = false } = options
  await prepareOutputs({ files: output === undefined ? [] : [output] }, async () => [
    ...listModelFiles(path, model),
    ...(options.classNames === undefined ? [] : [options.classNames]),
    ...(await source.listFiles()),
  ])
  const format = await readFormat(model, options, given)
  const { data, origins, positions, classes = {} } = await source.open()
  // The characters of a text are those of the data if the model does not have them.
  const classNames = format.classNames ?? (format.blank === undefined ? undefined : Object.values(classes)[0])
  const runtime = await createRuntime(options.provider, threads)
  const counter = createExampleCounter(io.stderr, quiet, data.length)
  const interrupts = onInterrupt(io, () => {})
  const started = performance.now()
  let examples = 0
  async function* countedPredictions(): AsyncGenerator<Prediction> {
    const settings = { ...(outputs ? { outputs } : {}), ...(batchSize === undefined ? {} : { batchSize }) }
    const timeFirst = timeFirstOutputs(model, given.loss)
    for await (const prediction of predict(model, data, { runtime, timeFirst, ...settings })) {
      yield prediction
      examples += prediction.indices.length
      counter.at(examples)
      if (interrupts.signal.aborted) throw new Interrupted()
    }
  }
  try {
    const content = writer(countedPredictions(), { ...format, classNames, origins, positions })
    if (output === undefined) {
      for await (const chunk of content) writeText(io.stdout, Buffer.from(chunk).toString())
      return
    }
    await writeFileAtomic(output, content)
    counter.stop()
    const seconds = (performance.now() - started) / 1000
    const result = { model: path, output, examples, seconds, runtime: runtime.description }
    const text = () => `wrote ${output}: ${formatCount(examples, 'example')} in ${formatDuration(seconds)}`
    print(io, result, options.json, text)
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error
    counter.stop()
    const after = `interrupted after ${formatCount(examples, 'example')}`
    if (output === undefined) {
      writeText(io.stderr, `${after}, whose predictions were printed\n`)
      throw error
    }
    const text = `${after}; nothing was written`
    print(io, { model: path, output: null, interrupted: true, examples }, options.json, () => text)
    throw error
  } finally {
    interrupts.release()
    counter.stop()
    await runtime.dispose()
  }
}

async function readFormat(
  model: Model,
  { classes, outputs, classNames }: PredictOptions,
  { names: described, loss }: GivenModel,
): Promise<Omit<PredictionFormat, 'origins' | 'positions'>> {
  const none = { classAxis: undefined, isBinary: false, blank: undefined, classNames: undefined }
  if (!classes) return { scores: null, ...none }
  const all = (model.proto.graph?.output ?? []).map(({ name = '' }) => name)
  const names = matchNames(outputs ?? '*', all, 'output')
  if (names.length !== 1)
    throw new OnnxIreError(
      'invalid-option',
      `--classes reads the scores of one output, but ${names.join(', ')} are selected; name one with --outputs`,
    )
  return {
    scores: findScoreKind(model, names[0]!),
    isBinary: hasBinaryScores(model, names[0]!, loss),
    classAxis: findClassAxis(model, names[0]!, loss),
    blank: findBlank(names[0]!, loss),
    classNames: classNames === undefined ? described : await readClassNames(classNames),
  }
}

/** Reads class names: a JSON list, or `classes.json` of a run folder with one list. Throws `io`, `invalid-data`. */
async function readClassNames(path: string): Promise<readonly string[]> {
  const value = parseJson((await readRegularFile('class names', path)).toString())
  const lists = Array.isArray(value) ? [value] : Object.values(Object(value))
  const [names] = lists
  if (lists.length === 1 && isStringList(names)) return names
  throw new OnnxIreError('invalid-data', `${path} must hold exactly one list of class names: ["cat", "dog", ...]`)
}
