import type { CsvColumns } from '../../data/formats/csv.js'
import { dateParts } from '../../data/formats/date.js'
import type { PadOptions } from '../../data/padding.js'
import type { FeatureStatistics, TableStatistics } from '../../data/table-statistics.js'
import { choice, either, type JsonSchema, kind, list, map, object, real, text, whole } from '../../util/json-schema.js'
import type { NamePatterns } from '../../util/pattern.js'
import {
  type Defined,
  padSchema,
  rangeFields,
  type SourceRange,
  type SourceStreaming,
  streamingFields,
} from './common.js'

/** CSV file with a record per example. */
export interface CsvSource extends SourceRange, SourceStreaming {
  readonly kind: 'csv'
  readonly file: string
  /** Tensors and the columns they are read from: the inputs of the model and the targets of the loss. */
  readonly tensors: Readonly<Record<string, NamePatterns | Defined<CsvColumns> | readonly Defined<CsvColumns>[]>>
  /** Statistics of the columns. Default: those of the training part of the data; run folders have them. */
  readonly statistics?: TableStatistics
  /** Field delimiter. Default ',', or a tab for files named .tsv or .tsv.gz. */
  readonly delimiter?: string
  /** Whether the first record contains the column names; otherwise columns are named '1', '2', ... Default true. */
  readonly header?: boolean
  /** Treatment of an example with a missing field: 'error' (default), 'skip', or a number that replaces it. */
  readonly missing?: 'error' | 'skip' | number
}

const elementKinds = choice(['number', 'integer', 'class', 'text'], 'the type of the fields')
export const classNames = list(text(), { minItems: 1 }, 'the class names in the order of their numbers')

const columns = either(
  [text(), list(text(), { minItems: 1 })],
  'a column or a list of columns; * matches any characters',
)

const partNames = Object.keys(dateParts)

const csvColumns = object<Defined<CsvColumns>>(
  {
    columns,
    as: choice(
      ['number', 'integer', 'class', 'text', 'one-hot', 'category', 'date'],
      'the conversion of the fields; one-hot, category and date give features',
    ),
    classes: classNames,
    impute: either([real(), text()], "'mean', 'median', a number, or the name of a class or category"),
    scale: choice(['standard', 'min-max'], 'the scaling of numbers'),
    parts: list(choice(partNames), { minItems: 1 }, 'the parts of a date'),
    dims: list(whole(1), {}, 'the dims of one example'),
  },
  ['columns'],
)

const statistics = map(
  map(
    object<FeatureStatistics>({
      part: choice(partNames, 'the part of a date that the feature is'),
      fill: either([real(), text()], 'the replacement of a missing field'),
      offset: real({}, 'what is subtracted'),
      divisor: real({}, 'what the difference is divided by'),
      categories: list(text(), {}, 'the names of the categories in order'),
    }),
  ),
  'the statistics of the features, by tensor and column',
)

export const csvSchema: JsonSchema = object<CsvSource>(
  {
    kind: kind('csv'),
    file: text('the path of the CSV file'),
    tensors: map(
      either(
        [text(), list(text(), { minItems: 1 }), csvColumns, list(csvColumns, { minItems: 1 })],
        'columns by name, { columns, as, classes, impute, scale, parts, dims }, or a list of these',
      ),
      'the columns of each tensor',
    ),
    delimiter: text('the field delimiter'),
    header: { type: 'boolean', description: 'whether the first record contains the column names' },
    missing: either([choice(['error', 'skip']), real()], "'error', 'skip' or a number that replaces missing numbers"),
    statistics,
    ...streamingFields,
    ...rangeFields,
  },
  ['kind', 'file', 'tensors'],
)

/** JSONL file with a JSON value per line. */
export interface JsonlSource extends SourceRange, SourceStreaming {
  readonly kind: 'jsonl'
  readonly file: string
  /** Tensors and the fields they are read from: the inputs of the model and the targets of the loss. */
  readonly tensors: Readonly<Record<string, string | JsonField>>
  /** Padding of the tensors whose examples differ in length. */
  readonly padding?: Readonly<Record<string, Defined<PadOptions>>>
}

/** Tensor read from a field of a JSONL file, as `JsonField` of 'onnx-ire/node'. */
interface JsonField {
  /** Path of the field, with dots for nested objects. */
  readonly field: string
  readonly as?: 'number' | 'integer' | 'class' | 'text'
  /** Class names in the order of their numbers, for 'class'. Default: the names of the training data, sorted. */
  readonly classes?: readonly string[]
}

export const jsonlSchema: JsonSchema = object<JsonlSource>(
  {
    kind: kind('jsonl'),
    file: text('the path of the file with a JSON value per line'),
    tensors: map(
      either(
        [
          text(),
          object<JsonField>({ field: text('the name of the field'), as: elementKinds, classes: classNames }, ['field']),
        ],
        'a field by name, or { field, as, classes }',
      ),
      'the field of each tensor',
    ),
    padding: map(padSchema, 'the padding of tensors of different length'),
    ...streamingFields,
    ...rangeFields,
  },
  ['kind', 'file', 'tensors'],
)
