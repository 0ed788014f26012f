import Table from 'cli-table3'
import { limitName } from '../../util/printable.js'

/** A table without rules: columns of numbers are aligned to the right, and long names are shortened. */
export function formatTable(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const table = new Table({
    head: [...head],
    chars: { ...Object.fromEntries(borders.map((border) => [border, ''])), middle: '  ' },
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
    colAligns: head.map((_, i) =>
      rows.length > 0 && rows.every((row) => typeof row[i] === 'number') ? 'right' : 'left',
    ),
  })
  for (const row of rows)
    table.push(row.map((cell) => (typeof cell === 'number' ? formatNumber(cell) : limitName(cell))))
  return indent(table.toString())
}

const borders = [
  ...['top', 'top-mid', 'top-left', 'top-right', 'bottom', 'bottom-mid', 'bottom-left', 'bottom-right'],
  ...['left', 'left-mid', 'mid', 'mid-mid', 'right', 'right-mid'],
]

/** Indents every line by two spaces and removes spaces at line ends. */
export const indent = (text: string): string => text.replace(/^/gm, '  ').replace(/[ \t]+$/gm, '')

/** An integer with thousands separators, another number with four significant digits. */
export const formatNumber = (value: number): string =>
  Number.isInteger(value) ? value.toLocaleString('en-US') : String(Number(value.toPrecision(4)))

/** A number and its noun: `1 step`, `2 steps`. */
export const formatCount = (value: number, noun: string): string =>
  `${formatNumber(value)} ${noun}${value === 1 ? '' : 's'}`

/** A number of bytes in the largest unit that fits: `4.5 MiB`. */
export function formatBytes(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB']
  const power = bytes === 0 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), units.length - 1)
  return power === 0 ? formatCount(bytes, 'byte') : `${(bytes / 1024 ** power).toFixed(1)} ${units[power]}`
}

/** Seconds as people read them: `42 s`, `3 min 5 s`, `2 h 10 min`. */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '?'
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`
}
