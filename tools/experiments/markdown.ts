import type { Spread } from './statistics.js'

export const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')

/** Formats a number with four significant digits, or as a word if it is not finite. */
export const number = (value: number | null, digits = 4): string =>
  value === null || !Number.isFinite(value) ? 'diverged' : String(Number(value.toPrecision(digits)))

export const fixed =
  (digits: number) =>
  (value: number): string =>
    value.toFixed(digits)

/** Formats the mean and the half width of its 95 % interval; for one value only the mean. */
export const withInterval = ({ mean, half }: Spread, digits: number, sign = false): string => {
  if (Number.isNaN(mean)) return 'diverged'
  const shown = `${sign && mean >= 0 ? '+' : ''}${mean.toFixed(digits)}`
  return Number.isFinite(half) ? `${shown} ± ${half.toFixed(digits)}` : shown
}

/** Formats mean and standard deviation. */
export const withDeviation = ({ mean, deviation }: Spread, digits: number): string =>
  Number.isNaN(mean)
    ? 'diverged'
    : Number.isFinite(deviation)
      ? `${mean.toFixed(digits)} (sd ${deviation.toFixed(digits)})`
      : mean.toFixed(digits)
