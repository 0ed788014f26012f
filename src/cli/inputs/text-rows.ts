import { iterateRecords } from '../../node/data/csv.js'
import { readJsonRows } from '../../node/data/json-rows.js'
import { OnnxIreError } from '../../util/errors.js'
import { getOwn, isObject } from '../../util/record.js'

/** A row of data, with its fields by name. */
export type Row = Readonly<Record<string, unknown>>

/**
 * Reads the rows of a data file: the records of a .csv or .tsv file as objects of texts without the empty fields, or
 * JSON as `readJsonRows`. Throws `io`, or `invalid-data` naming file and line.
 */
export async function readDataRows(path: string): Promise<readonly unknown[]> {
  const [, kind] = /\.([ct])sv(?:\.gz)?$/i.exec(path) ?? []
  if (kind === undefined) return readJsonRows(path)
  const records: string[][] = []
  for await (const record of iterateRecords(path, kind.toLowerCase() === 't' ? '\t' : ',')) records.push(record)
  const [names = [], ...rest] = records
  const twice = names.find((name, i) => names.indexOf(name) < i)
  if (twice !== undefined)
    throw new OnnxIreError('invalid-data', `${path}:1: two columns have the name '${twice}'; rename one of them`)
  return rest.map((record) =>
    Object.fromEntries(record.flatMap((field, i) => (field === '' ? [] : [[names[i]!, field] as const]))),
  )
}

/** Reads rows that are objects, as `readDataRows`. Throws `io`, or `invalid-data` naming the row. */
export async function readRows(path: string): Promise<readonly Row[]> {
  const rows = await readDataRows(path)
  if (rows.length === 0) throw new OnnxIreError('invalid-data', `${path} has no rows`)
  return rows.map((row, i) => {
    if (isObject(row)) return row
    throw new OnnxIreError('invalid-data', `${path}: row ${i + 1} is no object`)
  })
}

/** The field of a row. @param i index of the row, for messages */
export function fieldOf(row: Row, name: string, path: string, i: number): unknown {
  const value = getOwn(row, name)
  if (value !== undefined && value !== null) return value
  throw new OnnxIreError(
    'invalid-data',
    value === null
      ? `${path}: '${name}' of row ${i + 1} is null`
      : `${path}: row ${i + 1} has no '${name}'; it has ${Object.keys(row).join(', ') || 'no fields'}`,
  )
}

/** The text in a field of a row. @param i index of the row, for messages */
export function textOf(row: Row, name: string, path: string, i: number): string {
  const value = fieldOf(row, name, path, i)
  if (typeof value === 'string' && value.trim() !== '') return value
  throw new OnnxIreError('invalid-data', `${path}: '${name}' of row ${i + 1} must be a text that is not empty`)
}
