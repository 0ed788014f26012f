/** Settings that determine the result of a run, as plain data; the key under which the result is stored. */
export type Settings = Readonly<Record<string, unknown>>

/** A completed run. */
export interface StoredRun {
  readonly settings: Settings
  readonly result: object
  readonly seconds: number
}

/** Scale of an experiment: 'small' takes at most half an hour on two cores; 'full' has no time limit. */
export type Scale = 'small' | 'full'

/** Context of an experiment. */
export interface Lab {
  readonly scale: Scale
  /** Seeds of every final comparison, which has one run per seed. */
  readonly seeds: readonly number[]
  /** Folder of the data, if given. */
  readonly data: string | undefined
  readonly signal: { readonly aborted: boolean }
  /** Seconds that the experiment may take, if limited. */
  readonly budget: number | undefined
  /** Announces future work, in the units of the cost of `measure`, to estimate the time left. */
  expect(cost: number): void
  /**
   * Returns the result of one run as plain data: from the store if it contains the settings, else by running it.
   * @param cost cost of the run, in any unit that is used throughout the experiment
   * @param run receives a function to report the completed fraction of the run
   */
  measure<Result extends object>(
    settings: Settings,
    cost: number,
    run: (done: (share: number) => void) => Result | Promise<Result>,
  ): Promise<Result>
  /** Returns a stored run of earlier or of this call. */
  recall(settings: Settings): StoredRun | undefined
}

/** Results of an experiment. */
export interface Report {
  /** Body of RESULTS.md. */
  readonly markdown: string
  /** SVG files by name without extension. */
  readonly charts: Readonly<Record<string, string>>
  /** Numbers of the tables, for programs. */
  readonly summary: Readonly<Record<string, unknown>>
}

export interface Experiment {
  readonly name: string
  /** Description in one line. */
  readonly about: string
  readonly duration: Readonly<Record<Scale, string>>
  readonly seeds: Readonly<Record<Scale, number>>
  /** Whether the experiment chooses its runs by the time it may take: `--budget`. */
  readonly budgeted?: true
  run(lab: Lab): Promise<Report>
}

/** Thrown when the user interrupts a run; earlier results remain stored. */
export class Interrupted extends Error {
  constructor() {
    super('interrupted')
    this.name = 'Interrupted'
  }
}
