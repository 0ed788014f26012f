import { readCsv, streamCsv } from '../../node/data/csv.js'
import type { CsvSource } from '../../recipe/sources/csv.js'
import type { Opened, Opening } from './opened.js'

export async function openCsv(source: CsvSource, { classes }: Opening): Promise<Opened> {
  const { kind: _, file, stream = false, shuffleBuffer, start: __, end: ___, ...options } = source
  const open = Object.values(source.tensors).some((tensor) => namesOpen(tensor))
  const known = open ? await classes() : {}
  const tensors = Object.fromEntries(
    Object.entries(options.tensors).map(([name, tensor]) => [
      name,
      namesOpen(tensor) && known[name] ? { ...Object(tensor), classes: known[name] } : tensor,
    ]),
  )
  const data = stream
    ? await streamCsv(file, { ...options, tensors, shuffleBuffer })
    : await readCsv(file, { ...options, tensors })
  return { data, classes: data.classes }
}

/** Whether class names are left to the data. */
const namesOpen = (tensor: CsvSource['tensors'][string]): boolean =>
  typeof tensor === 'object' && 'columns' in tensor && tensor.as === 'class' && tensor.classes === undefined
