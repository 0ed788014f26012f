import { OnnxIreError } from '../errors.js'
import type { DType } from '../ir/dtype.js'
import { constant, int64s, scalar, tensorFrom } from '../ir/leaf.js'
import { currentScope } from '../ir/scope.js'
import { type Dim, formatShape, isStatic } from '../ir/shape.js'
import { type Attributes, type Node, type TensorType, Value } from '../ir/value.js'
import type { AttributeSpecs, Call, Definition, GivenAttributes, PerSlot, Slots } from './define.js'

/** An operand: a value, a number (a scalar of the other operands' type) or a list of numbers (a 1-D int64 constant). */
export type Operand = Value | number | readonly number[]

type Operands<S extends Slots> = S extends readonly [infer Head, ...infer Rest extends Slots]
  ? Head extends `...${string}`
    ? [readonly (Value | number)[]]
    : Head extends `${string}?`
      ? [] | [Operand | null, ...Operands<Rest>]
      : [Operand, ...Operands<Rest>]
  : []

type Arguments<I extends Slots, A extends AttributeSpecs> =
  | [...Operands<I>, GivenAttributes<A>]
  | (Record<never, never> extends GivenAttributes<A> ? Operands<I> : never)

type Result<O extends Slots> = O extends readonly [infer Only]
  ? Only extends `...${string}`
    ? readonly Value[]
    : Value
  : PerSlot<O, Value, never>

/** An operator as a function: `op.Gemm(a, b, c, { transB: 1 })`; variadic operands come as one array. */
export type OperatorFunction<D> =
  D extends Definition<infer I, infer O, infer A> ? (...args: Arguments<I, A>) => Result<O> : never

const isAttributes = (arg: unknown): arg is Attributes =>
  typeof arg === 'object' && arg !== null && !Array.isArray(arg) && !(arg instanceof Value)

/** Turns a definition into its function. */
export function operatorFunction(
  operator: string,
  definition: Definition,
): (...args: unknown[]) => Value | readonly Value[] {
  const variadic = definition.inputs.at(-1)?.startsWith('...') ?? false
  const lastOutput = definition.outputs.at(-1)
  return (...args) => {
    const last = args.at(-1)
    const attributes = isAttributes(last) ? last : {}
    if (attributes === last) args.pop()
    const operands = (variadic ? [...args.slice(0, -1), ...(args.at(-1) as Operand[])] : args) as (
      | Operand
      | null
      | undefined
    )[]
    const outputs = apply({ operator, definition, inputs: toValues(operands, operator), attributes })
    return definition.outputs.length === 1 && !lastOutput!.startsWith('...') ? outputs[0]! : outputs
  }
}

function toValues(operands: readonly (Operand | null | undefined)[], operator: string): (Value | null)[] {
  const numeric = operands.find((operand): operand is Value => operand instanceof Value && operand.dtype !== 'bool')
  return operands.map((operand) => {
    if (operand === undefined || operand === null || operand instanceof Value) return operand ?? null
    if (typeof operand !== 'number') return int64s(operand)
    if (numeric === undefined)
      throw new OnnxIreError(
        'invalid-shape',
        `${operator}: a plain number needs a tensor beside it to take its type from`,
      )
    return scalar(numeric.dtype, operand)
  })
}

export interface Application {
  readonly operator: string
  readonly definition: Definition
  readonly inputs: readonly (Value | null)[]
  readonly attributes: Attributes
  readonly name?: string | undefined
  readonly outputCount?: number
}

/** Makes a node: checks its operands, infers its outputs' types, and folds integer arithmetic that is fully known. */
export function apply(application: Application): readonly Value[] {
  const { operator, definition, name } = application
  const inputs = [...application.inputs]
  // Inputs before any number of others keep their places.
  const places = definition.inputs.at(-1)?.startsWith('...') ? definition.inputs.length - 1 : 0
  while (inputs.length > places && inputs.at(-1) === null) inputs.pop()
  while (inputs.length < places) inputs.push(null)
  const place = name ? `${operator} '${name}'` : operator
  checkInputs(place, definition, inputs)
  const attributes = withDefaults(place, definition.attributes, application.attributes)
  const call = {
    inputs: padded(inputs, definition.inputs),
    attributes,
    ...(application.outputCount === undefined ? {} : { outputCount: application.outputCount }),
  } as Call<Slots, AttributeSpecs>
  const types = inferred(place, definition, call, inputs)
  const contents = contentsOf(definition.contents?.(call))
  const folded = types.map((type, index) => fold(type, contents[index]))
  if (folded.every((output) => output !== undefined)) return folded
  const outputs: Value[] = []
  const node: Node = {
    kind: 'node',
    operator,
    domain: definition.domain,
    since: sinceVersion(definition, inputs),
    inputs,
    attributes,
    outputs,
    name,
    scope: currentScope(),
  }
  for (const [index, type] of types.entries()) outputs.push(new Value(type, node, index, undefined, contents[index]))
  return outputs
}

