import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { ClassNames } from '../../node/data/data-source.js'
import { findHolder, type LockHolder } from '../../node/files/lock-folder.js'
import type { Recipe } from '../../recipe/recipe.js'
import { namesOfTargets } from '../../recipe/usage.js'
import type { IntervalMetrics, StepProgress } from '../../train/options.js'
import { OnnxIreError } from '../../util/errors.js'
import { RunFolder } from '../training/run-folder.js'
import { findOutdatedModel } from '../training/run-record.js'

/** A line of a step; docs/run-folders.md has the meaning of the fields. */
export type StepLine = Pick<
  StepProgress,
  'step' | 'epoch' | 'loss' | 'lr' | 'gradientNorm' | 'kappa' | 'refreshed' | 'flatShare' | 'seconds'
>

/** A line of an evaluation interval. */
export type EpochLine = IntervalMetrics & { readonly memory?: number; readonly time?: string }

/** A line with measures of the trained tensors. */
interface TensorsLine {
  readonly step: number
  readonly tensors: NonNullable<StepProgress['tensors']>
}

/** A run as its folder describes it. */
export interface StoredRun {
  /** Absolute path of the folder. */
  readonly path: string
  /** Name in tables and charts, different for all runs that were read together. */
  readonly name: string
  readonly recipe: Recipe
  /** Class names of the labels, by tensor. */
  readonly classes: ClassNames
  /** 'running': a process trains in the folder; 'stopped': interrupted or failed, can be resumed. */
  readonly status: 'running' | 'finished' | 'stopped'
  /** The process that trains in the folder. */
  readonly holder: LockHolder | undefined
  readonly steps: readonly StepLine[]
  readonly epochs: readonly EpochLine[]
  readonly tensors: readonly TensorsLine[]
  readonly warnings: readonly string[]
}

/** Deepest folder in which runs are searched for. */
const maxDepth = 4

/**
 * Finds the run folders among paths, and in the folders among them that are none, in the order of the paths.
 * @throws OnnxIreError `io` for a path without a run
 */
export async function findRuns(paths: readonly string[]): Promise<string[]> {
  const found: string[] = []
  for (const path of paths) {
    const runs = await findIn(resolve(path), 0)
    if (runs.length === 0)
      throw new OnnxIreError('io', `${path} is not a run folder and contains none: name folders that train wrote`)
    found.push(...runs)
  }
  return [...new Set(found)]
}

async function findIn(folder: string, depth: number): Promise<string[]> {
  if (existsSync(join(folder, 'recipe.json')) && existsSync(join(folder, 'metrics.jsonl'))) return [folder]
  if (depth === maxDepth) return []
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
  const folders = entries.filter((entry) => entry.isDirectory() && !/^(\.|node_modules$|checkpoints$)/.test(entry.name))
  const names = folders.map(({ name }) => name).sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
  const runs = await Promise.all(names.map((name) => findIn(join(folder, name), depth + 1)))
  return runs.flat()
}

/** Files of a run, except its checkpoints. */
export const listRunFiles = (folder: string): readonly string[] =>
  ['recipe.json', 'metrics.jsonl', 'classes.json', 'run.json', 'start.onnx', 'tuned.onnx', 'flatness.json'].map(
    (name) => join(folder, name),
  )

/** Reads runs. Names are the shortest ends of the paths that differ. */
export async function readRuns(folders: readonly string[]): Promise<StoredRun[]> {
  const names = shortNames(folders)
  return Promise.all(folders.map((folder, i) => readRun(folder, names[i]!)))
}

async function readRun(path: string, name: string): Promise<StoredRun> {
  const folder = new RunFolder(path)
  const recipe = await folder.readRecipe()
  const holder = await findHolder(path)
  const lines = await readLines(join(path, 'metrics.jsonl'))
  const ofKind = <T>(kind: string) => lines.filter((line) => line['kind'] === kind) as T[]
  return {
    path,
    name,
    recipe,
    classes: namesOfTargets(recipe, await readClasses(path)),
    status: holder ? 'running' : existsSync(folder.tuned) && !(await findOutdatedModel(path)) ? 'finished' : 'stopped',
    holder,
    steps: ofKind<StepLine>('step'),
    epochs: ofKind<EpochLine>('epoch'),
    tensors: ofKind<TensorsLine>('tensors'),
    warnings: ofKind<{ message: string }>('warning').map(({ message }) => String(message)),
  }
}

/** Reads the lines of a log, without one that is cut off. JSON writes NaN as null, which is read as NaN. */
async function readLines(path: string): Promise<Record<string, unknown>[]> {
  const text = await readFile(path, 'utf8')
  return text.split('\n').flatMap((line) => {
    if (line === '') return []
    try {
      return [JSON.parse(line, (_, value: unknown) => (value === null ? Number.NaN : value)) as Record<string, unknown>]
    } catch {
      return []
    }
  })
}

async function readClasses(folder: string): Promise<ClassNames> {
  try {
    return JSON.parse(await readFile(join(folder, 'classes.json'), 'utf8')) as ClassNames
  } catch {
    return {}
  }
}

function shortNames(folders: readonly string[]): string[] {
  const parts = folders.map((folder) => folder.split(/[\\/]/))
  for (let length = 1; length < 20; length++) {
    const names = parts.map((part) => part.slice(-length).join('/'))
    if (new Set(names).size === names.length) return names
  }
  return [...folders]
}
