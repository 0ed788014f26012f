import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { DatasetOrStream } from '../../data/stream.js'
import { checkpointFolder } from '../../node/files/checkpoint-folder.js'
import { writeFileAtomic } from '../../node/files/files.js'
import { readModel } from '../../node/files/model.js'
import type { Model } from '../../onnx/model.js'
import { differsIn, type FitData, summarizeData } from '../../train/checkpoint/checksums.js'
import { OnnxIreError } from '../../util/errors.js'
import { formatCount, quotePath } from '../format.js'
import { type Output, writeText } from '../io.js'

/** Content of `run.json` in a run folder. */
interface RunRecord {
  /** Absolute path of the run folder when it was written, for paths of the recipe after the folder was moved. */
  readonly folder: string
  /** Number of examples and checksum of the data. */
  readonly data: FitData
  /** Number of steps after which `tuned.onnx` was written. */
  readonly tunedStep?: number
}

/** Files of a run folder that other commands read. */
export interface RunFiles {
  readonly model: string
  readonly recipe: string
  /** Class names, if the run has some. */
  readonly classes: string | undefined
}

/** The files of a run folder; undefined if the path is none. */
export function findRunFiles(path: string): RunFiles | undefined {
  const [recipe, classes] = [join(path, 'recipe.json'), join(path, 'classes.json')]
  if (!existsSync(recipe)) return undefined
  return { model: join(path, 'tuned.onnx'), recipe, classes: existsSync(classes) ? classes : undefined }
}

/**
 * Reads the trained model of a run, with a warning if the run was resumed after the model was written and has not ended
 * again. Throws `io`, with advice if the run has not ended.
 */
export async function readTrainedModel({ model, recipe }: RunFiles, stderr: Output): Promise<Model> {
  if (existsSync(model)) {
    const folder = dirname(recipe)
    const outdated = await findOutdatedModel(folder)
    if (outdated)
      writeText(
        stderr,
        `warning: ${model} is the model after ${formatCount(outdated.step, 'step')}, and the run was resumed: its newest checkpoint is of step ${outdated.newest}. Write the model of that one with onnx-ire export ${quotePath(folder)} -o model.onnx, or continue the run with onnx-ire train ${quotePath(recipe)} --resume\n`,
      )
    return readModel(model)
  }
  throw new OnnxIreError(
    'io',
    `cannot read the model ${model}: the run has not ended. Continue it with onnx-ire train ${quotePath(recipe)} --resume, or write the model of its newest checkpoint with onnx-ire export ${quotePath(dirname(recipe))} -o model.onnx`,
  )
}

const fileName = 'run.json'

/** Path of the record in a run folder. */
export const recordPath = (folder: string): string => join(folder, fileName)

/**
 * The step of the trained model of a run and that of its newest checkpoint, if the run was resumed after the model was
 * written and has not ended again; else undefined.
 */
export async function findOutdatedModel(
  folder: string,
): Promise<{ readonly step: number; readonly newest: number } | undefined> {
  const step = (await readRunRecord(join(folder, 'recipe.json')))?.tunedStep
  const [newest] = await checkpointFolder(join(folder, 'checkpoints')).steps()
  return step !== undefined && newest !== undefined && newest > step ? { step, newest } : undefined
}

/** Records after how many steps `tuned.onnx` was written, unless the run has no record. */
export async function recordTunedStep(folder: string, tunedStep: number): Promise<void> {
  const record = await readRunRecord(join(folder, 'recipe.json'))
  if (record) await writeRunRecord(folder, { ...record, tunedStep })
}

/** Writes the record of a run to its folder. */
export const writeRunRecord = (folder: string, record: RunRecord): Promise<void> =>
  writeFileAtomic(recordPath(folder), `${JSON.stringify(record, null, 2)}\n`)

/** Reads the record of the run that a recipe file belongs to; undefined if the file is not in a run folder. */
export async function readRunRecord(recipe: string): Promise<RunRecord | undefined> {
  const path = recordPath(dirname(recipe))
  if (!existsSync(path)) return undefined
  try {
    const { folder, data, tunedStep } = JSON.parse(await readFile(path, 'utf8')) as Partial<RunRecord>
    if (typeof folder !== 'string' || typeof data !== 'object') return undefined
    return { folder, data, ...(typeof tunedStep === 'number' && { tunedStep }) }
  } catch {
    return undefined // the record is of help only: without it paths are relative to the folder, and data not compared
  }
}

/** Describes how data differ from those of a run; undefined if they do not, as far as both are known. */
export async function describeOtherData(
  record: RunRecord | undefined,
  part: keyof FitData,
  data: DatasetOrStream,
): Promise<string | undefined> {
  const before = record?.data[part]
  if (!before) return undefined
  const now = await summarizeData(data)
  const isOtherCount = differsIn('examples', before, now)
  if (!isOtherCount && !differsIn('checksum', before, now)) return undefined
  const counts = isOtherCount ? `${now.examples} examples, the run had ${before.examples}` : 'other contents'
  return `the ${part} data are not those of the run in ${dirname(recordPath(record.folder))}: ${counts}. Examples that the run was trained on may be among them`
}
