import { listInputs } from '../../onnx/import/declarations.js'
import { checkModel, type Model } from '../../onnx/model.js'
import { create, edit } from '../../onnx/proto/message.js'
import { checkArguments, isStringList } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { isObject } from '../../util/record.js'
import type { ImageOptions } from '../image/image-column.js'

/** Class names, the conversion of images and the pooling of states: needed besides a model file to use it. */
export interface ModelUsage {
  /** Name of the task, as Hugging Face names it: 'image-classification', 'feature-extraction'. */
  readonly task?: string
  /** Names of the classes, in the order of the scores; of a text recognizer its characters, and '' for the blank. */
  readonly classes?: readonly string[]
  /** Conversion of images to the only input of the model, as for `imageColumn`. */
  readonly image?: ImageOptions
  /** Pooling of hidden states [N, T, D] to an embedding per text, as the option `pooling` of a trainer. */
  readonly pooling?: 'mean' | 'first'
  /** Whether the scores of a text recognizer are [T, N, C], as the option `timeFirst` of `ctc`. */
  readonly timeFirst?: boolean
}

const prefix = 'onnx-ire.'
const forms = {
  task: 'the name of a task',
  classes: 'a list of class names',
  image: 'an object with options of imageColumn',
  pooling: "'mean' or 'first'",
  timeFirst: 'true or false',
} as const
type Field = keyof typeof forms
const fields = Object.keys(forms) as Field[]

/**
 * Adds usage to the metadata of a model (`metadata_props` of the file), where `readUsage`, `onnx-ire predict` and other
 * programs find it. Replaces earlier usage. Everything else in the file stays the same.
 *
 * @example
 * ```ts
 * await writeModel('tuned.onnx', addUsage(trainer.export(), { classes: ['cat', 'dog'], image: { size: 224 } }))
 * ```
 */
export function addUsage(model: Model, usage: ModelUsage): Model {
  checkArguments('addUsage(model, { classes, image })', { usage })
  checkModel(model)
  const others = model.proto.metadataProps.filter(({ key }) => !fields.some((field) => key === prefix + field))
  const own = fields.flatMap((field) => {
    const value = usage[field]
    if (value === undefined) return []
    return [create('StringStringEntryProto', { key: prefix + field, value: JSON.stringify(value) })]
  })
  if (own.length === 0 && others.length === model.proto.metadataProps.length) return model
  return { ...model, proto: edit(model.proto, { metadataProps: [...others, ...own] }) }
}

/**
 * Keys under which other programs store class names in the metadata: `names` is that of Ultralytics, `character` that
 * of PP-OCR in RapidOCR.
 */
const foreignClasses = /^((class|label)_?)?names$|^classes$|^labels$|^id2label$|^label2id$|^character$/i

/** Removes the class names from the metadata of a model, also those of other programs: those of a replaced head. */
export function removeClasses(model: Model): Model {
  const kept = model.proto.metadataProps.filter(
    ({ key = '' }) => key !== `${prefix}classes` && !foreignClasses.test(key),
  )
  if (kept.length === model.proto.metadataProps.length) return model
  return { ...model, proto: edit(model.proto, { metadataProps: kept }) }
}

/**
 * Reads the usage that `addUsage` added to a model; empty for a model without it.
 * @throws OnnxIreError `invalid-model` if it is not JSON of the form that `addUsage` writes, or if it describes images
 *   and the model has several inputs
 */
export function readUsage(model: Model): ModelUsage {
  checkModel(model)
  const { proto } = model
  const found = fields.flatMap((field) => {
    const text = proto.metadataProps.find(({ key }) => key === prefix + field)?.value
    return text === undefined ? [] : [[field, parse(field, text)] as const]
  })
  const usage: ModelUsage = Object.fromEntries(found)
  const inputs = listInputs(proto)
  if (usage.image && inputs.length !== 1)
    throw new OnnxIreError(
      'invalid-model',
      `metadata ${prefix}image describes the only input, but the model has ${inputs.length}`,
    )
  return usage
}

function parse(field: Field, text: string): unknown {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    value = undefined
  }
  if (isOf(field, value)) return value
  throw new OnnxIreError('invalid-model', `metadata ${prefix}${field} is ${text}; it must be JSON, ${forms[field]}`)
}

function isOf(field: Field, value: unknown): boolean {
  if (field === 'task') return typeof value === 'string'
  if (field === 'pooling') return value === 'mean' || value === 'first'
  if (field === 'classes') return isStringList(value)
  if (field === 'timeFirst') return typeof value === 'boolean'
  return isObject(value)
}
