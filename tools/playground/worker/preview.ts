import { OnnxIreError, type Tensor } from 'onnx-ire'
import { readPicture } from '../picture.js'
import type { ColumnKind, TablePreview } from '../protocol.js'

/** Side of the pictures of a preview, in pixels. */
const side = 40

/** Number of pictures of all classes, and of one, at most. */
const pictures = { all: 240, class: 12 } as const

/** Bytes of a table that are read, and the number of lines that describe its columns and of rows that are shown. */
const table = { bytes: 65_536, described: 200, rows: 5 } as const

/** Texts that usual table exports write for a missing value. */
const missing: ReadonlySet<string> = new Set(['', 'NA', 'N/A', 'NaN', 'nan', 'null', 'NULL', 'None'])

/**
 * The first pictures of each class.
 * @param labels class numbers of the examples
 * @param read reads the picture of an example
 */
export async function firstPictures(
  labels: readonly number[],
  classes: number,
  read: (example: number) => Promise<ImageData>,
): Promise<ImageData[][]> {
  const count = Math.max(1, Math.min(pictures.class, Math.floor(pictures.all / classes)))
  const examples = Array.from({ length: classes }, (): number[] => [])
  for (const [example, label] of labels.entries()) if (examples[label]!.length < count) examples[label]!.push(example)
  return Promise.all(examples.map((own) => Promise.all(own.map(read))))
}

/** Reads an image file as a picture of a preview. */
export const readThumbnail = (file: Blob): Promise<ImageData> => readPicture(file, side)

/** The picture of an example of gray pixels [N, rows, columns]. */
export function grayPicture({ data, dims }: Tensor, example: number): ImageData {
  const [, rows, columns] = dims as [number, number, number]
  const picture = new ImageData(columns, rows)
  for (let i = 0; i < rows * columns; i++) {
    const value = Number(data[example * rows * columns + i])
    picture.data.set([value, value, value, 255], 4 * i)
  }
  return picture
}

/** Reads the columns and the first rows of a CSV file. @throws 'invalid-data' without two columns */
export async function readTablePreview(file: File): Promise<TablePreview> {
  // Loaded on demand, in the same chunk as the reader.
  const { parse } = await import('csv-parse/browser/esm/sync')
  const delimiter = await findDelimiter(file)
  const text = await beginningOf(file)
  // The last line of the beginning may be cut off.
  const complete = file.size > table.bytes ? text.slice(0, text.lastIndexOf('\n') + 1) : text
  const lenient = {
    relax_column_count: true,
    relax_quotes: true,
    skip_empty_lines: true,
    skip_records_with_error: true,
  }
  const records = parse(complete, { delimiter, bom: true, to: table.described, ...lenient }) as string[][]
  const [header, ...rows] = records
  if (!header?.length) throw new OnnxIreError('invalid-data', `${file.name} is empty.`)
  if (header.length === 1)
    throw new OnnxIreError(
      'invalid-data',
      `${file.name} has one column only: its first line has to name several, with commas, semicolons or tabs between.`,
    )
  const columns = header.map((name, i) => ({ name, kind: kindOf(rows.map((row) => row[i] ?? '')) }))
  return { columns, rows: rows.slice(0, table.rows) }
}

/** Detects the delimiter in the first line, outside of quotes; in many locales programs write semicolons. */
export async function findDelimiter(file: File): Promise<string> {
  const [first = ''] = (await beginningOf(file)).split(/\r?\n/, 1)
  const unquoted = first.replace(/"[^"]*"/g, '')
  const count = (delimiter: string) => unquoted.split(delimiter).length
  return [',', ';', '\t'].reduce((best, each) => (count(each) > count(best) ? each : best))
}

function kindOf(values: readonly string[]): ColumnKind {
  const present = values.filter((value) => !missing.has(value))
  const numbers = present.filter((value) => value.trim() !== '' && Number.isFinite(Number(value)))
  // Among numbers a few texts are mistakes, which reading the table names.
  if (numbers.length === 0 || numbers.length < 0.8 * present.length) return 'texts'
  return present.length < values.length ? 'incomplete numbers' : 'numbers'
}

const beginningOf = (file: File): Promise<string> => file.slice(0, table.bytes).text()
