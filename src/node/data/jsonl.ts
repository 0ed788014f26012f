import { ClassNumbering, checkClassNames, classNamesOf, type WithClassNames } from '../../data/classes.js'
import type { Dataset } from '../../data/dataset.js'
import type { DataExample } from '../../data/examples.js'
import { fromExamples } from '../../data/examples.js'
import type { PadOptions } from '../../data/padding.js'
import { type ExampleStream, stream } from '../../data/stream.js'
import { tensorFrom } from '../../ir/leaf.js'
import type { Tensor } from '../../ir/tensor.js'
import type { JsonlSource } from '../../recipe/sources/tables.js'
import { checkNames, invalidOption } from '../../util/check.js'
import { messageOf, OnnxIreError } from '../../util/errors.js'
import { getOwn } from '../../util/record.js'
import { checksumFiles } from './checksum-files.js'
import { addClassNames, type OpenContext, type OpenedSource, selectTensors } from './data-source.js'
import { iterateLines } from './lines.js'

/** Options of `readJsonl`. */
export interface JsonlOptions {
  /** Fields by tensor: `{ input: 'pixels', label: { field: 'digit', as: 'class' } }`. */
  readonly tensors?: Readonly<Record<string, JsonTensor>> | undefined
  /** In place of `tensors`: converts a line to an example; null skips the line. */
  readonly map?: ((value: unknown, line: number) => DataExample | null) | undefined
  /** Padding of tensors whose examples differ in length, by tensor. */
  readonly padding?: Readonly<Record<string, PadOptions>> | undefined
}

/** Options of `streamJsonl`. */
export interface StreamJsonlOptions extends JsonlOptions {
  /** Size of the shuffle buffer, in examples. Default 1024. */
  readonly shuffleBuffer?: number | undefined
}

const optionNames = ['tensors', 'map', 'padding']

/**
 * Reads a file with a JSON value per line, optionally gzipped, into memory. Blank lines are skipped.
 *
 * ```ts
 * await readJsonl('reviews.jsonl', {
 *   tensors: { input_ids: { field: 'tokens', as: 'integer' }, label: { field: 'mood', as: 'class' } },
 *   padding: { input_ids: { mask: 'attention_mask' } },
 * })
 * ```
 * @throws OnnxIreError `io`, `invalid-option`, or `invalid-data` naming file, line and field
 */
export async function readJsonl(path: string, options: JsonlOptions): Promise<Dataset & WithClassNames> {
  const plans = checkOptions(options, optionNames)
  const examples: DataExample[] = []
  for await (const example of iterateExamples(path, options, plans)) examples.push(example)
  if (examples.length === 0) throw new OnnxIreError('invalid-data', `${path}: there are no examples`)
  const orders = plans.flatMap(({ name, classes }) => (classes ? [[name, classes.sorted().positions] as const] : []))
  const sorted = examples.map((example) => ({
    ...example,
    ...Object.fromEntries(orders.map(([name, positions]) => [name, renumber(getOwn(example, name), positions)])),
  }))
  return { ...fromExamples(sorted, { padding: options.padding }), classes: classNamesOf(plans) }
}

/**
 * Streams a file with a JSON value per line, of any size, during training. If class names are missing from the options,
 * the file is read once first to collect the names and count the examples.
 * @throws OnnxIreError like `readJsonl`; errors of a line when it is reached
 */
export async function streamJsonl(path: string, options: StreamJsonlOptions): Promise<ExampleStream & WithClassNames> {
  const plans = checkOptions(options, [...optionNames, 'shuffleBuffer'])
  const { shuffleBuffer, padding } = options
  const incomplete = plans.filter(({ classes }) => classes && !classes.given)
  let length: number | undefined
  if (incomplete.length > 0) {
    length = 0
    for await (const _ of iterateExamples(path, options, incomplete)) length++
    if (length === 0) throw new OnnxIreError('invalid-data', `${path}: there are no examples`)
  }
  const classes = classNamesOf(plans)
  const complete = plans.map((plan) => ({
    ...plan,
    classes: plan.classes && new ClassNumbering(getOwn(classes, plan.name)),
  }))
  return {
    ...stream(() => iterateExamples(path, options, complete), { shuffleBuffer, length, padding }),
    classes,
    checksum: checksumFiles([path]),
  }
}

