import type { DType } from '../ir/dtype.js'
import type { Dim } from '../ir/shape.js'
import type { Tensor } from '../ir/tensor.js'
import type { Attributes, Body, TensorType, Value } from '../ir/value.js'

interface AttributeTypes {
  int: number
  float: number
  string: string
  tensor: Tensor
  body: Body
  ints: readonly number[]
  floats: readonly number[]
  strings: readonly string[]
}

/** An attribute of an operator: its ONNX type, and whether it is required. */
export interface AttributeSpec<
  T = unknown,
  Presence extends 'default' | 'required' | 'optional' = 'default' | 'required' | 'optional',
> {
  readonly type: keyof AttributeTypes
  readonly presence: Presence
  readonly default?: T
  /** True if the attribute is the ONNX number of an element type. */
  readonly numbersType?: boolean
}

const attribute = <K extends keyof AttributeTypes>(type: K) => {
  type T = AttributeTypes[K]
  return Object.assign((value: T): AttributeSpec<T, 'default'> => ({ type, presence: 'default', default: value }), {
    required: { type, presence: 'required' } as AttributeSpec<T, 'required'>,
    optional: { type, presence: 'optional' } as AttributeSpec<T, 'optional'>,
  })
}

/** `int(1)` has a default, `int.required` must be given, `int.optional` may be absent. */
export const int = attribute('int')
/** `int` attributes that are ONNX numbers of element types (TensorProto.DataType): `elementType(1)` is float32. */
export const elementType = ((): typeof int => {
  const numbersType = { numbersType: true } as const
  return Object.assign((value: number) => ({ ...int(value), ...numbersType }), {
    required: { ...int.required, ...numbersType },
    optional: { ...int.optional, ...numbersType },
  })
})()
export const float = attribute('float')
export const string = attribute('string')
export const tensorAttribute = attribute('tensor')
export const body = attribute('body')
export const ints = attribute('ints')
export const floats = attribute('floats')
export const strings = attribute('strings')

export type AttributeSpecs = Readonly<Record<string, AttributeSpec>>

type Holds<S> = S extends AttributeSpec<infer T, infer P> ? (P extends 'optional' ? T | undefined : T) : never

/** Attributes of a node, with defaults filled in. */
export type AttributesOf<A extends AttributeSpecs> = { readonly [K in keyof A]: Holds<A[K]> }

type RequiredKeys<A extends AttributeSpecs> = {
  [K in keyof A]: A[K] extends AttributeSpec<unknown, 'required'> ? K : never
}[keyof A]

/** Attributes that a caller passes: those with defaults may be omitted. */
export type GivenAttributes<A extends AttributeSpecs> = Flat<
  { readonly [K in RequiredKeys<A>]: Holds<A[K]> } & {
    readonly [K in Exclude<keyof A, RequiredKeys<A>>]?: Holds<A[K]> | undefined
  }
>

/**
 * One object type instead of an intersection: a value that shares no field with it is rejected even if all are
 * optional.
 */
type Flat<T> = { readonly [K in keyof T]: T[K] }

/** Names of inputs or outputs: `'x'` is required, `'b?'` optional, `'...xs'` variadic (last). */
export type Slots = readonly string[]

/** A tuple with one element per slot: `T`, `T | null` for optional slots, any number for a variadic slot. */
export type PerSlot<S extends Slots, T, Absent = null> = S extends readonly [infer Head, ...infer Rest extends Slots]
  ? Head extends `...${string}`
    ? readonly T[]
    : readonly [Head extends `${string}?` ? T | Absent : T, ...PerSlot<Rest, T, Absent>]
  : readonly []

/** Name of an input, without the marks of optional and variadic ones: `'b'` of `'b?'`, `'xs'` of `'...xs'`. */
type InputName<I extends Slots> = NameOf<I[number]>
type NameOf<S extends string> = S extends `...${infer Name}` ? Name : S extends `${infer Name}?` ? Name : S

