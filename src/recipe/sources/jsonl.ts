import type { PadOptions } from '../../data/padding.js'
import { either, type JsonSchema, kind, map, object, text } from '../../util/json-schema.js'
import { type Extent, extent, type Given, padSchema, type Streaming, streaming } from './common.js'
import { classNames, elementKinds } from './csv.js'

/** A file of one JSON value per line. */
export interface JsonlSource extends Extent, Streaming {
  readonly kind: 'jsonl'
  readonly file: string
  /** Which fields make which tensor: the model's inputs, and what the loss looks for. */
  readonly tensors: Readonly<Record<string, string | JsonField>>
  /** Tensors of which the examples differ in length, and how those are filled up in a batch. */
  readonly padding?: Readonly<Record<string, Given<PadOptions>>>
}

/** As `JsonField` of 'onnx-ire/node'. */
export interface JsonField {
  /** Name of the field; dots lead into objects. */
  readonly field: string
  readonly as?: 'number' | 'integer' | 'class' | 'text'
  /** Of 'class': the names in the order of their numbers. Default: those of the training data, sorted. */
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
      'which fields make which tensor',
    ),
    padding: map(padSchema, 'how tensors of different length are filled up'),
    ...streaming,
    ...extent,
  },
  ['kind', 'file', 'tensors'],
)
