import { currentScope } from '../ir/body.js'
import type { DType } from '../ir/dtype.js'
import { constant, int64s, scalar, tensorFrom } from '../ir/leaf.js'
import { type Dim, formatShape, isStatic, maxRank, type Shape } from '../ir/shape.js'
import { type Attributes, type Node, type TensorType, Value } from '../ir/value.js'
import { OnnxIreError } from '../util/errors.js'
import { emptyRecord, getOwn } from '../util/record.js'
import type { AttributeSpec, AttributeSpecs, Call, Definition, GivenAttributes, PerSlot, Slots } from './define.js'

/** An operand: a value, a number (a scalar of the other operands' type) or a list of numbers (a 1-D int64 constant). */
export type Operand = Value | number | readonly number[]

type Operands<S extends Slots> = S extends readonly [infer Head, ...infer Rest extends Slots]
  ? Head extends `...${string}`
    ? [readonly (Value | number)[]]
    : Head extends `${string}?`
      ? [] | [Operand | null, ...Operands<Rest>]
      : [Operand, ...Operands<Rest>]
  : []

/** Operands, then attributes unless the operator has none; they may be left out if none is required. */
type Arguments<I extends Slots, A extends AttributeSpecs> = [keyof A] extends [never]
  ? Operands<I>
  : [...Operands<I>, GivenAttributes<A>] | (Record<never, never> extends GivenAttributes<A> ? Operands<I> : never)

type Result<O extends Slots> = O extends readonly [infer Only]
  ? Only extends `...${string}`
    ? readonly Value[]
    : Value
  : PerSlot<O, Value, never>

/** An operator as a function: `op.Gemm(a, b, c, { transB: 1 })`; variadic operands come as one array. */
export type OperatorFunction<D> =
  D extends Definition<infer I, infer O, infer A> ? (...args: Arguments<I, A>) => Result<O> : never

/** Whether an argument is a tensor, which users pass in place of a constant by mistake. */
const isTensor = (arg: unknown): boolean => ['dtype', 'dims', 'data'].every((key) => Object.hasOwn(Object(arg), key))

/** Throws `invalid-model` for a value that another installed copy of this library has created. */
function checkCopy(arg: unknown, operator: string): void {
  if (arg instanceof Value || !['dtype', 'source', 'index'].every((key) => Object.hasOwn(Object(arg), key))) return
  throw new OnnxIreError(
    'invalid-model',
    `${operator}: an input is a value of another copy of onnx-ire: 'npm ls onnx-ire' lists the copies; install one version for all packages, or import everything from one of them`,
  )
}

const isAttributes = (arg: unknown): arg is Attributes =>
  typeof arg === 'object' &&
  arg !== null &&
  !Array.isArray(arg) &&
  !(arg instanceof Value) &&
  !ArrayBuffer.isView(arg) &&
  !isTensor(arg)

/** Creates the function of an operator. */
export function operatorFunction(
  operator: string,
  definition: Definition,
): (...args: unknown[]) => Value | readonly Value[] {
  const { variadic } = formOf(definition)
  const single = definition.outputs.length === 1 && !definition.outputs[0]!.startsWith('...')
  return (...args) => {
    const last = args.at(-1)
    checkCopy(last, operator)
    const attributes = isAttributes(last) ? last : {}
    if (attributes === last) args.pop()
    const operands = (variadic ? [...args.slice(0, -1), ...(args.at(-1) as Operand[])] : args) as (
      | Operand
      | null
      | undefined
    )[]
    const outputs = apply({ operator, definition, inputs: toValues(operands, operator), attributes })
    return single ? outputs[0]! : outputs
  }
}

function toValues(operands: readonly (Operand | null | undefined)[], operator: string): (Value | null)[] {
  return operands.map((operand, i) => {
    if (operand === undefined || operand === null || operand instanceof Value) return operand ?? null
    checkCopy(operand, operator)
    if (isTensor(operand))
      throw new OnnxIreError(
        'invalid-model',
        `${operator}: input ${i} is a tensor, which is no value of a graph: write constant(tensor)`,
      )
    if (Array.isArray(operand) && operand.some((each) => each instanceof Value))
      throw new OnnxIreError(
        'invalid-model',
        `${operator}: input ${i} is a list of values, as operators with several outputs return it: take one, as in op.MaxPool(x)[0]`,
      )
    if (typeof operand !== 'number') return int64s(operand)
    const numeric = operands.find((other): other is Value => other instanceof Value && other.dtype !== 'bool')
    if (numeric === undefined)
      throw new OnnxIreError(
        'invalid-shape',
        `${operator}: a plain number needs another operand that is a tensor, which determines its type`,
      )
    return scalar(numeric.dtype, operand)
  })
}

