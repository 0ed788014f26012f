import { ClassNames, type WithClassNames } from '../../data/class-names.js'
import type { Dataset } from '../../data/dataset.js'
import type { DataExample } from '../../data/examples.js'
import { fromExamples } from '../../data/examples.js'
import type { PadOptions } from '../../data/padding.js'
import { type ExampleStream, stream } from '../../data/stream.js'
import type { JsonlSource } from '../../recipe/sources/jsonl.js'
import { checkNames } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { addClassNames, type OpenContext, type OpenedSource } from './data-source.js'
import { type FieldPlan, type JsonTensor, parseFieldPlans, toTensor } from './json-tensors.js'
import { iterateLines } from './lines.js'

/** Options of `readJsonl`. */
export interface JsonlOptions {
  /** Which fields make which tensor: `{ input: 'pixels', label: { field: 'digit', as: 'class' } }`. */
  readonly tensors?: Readonly<Record<string, JsonTensor>> | undefined
  /** Instead of `tensors`: the example of a line, or null to leave it out. */
  readonly map?: ((value: unknown, line: number) => DataExample | null) | undefined
  /** Tensors of which the examples differ in length, and how those are filled up in a batch. */
  readonly padding?: Readonly<Record<string, PadOptions>> | undefined
}

/** Options of `streamJsonl`. */
export interface StreamJsonlOptions extends JsonlOptions {
  /** Examples to shuffle among. Default 1024. */
  readonly shuffleBuffer?: number | undefined
}

const optionNames = ['tensors', 'map', 'padding']

/**
 * Reads a file of one JSON value per line into memory; compressed with gzip or not. Blank lines are left out.
 *
 * ```ts
 * await readJsonl('reviews.jsonl', {
 *   tensors: { input_ids: { field: 'tokens', as: 'integer' }, label: { field: 'mood', as: 'class' } },
 *   padding: { input_ids: { mask: 'attention_mask' } },
 * })
 * ```
 * @throws 'io', 'invalid-option', or 'invalid-data' naming file, line and field
 */
export async function readJsonl(path: string, options: JsonlOptions): Promise<Dataset & WithClassNames> {
  const plans = checked(options, optionNames)
  const examples: DataExample[] = []
  for await (const example of examplesOf(path, options, plans)) examples.push(example)
  if (examples.length === 0) throw new OnnxIreError('invalid-data', `${path}: no line is left to train on`)
  const orders = plans.flatMap(({ name, classes }) => (classes ? [[name, classes.sorted().positions] as const] : []))
  const sorted = examples.map((example) => ({
    ...example,
    ...Object.fromEntries(orders.map(([name, positions]) => [name, renumbered(example[name], positions)])),
  }))
  return { ...fromExamples(sorted, { padding: options.padding }), classes: namesOf(plans) }
}

/**
 * Reads a file of one JSON value per line as it is trained on, however large. Class names that are not given are gathered
 * at once, which reads the file through and counts its examples, too.
 * @throws as `readJsonl`; what concerns a line, when its turn comes
 */
export async function streamJsonl(path: string, options: StreamJsonlOptions): Promise<ExampleStream & WithClassNames> {
  const plans = checked(options, [...optionNames, 'shuffleBuffer'])
  const { shuffleBuffer, padding } = options
  const gathering = plans.filter(({ classes }) => classes && !classes.given)
  let length: number | undefined
  if (gathering.length > 0) {
    length = 0
    for await (const _ of examplesOf(path, options, gathering)) length++
    if (length === 0) throw new OnnxIreError('invalid-data', `${path}: no line is left to train on`)
  }
  const classes = namesOf(plans)
  const settled = plans.map((plan) => ({ ...plan, classes: plan.classes && new ClassNames(classes[plan.name]) }))
  return { ...stream(() => examplesOf(path, options, settled), { shuffleBuffer, length, padding }), classes }
}

function checked(options: StreamJsonlOptions, names: readonly string[]): FieldPlan[] {
  checkNames('jsonl', options, names)
  if ((options.tensors === undefined) === (options.map === undefined))
    throw new OnnxIreError('invalid-option', "jsonl: one of the options 'tensors' and 'map' must say what a line holds")
  return options.tensors ? parseFieldPlans(options.tensors) : []
}

async function* examplesOf(
  path: string,
  { map }: JsonlOptions,
  plans: readonly FieldPlan[],
): AsyncGenerator<DataExample, void, undefined> {
  for await (const { number, text } of iterateLines(path)) {
    if (text.trim() === '') continue
    const value = parsed(path, number, text)
    const example = located(`${path}:${number}`, () =>
      map ? map(value, number) : Object.fromEntries(plans.map((plan) => [plan.name, toTensor(plan, value)])),
    )
    if (example) yield example
  }
}

function parsed(path: string, number: number, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    const hint = number === 1 && /^\s*[[{]\s*$/.test(text) ? '; each line must hold a whole JSON value' : ''
    throw new OnnxIreError('invalid-data', `${path}:${number}: the line is not JSON: ${reason}${hint}`, { cause })
  }
}

function located<T>(place: string, action: () => T): T {
  try {
    return action()
  } catch (cause) {
    const [code, reason] =
      cause instanceof OnnxIreError
        ? [cause.code, cause.message]
        : (['invalid-data', `map failed: ${cause instanceof Error ? cause.message : cause}`] as const)
    throw new OnnxIreError(code, `${place}: ${reason}`, { cause })
  }
}

const namesOf = (plans: readonly FieldPlan[]): WithClassNames['classes'] =>
  Object.fromEntries(plans.flatMap(({ name, classes }) => (classes ? [[name, classes.sorted().names]] : [])))

function renumbered(value: DataExample[string] | undefined, positions: readonly number[]): bigint {
  const [number] = (value as { readonly data: BigInt64Array }).data // what `tensorOf` makes of a class
  return BigInt(positions[Number(number)]!)
}

/** Opens a file of JSON lines for a recipe. */
export async function openJsonl(source: JsonlSource, context: OpenContext): Promise<OpenedSource> {
  const { file, padding, stream = false, shuffleBuffer } = source
  const tensors = await addClassNames(source.tensors, needsClassNames, context)
  const data = stream
    ? await streamJsonl(file, { tensors, padding, shuffleBuffer })
    : await readJsonl(file, { tensors, padding })
  return { data, classes: data.classes }
}

const needsClassNames = (tensor: JsonlSource['tensors'][string]): boolean =>
  typeof tensor === 'object' && tensor.as === 'class' && tensor.classes === undefined