/** Lists of inputs that an operator's definition may have. */
export interface InputFacts<Name = string> {
  /** Inputs whose parameters a layer learns: weights, biases, scales of norms. */
  readonly weights: readonly Name[]
  /**
   * Inputs whose parameters are learned if another input is the result of a layer: exporters write biases and scales as
   * nodes of their own, vectors along one axis above all.
   */
  readonly vectorWeights: readonly Name[]
  /** Inputs that hold the quantized weights of a layer. */
  readonly quantizedWeights: readonly Name[]
  /**
   * Floating-point inputs that configure the operator and are not trained: factors, tables of angles, quantization
   * scales.
   */
  readonly configInputs: readonly Name[]
  /**
   * Inputs that onnxruntime reads in host memory on every provider: shapes, axes, counts, conditions. The host computes
   * their values, so that no run waits for a device to return a shape.
   */
  readonly hostInputs: readonly Name[]
  /** Inputs, other than `hostInputs`, that must be int64. */
  readonly int64Inputs: readonly Name[]
}

/** Properties of an operator that name no inputs. */
export interface Facts {
  /**
   * The result holds elements of the first input and nothing else. 'same': all of them, unchanged. 'reshaped': all of
   * them in the same order, under another shape. 'rearranged': some of them, or in another order or type.
   */
  readonly view: 'same' | 'reshaped' | 'rearranged' | undefined
  /** Each output element depends on one element of each input; kernels may write the result over an input. */
  readonly elementwise: boolean
  /** The result depends on the shape of the input only. */
  readonly shapeOnly: boolean
  /** The result may have more elements than the inputs. */
  readonly enlarges: boolean
  /** Integer outputs are indices along `axis` (an attribute) of the first input. */
  readonly indexesAxis: boolean
  /** ONNX defines the operator for int32 wherever it does for int64, except for `hostInputs` and `int64Inputs`. */
  readonly acceptsInt32: boolean
  /** The operator works for any number of classes, so a classifier's last layer may be replaced upstream of it. */
  readonly keepsClasses: boolean
  /**
   * 'own': the operator and the weights it reads are a layer. 'previous': it belongs to the layer whose result it reads
   * (norms, and biases and scales in nodes of their own).
   */
  readonly layer: 'own' | 'previous' | undefined
  /** Last operator set for which onnxruntime's provider has a kernel, by provider, if that is not the newest. */
  readonly maxOpset: Readonly<Record<string, number>>
}

/** Number of operations of one application (see `op/facts.ts`); NaN if it depends on unknown lengths or on the data. */
export type Flops<I extends Slots, A extends AttributeSpecs> = (
  inputs: PerSlot<I, Value>,
  outputs: readonly Value[],
  attributes: AttributesOf<A>,
) => number

/** Facts that are functions of a node's inputs or attributes, typed by the definition. */
interface ComputedFacts<I extends Slots, A extends AttributeSpecs> {
  /** Whether the output differs from run to run for the same inputs. */
  readonly random?: boolean | ((inputs: PerSlot<I, Value>) => boolean)
  /** Undefined for operators with bodies, which take the operations of their bodies. */
  readonly flops: Flops<I, A> | undefined
  /**
   * By input, the axes that count a weight's filters (a filter produces one output channel or one neuron), given the
   * weight's number of axes.
   */
  readonly filterAxes?: {
    readonly [K in InputName<I>]?: (attributes: AttributesOf<A>, rank: number) => readonly number[] | undefined
  }
}

/** `ComputedFacts` as the library reads them: the types of the single definition are erased. */
interface ErasedFacts {
  readonly random: boolean | ((inputs: readonly (Value | null)[]) => boolean)
  readonly flops:
    | ((inputs: readonly (Value | null)[], outputs: readonly Value[], attributes: Attributes) => number)
    | undefined
  readonly filterAxes: Readonly<
    Record<string, ((attributes: Attributes, rank: number) => readonly number[] | undefined) | undefined>
  >
}

/** The operands and attributes of one application of an operator. */
export interface Call<I extends Slots, A extends AttributeSpecs> {
  readonly inputs: PerSlot<I, Value>
  readonly attributes: AttributesOf<A>
  /** Number of requested outputs, for operators with a variable number (Split). */
  readonly outputCount?: number
}