interface Application {
  readonly operator: string
  readonly definition: Definition
  readonly inputs: readonly (Value | null)[]
  readonly attributes: Attributes
  readonly name?: string | undefined
  readonly outputCount?: number
}

/** Applies an operator: checks operands, infers output types, creates a node, and folds known integer arithmetic. */
export function apply(application: Application): readonly Value[] {
  const { operator, definition, name } = application
  const form = formOf(definition)
  const place = name ? `${operator} '${name}'` : operator
  const inputs = trimInputs(form, application.inputs)
  checkInputs(place, definition, form, inputs)
  const attributes = withDefaults(place, form, application.attributes)
  const call = {
    inputs: padInputs(inputs, form),
    attributes,
    ...(application.outputCount === undefined ? undefined : { outputCount: application.outputCount }),
  } as Call<Slots, AttributeSpecs>
  const types = inferTypes(place, definition, call, inputs)
  const contents = contentsPerOutput(definition.contents?.(call))
  const folded = types.map((type, index) => fold(type, contents[index]))
  if (folded.every((output) => output !== undefined)) return folded
  const outputs: Value[] = []
  const node: Node = {
    kind: 'node',
    operator,
    domain: definition.domain,
    since: sinceVersion(definition, form, inputs),
    inputs,
    attributes,
    outputs,
    name,
    scope: currentScope(),
  }
  for (let i = 0; i < types.length; i++) outputs.push(new Value(types[i]!, node, i, undefined, contents[i]))
  return outputs
}

/** Properties of a definition that every application needs, computed once. */
interface Form {
  /** Whether the last slot is variadic. */
  readonly variadic: boolean
  /** Number of slots that are not variadic. */
  readonly fixed: number
  readonly required: readonly number[]
  readonly specs: readonly (readonly [name: string, spec: AttributeSpec])[]
  /** Default attributes; undefined if an attribute is required. */
  readonly defaults: Attributes | undefined
  readonly later: readonly (readonly [slot: number, version: number])[]
  readonly retyped: boolean
}

const forms = new WeakMap<Definition, Form>()

function formOf(definition: Definition): Form {
  let form = forms.get(definition)
  if (form) return form
  const { inputs: slots, attributes, later, laterTypes } = definition
  const variadic = slots.at(-1)?.startsWith('...') ?? false
  const specs = Object.entries(attributes)
  const defaults = specs.flatMap(([key, spec]) => (spec.default === undefined ? [] : [[key, spec.default]]))
  form = {
    variadic,
    fixed: variadic ? slots.length - 1 : slots.length,
    required: slots.flatMap((slot, index) => (slot.endsWith('?') || slot.startsWith('...') ? [] : [index])),
    specs,
    defaults: specs.some(([, { presence }]) => presence === 'required') ? undefined : Object.fromEntries(defaults),
    later: slots.flatMap((slot, index) => {
      const version = getOwn(later, slot)
      return version === undefined ? [] : [[index, version] as const]
    }),
    retyped: Object.keys(laterTypes).length > 0,
  }
  forms.set(definition, form)
  return form
}

/** Removes absent inputs at the end; slots before a variadic one remain. */
function trimInputs({ variadic, fixed }: Form, given: readonly (Value | null)[]): readonly (Value | null)[] {
  const places = variadic ? fixed : 0
  if (given.length >= places && given.at(-1) !== null) return given
  const inputs = [...given]
  while (inputs.length > places && inputs.at(-1) === null) inputs.pop()
  while (inputs.length < places) inputs.push(null)
  return inputs
}

/** The first operator set that has the operator with these inputs. */
function sinceVersion({ since, laterTypes }: Definition, form: Form, inputs: readonly (Value | null)[]): number {
  let version = since
  for (const [slot, from] of form.later) if (inputs[slot]) version = Math.max(version, from)
  if (form.retyped) for (const value of inputs) version = Math.max(version, (value && laterTypes[value.dtype]) ?? 0)
  return version
}

