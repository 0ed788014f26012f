import { type Dataset, fromArrays, imageColumn, labelColumn, OnnxIreError, type Tensor } from 'onnx-ire'
import { tensor } from 'onnx-ire/graph'
import { imageFolder, pixels, readCsv, readIdx } from 'onnx-ire/web'
import type { DataChoice, DataSummary, Form } from '../protocol.js'
import { toImageOptions } from './form.js'
import { findDelimiter, firstPictures, grayPicture, readTablePreview, readThumbnail } from './preview.js'

/** Data with the names of the model input and of the labels of the loss. */
export interface Examples {
  readonly dataset: Dataset
  readonly summary: DataSummary
  /** The data that were read: without files that are no pictures. */
  readonly choice: DataChoice
}

/** Reads the data files. @throws 'invalid-data', 'io' */
export async function readExamples(
  given: DataChoice,
  form: Form,
  input: string,
  onFile: (done: number, total: number) => void,
): Promise<Examples> {
  if (given.kind !== 'folder') return { ...(await readChoice(given, form, input)), choice: given }
  const { read, skipped } = await findReadable(given.files, onFile)
  const choice = { ...given, files: read }
  const { dataset, summary } = await readChoice(choice, form, input)
  return { dataset, summary: { ...summary, skipped }, choice }
}

async function readChoice(choice: DataChoice, form: Form, input: string): Promise<Omit<Examples, 'choice'>> {
  if (form.kind === 'table' && choice.kind !== 'csv')
    throw new OnnxIreError('invalid-data', 'This model takes rows of numbers: give it a CSV file.')
  if (form.kind === 'image' && choice.kind === 'csv')
    throw new OnnxIreError('invalid-data', 'This model takes pictures, and a CSV file holds rows: give it images.')
  switch (choice.kind) {
    case 'folder': {
      const folder = imageFolder(choice.files, { image: toImageOptions(form), input })
      const { classes, labels } = folder
      const files = new Map(choice.files.map(({ path, file }) => [path, file]))
      const pictures = await firstPictures(labels, classes.length, (i) => readThumbnail(files.get(folder.files[i]!)!))
      return examples(folder, classes, labels, { pictures })
    }
    case 'csv': {
      const delimiter = await findDelimiter(choice.file)
      const tensors = { [input]: choice.columns ?? '*', labels: { columns: choice.label, as: 'class' } } as const
      const table = await readCsv(choice.file, { delimiter, tensors, missing: 'skip' })
      // A missing text is an empty one, so that every row counts.
      const whole = await readCsv(choice.file, { delimiter, tensors: { row: { columns: choice.label, as: 'text' } } })
      const all = await table.batch(Uint32Array.from({ length: table.length }, (_, i) => i))
      const width = all[input]!.dims[1]!
      if (form.columns !== null && width !== form.columns)
        throw new OnnxIreError(
          'invalid-data',
          `${choice.file.name} has ${width} columns of numbers beside '${choice.label}', and the model takes ${form.columns}.`,
        )
      refuseNumbers(table.classes['labels']!, table.length, choice.label)
      const names = choice.columns ?? (await readTablePreview(choice.file)).columns.map(({ name }) => name)
      const inputs = names.filter((name) => name !== choice.label)
      const columns = summarize(inputs, all[input]!)
      const incomplete = whole.length - table.length
      return examples(table, table.classes['labels']!, numbers(all['labels']!), { columns, incomplete })
    }
    case 'idx': {
      const [shown, classes] = await Promise.all([readIdx(choice.images), readIdx(choice.labels)])
      if (classes.dims.length !== 1)
        throw new OnnxIreError(
          'invalid-data',
          `${choice.labels.name} holds a tensor [${classes.dims.join(', ')}]; labels are one number per image: was the file of the images taken twice?`,
        )
      const own = numbers(classes)
      const names = Array.from({ length: own.reduce((a, b) => Math.max(a, b), -1) + 1 }, (_, i) => String(i))
      const dataset = fromArrays({ [input]: imageColumn(shown, toImageOptions(form)), labels: labelColumn(classes) })
      if (shown.dims.length !== 3) return examples(dataset, names, own)
      const pictures = await firstPictures(own, names.length, async (i) => grayPicture(shown, i))
      return examples(dataset, names, own, { pictures })
    }
    case 'shown':
      return shownExamples(choice, form, input)
  }
}