/** The first version that has the operator with these inputs. */
const sinceVersion = (
  { since, later, laterTypes, inputs: slots }: Definition,
  inputs: readonly (Value | null)[],
): number =>
  Math.max(
    since,
    ...slots.map((slot, index) => (inputs[index] ? (later[slot] ?? 0) : 0)),
    ...inputs.map((value) => (value ? (laterTypes[value.dtype] ?? 0) : 0)),
  )

function checkInputs(place: string, definition: Definition, inputs: readonly (Value | null)[]): void {
  const variadic = definition.inputs.at(-1)?.startsWith('...')
  if (inputs.length > definition.inputs.length && !variadic) {
    throw new OnnxIreError('invalid-model', `${place} takes ${definition.inputs.length} inputs, not ${inputs.length}`)
  }
  if (variadic && inputs.slice(definition.inputs.length - 1).includes(null)) {
    throw new OnnxIreError('invalid-model', `${place} has an empty one among its inputs`)
  }
  for (const [index, slot] of definition.inputs.entries()) {
    if (!slot.endsWith('?') && !slot.startsWith('...') && !inputs[index]) {
      throw new OnnxIreError('invalid-model', `${place} needs its input '${slot}' (number ${index})`)
    }
  }
}

function padded(inputs: readonly (Value | null)[], slots: Slots): readonly (Value | null)[] {
  const fixed = slots.filter((slot) => !slot.startsWith('...')).length
  return inputs.length >= fixed ? inputs : [...inputs, ...Array<null>(fixed - inputs.length).fill(null)]
}

function withDefaults(place: string, specs: AttributeSpecs, given: Attributes): Attributes {
  const attributes: Record<string, Attributes[string]> = {}
  for (const [key, spec] of Object.entries(specs)) {
    const value = given[key] ?? (spec.default as Attributes[string])
    if (value === undefined && spec.presence === 'required')
      throw new OnnxIreError('invalid-model', `${place} needs its attribute '${key}'`)
    if (value !== undefined) attributes[key] = value
  }
  for (const key of Object.keys(given)) {
    if (!(key in specs) && given[key] !== undefined)
      throw new OnnxIreError('invalid-model', `${place} has no attribute '${key}'`)
  }
  return attributes
}

function inferred(
  place: string,
  definition: Definition,
  call: Call<Slots, AttributeSpecs>,
  inputs: readonly (Value | null)[],
): readonly TensorType[] {
  try {
    const types = definition.infer(call)
    return Array.isArray(types) ? types : [types as TensorType]
  } catch (error) {
    if (!(error instanceof OnnxIreError)) throw error
    const shapes = inputs.map((value) =>
      value ? `${value.name ? `${value.name}: ` : ''}${value.dtype}${formatShape(value.shape)}` : '-',
    )
    throw new OnnxIreError(error.code, `${place}: ${error.message} (inputs ${shapes.join(', ')})`, { cause: error })
  }
}

const integers: ReadonlySet<DType> = new Set(['int64', 'int32', 'bool'])

/** What is known of each output: one list stands for the first. */
function contentsOf(
  contents: readonly Dim[] | readonly (readonly Dim[])[] | undefined,
): readonly (readonly Dim[] | undefined)[] {
  const several = (lists: readonly Dim[] | readonly (readonly Dim[])[]): lists is readonly (readonly Dim[])[] =>
    Array.isArray(lists[0])
  return contents === undefined ? [] : several(contents) ? contents : [contents]
}

function fold(type: TensorType, contents: readonly Dim[] | undefined): Value | undefined {
  const known = contents?.every((dim): dim is number => typeof dim === 'number')
  if (!known || !integers.has(type.dtype) || !isStatic(type.shape)) return undefined
  return constant(tensorFrom(type.dtype, type.shape, contents as readonly number[]))
}
