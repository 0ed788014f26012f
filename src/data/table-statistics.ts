import type { DatePart } from './formats/date.js'

/** Statistics of one feature. A number becomes (x - offset) / divisor, with x = fill if it is missing. */
export interface FeatureStatistics {
  /** The part of a date that the feature is; its name is then that of the column, a dot and the part. */
  readonly part?: DatePart
  readonly fill?: number | string
  readonly offset?: number
  readonly divisor?: number
  readonly categories?: readonly string[]
}

/** Statistics of the features of a table, by tensor and feature. They are plain JSON. */
export type TableStatistics = Readonly<Record<string, Readonly<Record<string, FeatureStatistics>>>>