/**
 * Definition of an operator: its form in the newest operator set that this library writes
 * (https://onnx.ai/onnx/operators/), and its facts.
 */
export interface Definition<I extends Slots = Slots, O extends Slots = Slots, A extends AttributeSpecs = AttributeSpecs>
  extends Facts,
    InputFacts,
    ErasedFacts {
  readonly inputs: I
  readonly outputs: O
  readonly attributes: A
  /** First version of the operator set with this form. */
  readonly since: number
  /** Optional inputs that were added in a later operator set, with its version. */
  readonly later: Readonly<Record<string, number>>
  /** Operand types that were added in a later operator set, with its version. */
  readonly laterTypes: Readonly<Partial<Record<DType, number>>>
  readonly domain: string
  /** Inputs are broadcast against each other: the backward walk sums gradients back to each input's shape. */
  readonly broadcasts: boolean
  /** Outputs are integers that represent reals (quantization): the gradient passes as if there were no rounding. */
  readonly straightThrough: boolean
  /** The reason why floating-point outputs have no gradient ('zero'), or why no gradient is implemented ('missing'). */
  readonly gradient: { readonly none: 'zero' | 'missing'; readonly reason: string } | undefined
  /** Types of the outputs, one per slot. Throws `invalid-shape`. */
  infer(call: Call<I, A>): TensorType | readonly TensorType[]
  /**
   * Elements of small results as far as they are known before running: one list, or one per output. Known integers
   * become constants.
   */
  contents: ((call: Call<I, A>) => readonly Dim[] | readonly (readonly Dim[])[] | undefined) | undefined
}

type Options<I extends Slots, O extends Slots, A extends AttributeSpecs, G> = Pick<
  Definition<I, O, A>,
  'inputs' | 'since' | 'infer'
> &
  Partial<Facts & InputFacts<InputName<NoInfer<I>>>> &
  ComputedFacts<NoInfer<I>, A> & {
    readonly outputs?: O
    readonly attributes?: A
    readonly later?: Readonly<Record<string, number>>
    readonly laterTypes?: Readonly<Partial<Record<DType, number>>>
    readonly domain?: string
    readonly broadcasts?: boolean
    readonly straightThrough?: boolean
    readonly gradient?: G
    readonly contents?: (call: Call<I, A>) => readonly Dim[] | readonly (readonly Dim[])[] | undefined
  }

type NoGradient = { readonly none: 'zero' | 'missing'; readonly reason: string } | undefined

/**
 * Defines an operator. Defaults: one output `y`, no attributes, domain ai.onnx, no broadcasting, no facts, a gradient
 * rule required.
 */
export function define<
  const I extends Slots,
  const O extends Slots = readonly ['y'],
  const A extends AttributeSpecs = Record<never, never>,
  const G extends NoGradient = undefined,
>(options: Options<I, O, A, G>): Definition<I, O, A> & { readonly gradient: G } {
  return {
    outputs: ['y'] as Slots as O,
    attributes: {} as A,
    later: {},
    laterTypes: {},
    domain: '',
    broadcasts: false,
    straightThrough: false,
    weights: [],
    vectorWeights: [],
    quantizedWeights: [],
    configInputs: [],
    hostInputs: [],
    int64Inputs: [],
    view: undefined,
    elementwise: false,
    shapeOnly: false,
    enlarges: false,
    indexesAxis: false,
    acceptsInt32: false,
    keepsClasses: false,
    layer: undefined,
    maxOpset: {},
    random: false,
    filterAxes: {},
    contents: undefined,
    ...(options as Omit<typeof options, keyof ErasedFacts> & Partial<ErasedFacts> & Pick<ErasedFacts, 'flops'>),
    gradient: options.gradient as G,
  }
}

/** Reason for a zero gradient: the output depends on shapes, order or integers only. */
export const zero = (reason: string) => ({ none: 'zero', reason }) as const
/** Reason for a missing gradient: a derivative exists but is not implemented, and requesting it is an error. */
export const missing = (reason: string) => ({ none: 'missing', reason }) as const
