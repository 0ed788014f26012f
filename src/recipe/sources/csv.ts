import { choice, either, type JsonSchema, kind, list, map, object, real, text, whole } from '../../util/json-schema.js'
import type { NamePatterns } from '../../util/pattern.js'
import { type Extent, extent, type Streaming, streaming } from './common.js'

/** A table as a text file, with a record per example. */
export interface CsvSource extends Extent, Streaming {
  readonly kind: 'csv'
  readonly file: string
  /** Which columns make which tensor: the model's inputs, and what the loss looks for. */
  readonly tensors: Readonly<Record<string, NamePatterns | CsvColumns>>
  /** Default ',', and a tab for files named .tsv. */
  readonly delimiter?: string
  /** Whether the first record names the columns; else they are named '1', '2', ... Default true. */
  readonly header?: boolean
  /** What becomes of an example of which a field is empty: 'error' (default), 'skip', or this number instead. */
  readonly missing?: 'error' | 'skip' | number
}

/** As `CsvColumns` of 'onnx-ire/node'. */
export interface CsvColumns {
  /** By name; `*` stands for any characters and takes what no other tensor names. */
  readonly columns: NamePatterns
  readonly as?: 'number' | 'integer' | 'class' | 'text'
  /** Of 'class': the names in the order of their numbers. Default: those of the training data, sorted. */
  readonly classes?: readonly string[]
  /** Of one example. */
  readonly dims?: readonly number[]
}

export const elementKinds = choice(['number', 'integer', 'class', 'text'], 'what the fields hold')
export const classNames = list(text(), { minItems: 1 }, 'the class names in the order of their numbers')

const columns = either(
  [text(), list(text(), { minItems: 1 })],
  'a column or a list of them; * stands for any characters',
)

export const csvSchema: JsonSchema = object<CsvSource>(
  {
    kind: kind('csv'),
    file: text('the path of the CSV file'),
    tensors: map(
      either(
        [
          text(),
          list(text(), { minItems: 1 }),
          object<CsvColumns>(
            {
              columns,
              as: elementKinds,
              classes: classNames,
              dims: list(whole(1), {}, 'the dims of one example'),
            },
            ['columns'],
          ),
        ],
        'columns by name, or { columns, as, classes, dims }',
      ),
      'which columns make which tensor',
    ),
    delimiter: text('what stands between two fields'),
    header: { type: 'boolean', description: 'whether the first record names the columns' },
    missing: either([choice(['error', 'skip']), real()], "'error', 'skip' or a number that takes the place"),
    ...streaming,
    ...extent,
  },
  ['kind', 'file', 'tensors'],
)
