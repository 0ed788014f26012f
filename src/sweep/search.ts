import { OnnxIreError } from '../util/errors.js'
import { Random } from '../util/random.js'
import { getOwn } from '../util/record.js'

/** A range of numbers that values are sampled from: evenly in the logarithm if both ends are above 0, else evenly. */
export interface SampledRange {
  readonly from: number
  readonly to: number
  /** Whether values are rounded to integers. Default false. */
  readonly integer?: boolean
}

/** The values that a sweep tries for one setting: a list, or a range to sample from. */
export type SweepAxis = readonly unknown[] | SampledRange

/** The axes of a sweep by the name of their setting. */
export type SweepAxes = Readonly<Record<string, SweepAxis>>

/** One value per axis. */
export type SweepValues = Readonly<Record<string, unknown>>

/** The most combinations of a grid. */
const maxCombinations = 100_000

/**
 * Lists the combinations of values that a sweep tries: all of them, the last axis fastest; or `trials` of them, chosen
 * by the seed, without repetition if no axis is a range.
 * @throws OnnxIreError `invalid-option` for no axis, an empty one or an impossible range; a range without `trials`; a
 * grid of more than 100,000 combinations
 */
export function listCombinations(over: SweepAxes, trials?: number, seed = 0): SweepValues[] {
  const axes = Object.entries(over)
  if (axes.length === 0) throw new OnnxIreError('invalid-option', 'sweep: over is empty; name at least one setting')
  for (const [name, axis] of axes) checkAxis(name, axis, trials)
  const random = new Random(seed).stream('sweep')
  if (axes.some(([, axis]) => isRange(axis)))
    return Array.from({ length: trials! }, () =>
      Object.fromEntries(axes.map(([name, axis]) => [name, sampleAxis(axis, random)])),
    )
  const lists = axes as [string, readonly unknown[]][]
  const size = lists.reduce((product, [, values]) => product * values.length, 1)
  if (size > maxCombinations)
    throw new OnnxIreError(
      'invalid-option',
      `sweep: over has ${size} combinations, and ${maxCombinations} are allowed; shorten the lists, or sample from ranges`,
    )
  const grid = lists.reduce<SweepValues[]>(
    (before, [name, values]) => before.flatMap((each) => values.map((value) => ({ ...each, [name]: value }))),
    [{}],
  )
  return trials === undefined || trials >= size ? grid : random.shuffle(grid).slice(0, trials)
}

/** Whether an axis is a range. */
const isRange = (axis: SweepAxis): axis is SampledRange => !Array.isArray(axis)

function checkAxis(name: string, axis: SweepAxis, trials: number | undefined): void {
  if (!isRange(axis)) {
    if (axis.length > 0) return
    throw new OnnxIreError('invalid-option', `sweep: over.${name} is an empty list`)
  }
  const { from, to } = axis
  if (!(Number.isFinite(from) && Number.isFinite(to) && from <= to))
    throw new OnnxIreError(
      'invalid-option',
      `sweep: over.${name} is from ${from} to ${to}; both must be numbers, and from at most to`,
    )
  if (axis.integer && Math.ceil(from) > to)
    throw new OnnxIreError('invalid-option', `sweep: over.${name} is from ${from} to ${to}, without an integer between`)
  if (trials === undefined)
    throw new OnnxIreError('invalid-option', `sweep: over.${name} is a range; give the number of trials to sample`)
}

/** The least number of different values of a range. */
const minValues = 20

/** Samples one value of an axis. Values of ranges have three significant digits, those of narrow ranges more. */
function sampleAxis(axis: SweepAxis, random: Random): unknown {
  if (!isRange(axis)) return axis[random.integer(axis.length)]
  const { from, to, integer } = axis
  const u = random.uniform()
  const value = from > 0 ? from * (to / from) ** u : from + (to - from) * u
  if (integer) return clamp(Math.round(value), Math.ceil(from), Math.floor(to))
  return from === to ? from : clamp(Number(value.toPrecision(digitsOf(axis))), from, to)
}

/** Number of significant digits at which a range of some width has `minValues`. */
function digitsOf({ from, to }: SampledRange): number {
  const magnitude = Math.floor(Math.log10(Math.max(Math.abs(from), Math.abs(to))))
  const step = Math.floor(Math.log10((to - from) / minValues))
  return clamp(magnitude - step + 1, 3, 17)
}

const clamp = (value: number, least: number, most: number): number => Math.min(most, Math.max(least, value))

/**
 * Axes for more trials near a combination of a sweep: a list of numbers becomes the range between the neighbors of the
 * value, beyond an end by the same factor, but only learning rates from below 1 to above; a range becomes a part of a
 * quarter of its width around the value; the value itself remains of any other axis.
 */
export function axesNear(over: SweepAxes, values: SweepValues): SweepAxes {
  return Object.fromEntries(
    Object.entries(over).map(([name, axis]) => [name, axisNear(name, axis, getOwn(values, name))]),
  )
}

function axisNear(name: string, axis: SweepAxis, value: unknown): SweepAxis {
  if (typeof value !== 'number') return [value]
  if (isRange(axis)) {
    const { from, to, integer } = axis
    const part =
      from > 0
        ? { from: value / (to / from) ** 0.125, to: value * (to / from) ** 0.125 }
        : { from: value - (to - from) / 8, to: value + (to - from) / 8 }
    return { from: Math.max(part.from, from), to: Math.min(part.to, to), ...(integer ? { integer } : {}) }
  }
  if (!axis.every((each) => typeof each === 'number')) return [value]
  const sorted = [...axis].sort((a, b) => a - b)
  const at = sorted.indexOf(value)
  const [below, above] = [sorted[at - 1], sorted[at + 1]]
  if (value <= 0) return { from: below ?? value, to: above ?? value }
  const from = below ?? (above === undefined ? value / 2 : (value * value) / above)
  const beyond = below === undefined || below <= 0 ? 2 * value : (value * value) / below
  // Shares such as momentum remain below 1: their distance from 1 shrinks by the factor.
  const isShare = value < 1 && beyond >= 1 && !/(^|\.)lr$/.test(name)
  const to = above ?? (isShare ? 1 - (1 - value) ** 2 / (1 - (below ?? from)) : beyond)
  return { from, to, ...(sorted.every(Number.isInteger) ? { integer: true } : {}) }
}
