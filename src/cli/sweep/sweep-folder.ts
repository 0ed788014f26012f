import { existsSync } from 'node:fs'
import { readdir, readFile, rm } from 'node:fs/promises'
import { join, relative, resolve, sep } from 'node:path'
import { writeFileAtomic } from '../../node/files/files.js'
import { lockFolder } from '../../node/files/lock-folder.js'
import { makeFolder } from '../../node/files/make-folder.js'
import { diffRecipes } from '../../recipe/diff.js'
import type { Recipe } from '../../recipe/recipe.js'
import { mapPaths } from '../../recipe/resolve.js'
import type { SweepAxes } from '../../sweep/search.js'
import type { SweepTrial } from '../../sweep/sweep.js'
import { OnnxIreError } from '../../util/errors.js'
import { diffSources, type TrialSources } from './trial-sources.js'

/** Values that a sweep tries, and how. An interrupted sweep continues only with the same plan. */
export interface SweepPlan {
  readonly over: SweepAxes
  readonly trials?: number
  readonly halving?: number
  readonly seed: number
  readonly metric: string
}

/** Content of `sweep.json`. */
interface SweepRecord {
  readonly recipe: Recipe
  readonly plan: SweepPlan
  readonly trials: readonly SweepTrial[]
  /** The inputs of each combination; null for one that cannot be opened. Earlier versions did not write it. */
  readonly sources?: readonly (TrialSources | null)[]
}

/**
 * The folder of a sweep: `sweep.json` with its plan and the results so far, a run folder `trial-<n>` per combination,
 * and at the end `best.json`, the recipe of the best trial. Paths of the recipes are relative to the folder.
 */
export class SweepFolder {
  readonly path: string
  readonly best: string
  readonly #record: string
  readonly #trials: SweepTrial[] = []
  #sources: readonly (TrialSources | null)[] = []

  constructor(path: string) {
    this.path = resolve(path)
    this.best = join(this.path, 'best.json')
    this.#record = join(this.path, 'sweep.json')
  }

  /** Finished trials, those of the interrupted sweep included. */
  get trials(): readonly SweepTrial[] {
    return this.#trials
  }

  /** The run folder of a trial. */
  trialFolder(index: number): string {
    return join(this.path, `trial-${index + 1}`)
  }

  /**
   * Begins a sweep, or continues the one in the folder. Returns a function that unlocks the folder.
   * @param sources what each combination reads
   * @throws OnnxIreError `invalid-option` if the folder holds a sweep and neither `resume` nor `force` is set, or
   * another sweep, or one of other models or data; `locked`
   */
  async begin(
    recipe: Recipe,
    plan: SweepPlan,
    sources: readonly (TrialSources | null)[],
    { resume, force }: { readonly resume: boolean; readonly force: boolean },
  ): Promise<() => void> {
    await makeFolder(this.path)
    const unlock = await lockFolder(this.path)
    try {
      const exists = existsSync(this.#record)
      if (exists && !resume && !force)
        throw new OnnxIreError(
          'invalid-option',
          `${this.path} already holds a sweep: continue it with --resume, replace it with --force, or choose another folder with --out`,
        )
      if (exists && resume) {
        const before = await this.#read()
        checkSame(this.path, before, { recipe, plan })
        checkSources(this.path, before.sources, sources)
        // Runs that failed for another reason than divergence are tried again.
        this.#trials.push(...before.trials.filter(({ error }) => error === undefined))
      }
      if (exists && force)
        for (const name of await readdir(this.path))
          if (/^trial-\d+$/.test(name)) await rm(join(this.path, name), { recursive: true })
      await rm(this.best, { force: true })
      this.#sources = sources
      await this.#write(recipe, plan)
      return unlock
    } catch (error) {
      unlock()
      throw error
    }
  }

  /** Stores a finished trial. */
  async add(trial: SweepTrial, recipe: Recipe, plan: SweepPlan): Promise<void> {
    this.#trials.push(trial)
    await this.#write(recipe, plan)
  }

  /** Writes the recipe of the best trial. */
  async writeBest(recipe: Recipe): Promise<void> {
    await writeFileAtomic(this.best, `${JSON.stringify(this.#withRelativePaths(recipe), null, 2)}\n`)
  }

  async #read(): Promise<SweepRecord> {
    try {
      return JSON.parse(await readFile(this.#record, 'utf8')) as SweepRecord
    } catch (cause) {
      const reason = (cause as Error).message
      throw new OnnxIreError('io', `cannot read ${this.#record}: ${reason}; replace the sweep with --force`, { cause })
    }
  }

  #write(recipe: Recipe, plan: SweepPlan): Promise<void> {
    const [trials, sources] = [this.#trials, this.#sources]
    const record: SweepRecord = { recipe: this.#withRelativePaths(recipe), plan, trials, sources }
    return writeFileAtomic(this.#record, `${JSON.stringify(record, null, 2)}\n`)
  }

  #withRelativePaths = (recipe: Recipe): Recipe =>
    mapPaths(recipe, (path) => (relative(this.path, path) || '.').split(sep).join('/'))
}

function checkSame(path: string, before: Pick<SweepRecord, 'recipe' | 'plan'>, now: typeof before): void {
  const fields = ['over', 'trials', 'halving', 'seed', 'metric'] as const
  // A run may be resumed with others of these, but scores of a sweep are compared.
  const others = ['epochs', 'steps', 'weights'] as const
  const changed = [
    ...diffRecipes(before.recipe, now.recipe),
    ...others.filter((name) => before.recipe[name] !== now.recipe[name]),
    ...fields
      .filter((name) => JSON.stringify(before.plan[name]) !== JSON.stringify(now.plan[name]))
      .map((name) => `--${name}`),
  ]
  if (changed.length === 0) return
  throw new OnnxIreError(
    'invalid-option',
    `the sweep in ${path} differs in ${changed.join(', ')}: continue it with its own recipe and options, or start another one with --out`,
  )
}

function checkSources(path: string, before: SweepRecord['sources'], now: NonNullable<SweepRecord['sources']>): void {
  const changed = [...new Set(now.flatMap((each, index) => diffSources(before?.[index], each)))]
  if (changed.length === 0) return
  throw new OnnxIreError(
    'invalid-option',
    `the sweep in ${path} was begun with other contents of ${changed.join(' and ')}, so its scores cannot be compared with those of further trials: restore them, replace the sweep with --force, or start another one with --out`,
  )
}
