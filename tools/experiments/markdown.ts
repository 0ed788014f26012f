import type { Spread } from './statistics.js'

export const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')

/** Four significant digits, or a word for what is no number. */
export const number = (value: number | null, digits = 4): string =>
  value === null || !Number.isFinite(value) ? 'diverged' : String(Number(value.toPrecision(digits)))

export const fixed =
  (digits: number) =>
  (value: number): string =>
    value.toFixed(digits)

/** Mean and half width of its 95 % interval; the mean alone of one value. */
export const withInterval = ({ mean, half }: Spread, digits: number, sign = false): string => {
  if (Number.isNaN(mean)) return 'diverged'
  const shown = `${sign && mean >= 0 ? '+' : ''}${mean.toFixed(digits)}`
  return Number.isFinite(half) ? `${shown} ± ${half.toFixed(digits)}` : shown
}

/** Mean and standard deviation. */
export const withDeviation = ({ mean, deviation }: Spread, digits: number): string =>
  Number.isNaN(mean)
    ? 'diverged'
    : Number.isFinite(deviation)
      ? `${mean.toFixed(digits)} (sd ${deviation.toFixed(digits)})`
      : mean.toFixed(digits)
