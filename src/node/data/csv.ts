import type { Classified } from '../../data/class-names.js'
import { type CsvFile, type CsvOptions, csvExamples, csvTable, type StreamCsvOptions } from '../../data/csv.js'
import type { Dataset } from '../../data/dataset.js'
import type { Stream } from '../../data/stream.js'
import { lineOf, recordsOf } from './csv-records.js'

/**
 * Reads a CSV file into memory; compressed with gzip or not, whatever its name.
 *
 * ```ts
 * const iris = await readCsv('iris.csv', { tensors: { input: '*', label: { columns: 'species', as: 'class' } } })
 * iris.classes.label // ['setosa', 'versicolor', 'virginica']
 * ```
 * @throws 'io', 'invalid-option', or 'invalid-data' naming file, line and column
 */
export const readCsv = (path: string, options: CsvOptions): Promise<Dataset & Classified> =>
  csvTable(fileAt(path), options)

/**
 * Reads a CSV file as it is trained on, however large. Class names that are not given are gathered at once, which reads the
 * file through and counts its examples, too.
 * @throws as `readCsv`; what concerns a record, when its turn comes
 */
export const streamCsv = (path: string, options: StreamCsvOptions): Promise<Stream & Classified> =>
  csvExamples(fileAt(path), options)

const fileAt = (path: string): CsvFile => ({
  path,
  records: (delimiter) => recordsOf(path, delimiter),
  lineOf: (delimiter, record) => lineOf(path, delimiter, record),
})