/** Image files that the browser cannot decode are skipped: one of them would end training. */
async function findReadable(
  files: readonly { readonly path: string; readonly file: File }[],
  onFile: (done: number, total: number) => void,
) {
  const read: { readonly path: string; readonly file: File }[] = []
  const skipped: string[] = []
  for (const [i, each] of files.entries()) {
    if (i % 20 === 0) onFile(i, files.length)
    // Names that begin with a dot belong to the operating system.
    if (/(^|\/)\./.test(each.path)) continue
    try {
      ;(await createImageBitmap(each.file)).close()
      read.push(each)
    } catch {
      skipped.push(each.file.name)
    }
  }
  if (read.length === 0)
    throw new OnnxIreError('invalid-data', 'The folder holds no picture that this browser can read.')
  return { read, skipped }
}

/** Range and first value of each column of a table. */
function summarize(names: readonly string[], { data, dims }: Tensor): NonNullable<DataSummary['columns']> {
  const [rows, width] = dims as [number, number]
  return Array.from({ length: width }, (_, column) => {
    let [min, max] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
    for (let row = 0; row < rows; row++) {
      const value = Number(data[row * width + column])
      min = Math.min(min, value)
      max = Math.max(max, value)
    }
    return { name: names[column] ?? String(column), min, max, first: Number(data[column]) }
  })
}

/**
 * Throws 'invalid-data' for a column that does not hold classes: measured numbers, or a different name in every row.
 */
function refuseNumbers(classes: readonly string[], rows: number, column: string): void {
  const measured = classes.length > 20 && classes.every((name) => name.trim() !== '' && Number.isFinite(Number(name)))
  if (!measured && (classes.length <= 2 || classes.length <= rows / 2)) return
  throw new OnnxIreError(
    'invalid-data',
    `'${column}' holds ${classes.length} different values in ${rows} rows, which are no classes: choose another column. The playground teaches classes; numbers are learnt in code, with the loss mse().`,
  )
}

/** Converts an image or a row to a batch of one. */
export async function toTensor(input: ImageData | readonly number[], form: Form): Promise<Tensor> {
  if (input instanceof ImageData) return toImageTensor(input, form)
  return tensor('float32', [1, input.length], Float32Array.from(input))
}

/** Converts an image to a batch of one. */
async function toImageTensor(data: ImageData, form: Form): Promise<Tensor> {
  return imageColumn(await pixels(data, { background: 0 }), toImageOptions(form)).rows([0])
}

async function shownExamples(
  { classes, examples: shown }: DataChoice & { readonly kind: 'shown' },
  form: Form,
  input: string,
): Promise<Omit<Examples, 'choice'>> {
  const rows = await Promise.all(shown.map(({ pixels: data }) => toImageTensor(data, form)))
  const width = rows[0]!.data.length
  const all = new Float32Array(rows.length * width)
  for (const [i, { data }] of rows.entries()) all.set(data as Float32Array, i * width)
  const own = shown.map(({ label }) => classes.indexOf(label))
  const pictures = tensor('float32', [rows.length, ...rows[0]!.dims.slice(1)], all)
  return examples(fromArrays({ [input]: pictures, labels: labelColumn(own) }), classes, own)
}

function examples(
  dataset: Dataset,
  classes: readonly string[],
  own: readonly number[],
  others: Partial<Pick<DataSummary, 'columns' | 'incomplete' | 'pictures'>> = {},
): Omit<Examples, 'choice'> {
  if (classes.length < 2)
    throw new OnnxIreError(
      'invalid-data',
      `All examples have the class '${classes[0]}': add examples of another class.`,
    )
  const counts = classes.map(() => 0)
  for (const label of own) counts[label]!++
  const summary = { examples: dataset.length, classes, counts, skipped: [], ...others }
  return { dataset, summary }
}

const numbers = ({ data }: Tensor): number[] => Array.from(data as ArrayLike<number | bigint>, Number)
