import { readJsonl, streamJsonl } from '../../node/data/jsonl.js'
import type { JsonlSource } from '../../recipe/sources/jsonl.js'
import type { Opened, Opening } from './opened.js'

export async function openJsonl(source: JsonlSource, { classes }: Opening): Promise<Opened> {
  const { file, tensors: given, padding, stream = false, shuffleBuffer } = source
  const known = Object.values(given).some(namesOpen) ? await classes() : {}
  const tensors = Object.fromEntries(
    Object.entries(given).map(([name, tensor]) => [
      name,
      namesOpen(tensor) && known[name] ? { ...Object(tensor), classes: known[name] } : tensor,
    ]),
  )
  const data = stream
    ? await streamJsonl(file, { tensors, padding, shuffleBuffer })
    : await readJsonl(file, { tensors, padding })
  return { data, classes: data.classes }
}

/** Whether class names are left to the data. */
const namesOpen = (tensor: JsonlSource['tensors'][string]): boolean =>
  typeof tensor === 'object' && tensor.as === 'class' && tensor.classes === undefined
