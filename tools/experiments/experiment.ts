/** Plain data that decides what a run gives: the key under which its result is kept. */
export type Settings = Readonly<Record<string, unknown>>

/** How much an experiment does: 'small' within half an hour on two cores, 'full' as long as it takes. */
export type Scale = 'small' | 'full'

/** What an experiment is given to work with. */
export interface Lab {
  readonly scale: Scale
  /** Every final comparison has one run per seed. */
  readonly seeds: readonly number[]
  /** Where the data lie, if the user says so. */
  readonly data: string | undefined
  readonly signal: { readonly aborted: boolean }
  /** Announces work to come, in the units of `measure`'s cost: for the time left. */
  expect(cost: number): void
  /**
   * Returns the result of one run as plain data: from the store if a run with these settings exists, else by running it.
   * @param cost in any unit that is the same throughout an experiment
   * @param run receives a function to report the completed fraction of the run
   */
  measure<Result extends object>(
    settings: Settings,
    cost: number,
    run: (done: (share: number) => void) => Result | Promise<Result>,
  ): Promise<Result>
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
  run(lab: Lab): Promise<Report>
}

/** Thrown when the user interrupts a run; earlier results remain stored. */
export class Interrupted extends Error {
  constructor() {
    super('interrupted')
    this.name = 'Interrupted'
  }
}