function checkOptions(options: StreamJsonlOptions, names: readonly string[]): FieldPlan[] {
  checkNames('jsonl', options, names)
  if ((options.tensors === undefined) === (options.map === undefined))
    throw new OnnxIreError('invalid-option', "jsonl: set exactly one of the options 'tensors' and 'map'")
  return options.tensors ? parseFieldPlans(options.tensors) : []
}

async function* iterateExamples(
  path: string,
  { map }: JsonlOptions,
  plans: readonly FieldPlan[],
): AsyncGenerator<DataExample, void, undefined> {
  for await (const { number, text } of iterateLines(path)) {
    if (text.trim() === '') continue
    const value = parseLine(path, number, text)
    const example = withLine(`${path}:${number}`, () =>
      map ? map(value, number) : Object.fromEntries(plans.map((plan) => [plan.name, toTensor(plan, value)])),
    )
    if (example) yield example
  }
}

function parseLine(path: string, number: number, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    const reason = messageOf(cause)
    const hint = number === 1 && /^\s*[[{]\s*$/.test(text) ? '; each line must hold a whole JSON value' : ''
    throw new OnnxIreError('invalid-data', `${path}:${number}: the line is not JSON: ${reason}${hint}`, { cause })
  }
}

function withLine<T>(place: string, action: () => T): T {
  try {
    return action()
  } catch (cause) {
    const [code, reason] =
      cause instanceof OnnxIreError
        ? [cause.code, cause.message]
        : (['invalid-data', `map failed: ${messageOf(cause)}`] as const)
    throw new OnnxIreError(code, `${place}: ${reason}`, { cause })
  }
}

function renumber(value: DataExample[string] | undefined, positions: readonly number[]): bigint {
  const [number] = (value as { readonly data: BigInt64Array }).data // type of `toTensor` for a class
  return BigInt(positions[Number(number)]!)
}

/** Opens a file of JSON lines for a recipe. */
export async function openJsonl(source: JsonlSource, context: OpenContext): Promise<OpenedSource> {
  const { file, stream = false, shuffleBuffer } = source
  const tensors = await addClassNames(selectTensors(source.tensors, context), needsClassNames, context)
  const padding =
    source.padding &&
    Object.fromEntries(
      Object.entries(source.padding).filter(
        ([name]) => Object.hasOwn(tensors, name) || !Object.hasOwn(source.tensors, name),
      ),
    )
  const data = stream
    ? await streamJsonl(file, { tensors, padding, shuffleBuffer })
    : await readJsonl(file, { tensors, padding })
  return { data, classes: data.classes }
}

const needsClassNames = (tensor: JsonlSource['tensors'][string]): boolean =>
  typeof tensor === 'object' && tensor.as === 'class' && tensor.classes === undefined

/** Conversion of a field of a JSON line to a tensor. */
export interface JsonField {
  /** Name of the field; dots separate nested fields: 'meta.length'. */
  readonly field: string
  /**
   * 'number' (default): float32; 'integer': int64; both from a number or nested lists of numbers. 'class': the int64
   * number of a class name. 'text': a string.
   */
  readonly as?: 'number' | 'integer' | 'class' | 'text' | undefined
  /** Class names in the order of their numbers, for 'class'. Default: the names in the file, sorted. */
  readonly classes?: readonly string[] | undefined
}

/** The field of a tensor: the name of a field of numbers, or a `JsonField`. */
export type JsonTensor = string | JsonField

/** A checked `JsonTensor`. */
interface FieldPlan {
  readonly name: string
  readonly field: string
  readonly as: NonNullable<JsonField['as']>
  readonly classes: ClassNumbering | null
}

const kinds = ['number', 'integer', 'class', 'text']

/** Checks the tensors of the options. Throws `invalid-option`. */
function parseFieldPlans(tensors: Readonly<Record<string, JsonTensor>>): FieldPlan[] {
  const plans = Object.entries(tensors).map(([name, given]): FieldPlan => {
    const options = typeof given === 'string' ? { field: given } : given
    const owner = `jsonl: tensor '${name}'`
    checkNames(owner, options, ['field', 'as', 'classes'])
    const { field, as = 'number', classes } = options
    if (typeof field !== 'string') throw invalidOption(owner, 'field', field, 'the name of a field')
    if (!kinds.includes(as)) throw invalidOption(owner, 'as', as, `one of ${kinds.join(', ')}`)
    if (classes && as !== 'class') throw invalidOption(owner, 'classes', classes, "left out, unless as is 'class'")
    if (classes) checkClassNames(owner, classes)
    return { name, field, as, classes: as === 'class' ? new ClassNumbering(classes) : null }
  })
  if (plans.length === 0) throw new OnnxIreError('invalid-option', "jsonl: option 'tensors' names no tensor")
  return plans
}

/**
 * Converts the field of one line to a tensor. Throws `invalid-data` naming the field; the caller adds file and line.
 */
function toTensor({ field, as, classes }: FieldPlan, line: unknown): Tensor {
  const fieldError = (what: string) => new OnnxIreError('invalid-data', `field '${field}' ${what}`)
  const value = findField(line, field)
  if (value === undefined) throw fieldError('is missing')
  if (as === 'text') {
    if (typeof value === 'string') return { dtype: 'string', dims: [], data: [value] }
    throw fieldError(`is ${abbreviate(value)}, not a string`)
  }
  if (classes) {
    if (!['string', 'number', 'boolean'].includes(typeof value))
      throw fieldError(`is ${abbreviate(value)}, not a class name`)
    return { dtype: 'int64', dims: [], data: BigInt64Array.of(BigInt(classes.numberOf(String(value), fieldError))) }
  }
  const dims: number[] = []
  for (let level = value; Array.isArray(level); level = level[0]) dims.push(level.length)
  const numbers: number[] = []
  const collect = (part: unknown, depth: number): void => {
    if (depth < dims.length) {
      if (!Array.isArray(part) || part.length !== dims[depth])
        throw fieldError(
          `has lists of different length where [${dims.join(', ')}] began: only the first axis can be padded`,
        )
      for (const each of part) collect(each, depth + 1)
      return
    }
    if (typeof part !== 'number' || (as === 'integer' && !Number.isSafeInteger(part)))
      throw fieldError(
        `${dims.length > 0 ? 'holds' : 'is'} ${abbreviate(part)}, not ${as === 'integer' ? 'an integer' : 'a number'}`,
      )
    if (!Number.isFinite(Math.fround(part)))
      throw fieldError(`${dims.length > 0 ? 'holds' : 'is'} ${part}, beyond float32: use a larger unit`)
    numbers.push(part)
  }
  collect(value, 0)
  return tensorFrom(as === 'integer' ? 'int64' : 'float32', dims, numbers)
}

/** Value of the field with this name, or of the nested field that its dots describe. */
function findField(value: unknown, field: string): unknown {
  if (typeof value !== 'object' || value === null) return undefined
  const entries = new Map(Object.entries(value))
  if (entries.has(field)) return entries.get(field)
  const dot = field.indexOf('.')
  return dot < 0 ? undefined : findField(entries.get(field.slice(0, dot)), field.slice(dot + 1))
}

function abbreviate(value: unknown): string {
  const text = JSON.stringify(value)
  return text.length > 40 ? `${text.slice(0, 40)}...` : text
}
