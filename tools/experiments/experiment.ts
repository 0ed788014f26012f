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
   * The result of one run, plain data: from the store if these settings have been run before, else by running now.
   * @param cost in any unit, the same throughout an experiment
   * @param run given a function to be told the share of the run that is done
   */
  measure<Result extends object>(
    settings: Settings,
    cost: number,
    run: (done: (share: number) => void) => Result | Promise<Result>,
  ): Promise<Result>
}

/** What an experiment found. */
export interface Report {
  /** The body of RESULTS.md. */
  readonly markdown: string
  /** SVG files by name, without the ending. */
  readonly charts: Readonly<Record<string, string>>
  /** The numbers of the tables, for programs. */
  readonly summary: Readonly<Record<string, unknown>>
}

export interface Experiment {
  readonly name: string
  /** One line. */
  readonly about: string
  readonly duration: Readonly<Record<Scale, string>>
  readonly seeds: Readonly<Record<Scale, number>>
  run(lab: Lab): Promise<Report>
}

/** Thrown where a run ends because the user said so; what had been measured before is kept. */
export class Interrupted extends Error {
  constructor() {
    super('interrupted')
    this.name = 'Interrupted'
  }
}
