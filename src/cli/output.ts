import Table from 'cli-table3'
import type { Io } from './io.js'

/** Prints what a command found: one JSON document, or text for people. */
export function print(io: Io, result: object, json: boolean | undefined, text: () => string): void {
  io.stdout.write(`${json ? JSON.stringify(result, null, 2) : text()}\n`)
}

/** Columns without rules around them. Numbers are aligned to the right. */
export function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const blank = Object.fromEntries(borders.map((place) => [place, '']))
  const columns = head.map((_, i) =>
    rows.length > 0 && rows.every((row) => typeof row[i] === 'number') ? 'right' : 'left',
  )
  const made = new Table({
    head: [...head],
    chars: { ...blank, middle: '  ' },
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
    colAligns: columns,
  })
  for (const row of rows) made.push(row.map((cell) => (typeof cell === 'number' ? count(cell) : cell)))
  return indented(made.toString())
}

const borders = [
  'top',
  'top-mid',
  'top-left',
  'top-right',
  'bottom',
  'bottom-mid',
  'bottom-left',
  'bottom-right',
  'left',
  'left-mid',
  'mid',
  'mid-mid',
  'right',
  'right-mid',
]

export const indented = (text: string): string => text.replace(/^/gm, '  ').replace(/[ \t]+$/gm, '')

export const count = (value: number): string =>
  Number.isInteger(value) ? value.toLocaleString('en-US') : String(Number(value.toPrecision(4)))

export const plural = (value: number, noun: string): string => `${count(value)} ${noun}${value === 1 ? '' : 's'}`

export function byteSize(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB']
  const power = bytes === 0 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), units.length - 1)
  return power === 0 ? plural(bytes, 'byte') : `${(bytes / 1024 ** power).toFixed(1)} ${units[power]}`
}

export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '?'
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`
}