function checkInputs(place: string, definition: Definition, form: Form, inputs: readonly (Value | null)[]): void {
  const { variadic, fixed, required } = form
  if (inputs.length > fixed && !variadic) {
    throw new OnnxIreError('invalid-model', `${place} takes ${fixed} inputs, not ${inputs.length}`)
  }
  if (variadic && inputs.includes(null, fixed)) {
    throw new OnnxIreError('invalid-model', `${place} has an empty one among its inputs`)
  }
  for (const index of required) {
    if (!inputs[index])
      throw new OnnxIreError(
        'invalid-model',
        `${place} needs its input '${definition.inputs[index]}' (number ${index})`,
      )
  }
}

const padInputs = (inputs: readonly (Value | null)[], { fixed }: Form): readonly (Value | null)[] =>
  inputs.length >= fixed ? inputs : [...inputs, ...Array<null>(fixed - inputs.length).fill(null)]

function withDefaults(place: string, { specs, defaults }: Form, given: Attributes): Attributes {
  if (given === defaults) return given
  const keys = Object.keys(given)
  if (keys.length === 0 && defaults) return defaults
  const attributes: Record<string, Attributes[string]> = emptyRecord()
  for (const [key, spec] of specs) {
    const value = getOwn(given, key) ?? (spec.default as Attributes[string])
    if (value === undefined && spec.presence === 'required')
      throw new OnnxIreError('invalid-model', `${place} needs its attribute '${key}'`)
    if (value !== undefined) attributes[key] = value
  }
  for (const key of keys) {
    if (getOwn(given, key) !== undefined && !specs.some(([known]) => known === key))
      throw new OnnxIreError('invalid-model', `${place} has no attribute '${key}'`)
  }
  return attributes
}

function inferTypes(
  place: string,
  definition: Definition,
  call: Call<Slots, AttributeSpecs>,
  inputs: readonly (Value | null)[],
): readonly TensorType[] {
  try {
    const inferred = definition.infer(call)
    const types: readonly TensorType[] = Array.isArray(inferred) ? inferred : [inferred as TensorType]
    for (const { shape } of types) if (shape) checkResult(shape)
    return types
  } catch (error) {
    if (!(error instanceof OnnxIreError)) throw error
    const shapes = inputs.map((value) =>
      value ? `${value.name ? `${value.name}: ` : ''}${value.dtype}${formatShape(value.shape)}` : '-',
    )
    throw new OnnxIreError(error.code, `${place}: ${error.message} (inputs ${shapes.join(', ')})`, { cause: error })
  }
}

/** Throws `invalid-shape` for a result that no tensor can have. */
function checkResult(shape: Shape): void {
  if (shape.length > maxRank)
    throw new OnnxIreError('invalid-shape', `the result has ${shape.length} axes; at most ${maxRank} are supported`)
  const length = shape.find((dim) => typeof dim === 'number' && !(Number.isSafeInteger(dim) && dim >= 0))
  if (length !== undefined) throw new OnnxIreError('invalid-shape', `the result would have an axis of length ${length}`)
}

const integers: ReadonlySet<DType> = new Set(['int64', 'int32', 'bool'])

/** Known elements per output; a single list belongs to the first output. */
function contentsPerOutput(
  contents: readonly Dim[] | readonly (readonly Dim[])[] | undefined,
): readonly (readonly Dim[] | undefined)[] {
  const several = (lists: readonly Dim[] | readonly (readonly Dim[])[]): lists is readonly (readonly Dim[])[] =>
    Array.isArray(lists[0])
  return contents === undefined ? [] : several(contents) ? contents : [contents]
}

function fold(type: TensorType, contents: readonly Dim[] | undefined): Value | undefined {
  if (contents === undefined || !integers.has(type.dtype)) return undefined
  if (!contents.every((dim) => typeof dim === 'number') || !isStatic(type.shape)) return undefined
  const elements = contents as readonly number[]
  return type.dtype === 'int64' && type.shape.length === 1 && elements.every(Number.isInteger)
    ? int64s(elements)
    : constant(tensorFrom(type.dtype, type.shape, elements))
}
