import type { Random } from 'onnx-ire/data'

/** One fault that a case found. Faults of one cause are counted together. */
export interface Fault {
  /** The kind of the fault, and the code and top stack frame of its error if it has one. */
  readonly cause: string
  readonly detail: string
}

/** The result of a case. */
export interface Outcome {
  /** The end of the case, for the counts of the report: 'accepted', or the code of a typed error. */
  readonly ended: string
  readonly faults: readonly Fault[]
}

/** A case of a campaign: the same seed makes the same case. */
export interface Case {
  readonly title: string
  /** The file that the case reads, if it reads a single one: the reproducer of its faults. */
  readonly file?: Uint8Array
  /**
   * Runs the case.
   * @param enter reports the stage that begins, so that a hang or a crash can be attributed
   */
  run(enter: (stage: string) => void): Outcome | Promise<Outcome>
  /** Cases with fewer changes, for shrinking a reproducer. */
  simpler?(): Iterable<Case>
}

/** Limits of a case; exceeding one is a fault. */
export interface Limits {
  /** Processor time of the worker process in seconds. */
  readonly cpu: number
  /** Growth of the resident memory of the worker process, in MiB. */
  readonly memory: number
  /** Wall-clock time in seconds, for a case that waits for ever. Generous, since the machine may be busy. */
  readonly wall: number
}

/** Folders and settings of a campaign in a worker process. */
export interface Workplace {
  /** A folder of this worker process. It is removed when the process ends. */
  readonly folder: string
  /** A folder of all worker processes of a run. */
  readonly shared: string
  /** Whether to run long cases (`--soak`). */
  readonly long: boolean
}

/** A kind of attack on the library. */
export interface Campaign {
  readonly about: string
  /** Share of the time of a run, relative to the other campaigns. */
  readonly share: number
  readonly limits: Limits
  /** Prepares what all cases use, once per worker process. */
  open(workplace: Workplace): Promise<Opened>
}

/** A campaign whose worker process is prepared. */
export interface Opened {
  /** Makes the case of a seed; `random` is seeded with it. */
  make(seed: number, random: Random): Case | Promise<Case>
}
