import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { type Experiment, Interrupted, type Lab, type Scale, type Settings } from './experiment.js'
import type { Progress } from './progress.js'
import { Store, toKey } from './store.js'

export interface RunOptions {
  readonly scale: Scale
  readonly seeds: readonly number[]
  /** Folder of results.json, RESULTS.md and the charts. */
  readonly out: string
  readonly resume: boolean
  readonly data?: string | undefined
  readonly signal: { readonly aborted: boolean }
  /** Seconds that the experiment may take. */
  readonly budget?: number | undefined
  readonly progress: Progress
  /** Command that the report names as its origin. */
  readonly command: string
}

/**
 * Runs an experiment and writes its results. Every run is stored when it completes, so that the next call resumes after
 * an interruption, which throws `Interrupted`.
 */
export async function runExperiment(experiment: Experiment, options: RunOptions): Promise<void> {
  const { scale, seeds, out, signal, budget, data, progress } = options
  const store = new Store(join(out, 'results.json'), options.resume)
  const running = new Map<string, Promise<object>>()
  const measured = async (
    settings: Settings,
    cost: number,
    run: (done: (share: number) => void) => object | Promise<object>,
  ): Promise<object> => {
    const known = store.get(settings)
    if (known) {
      progress.skip(cost)
      return known.result
    }
    // Runs that never await would block signal handling.
    await setImmediate()
    if (signal.aborted) throw new Interrupted()
    const started = performance.now()
    const result = await run((share) => progress.within(settings, cost, share))
    await setImmediate()
    if (signal.aborted) throw new Interrupted()
    store.add({ settings, result, seconds: Number(((performance.now() - started) / 1000).toPrecision(3)) })
    progress.done(settings, cost)
    return result
  }
  const lab: Lab = {
    scale,
    seeds,
    data,
    signal,
    budget,
    expect: (cost) => progress.expect(cost),
    recall: (settings) => store.get(settings),
    async measure<Result extends object>(
      settings: Settings,
      cost: number,
      run: (done: (share: number) => void) => Result | Promise<Result>,
    ): Promise<Result> {
      const key = toKey(settings)
      const result = running.get(key) ?? measured(settings, cost, run).finally(() => running.delete(key))
      running.set(key, result)
      return (await result) as Result
    },
  }
  const { markdown, charts, summary } = await experiment.run(lab)
  store.finish({ experiment: experiment.name, scale, seeds, ...summary })
  mkdirSync(out, { recursive: true })
  for (const [name, svg] of Object.entries(charts)) writeFileSync(join(out, `${name}.svg`), svg)
  const head = `# ${experiment.name}: ${experiment.about}\n\nWritten by \`${options.command}\`.\n\n`
  writeFileSync(join(out, 'RESULTS.md'), `${head}${markdown.trim()}\n`)
}
