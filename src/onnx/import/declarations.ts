import { type DType, dtypeOf } from '../../ir/dtype.js'
import { input } from '../../ir/leaf.js'
import { type Dim, formatShape, type Shape, unknownDim } from '../../ir/shape.js'
import { refineShape, type Value } from '../../ir/value.js'
import { knownCondition } from '../../op/inline.js'
import { OnnxIreError } from '../../util/errors.js'
import type { GraphProto, ModelProto, NodeProto, OperatorSetIdProto, ValueInfoProto } from '../proto/schema.js'

/** What has to be fed: up to IR version 3 initializers are listed among the inputs too. */
export function listInputs({ graph }: ModelProto): readonly ValueInfoProto[] {
  const initializers = new Set(graph?.initializer.map(({ name }) => name))
  return graph?.input.filter(({ name }) => !initializers.has(name)) ?? []
}

/** The value a declaration of a graph's input stands for; `implied` is its type where a body leaves it out. */
export function createInput(info: ValueInfoProto, implied?: DType): Value {
  const name = info.name ?? ''
  const type = info.type?.tensorType
  const dtype = dtypeOf(type?.elemType ?? 0)
  if (info.type === undefined && implied) return input(name, implied, undefined)
  if (!type || !dtype) {
    throw new OnnxIreError(
      'invalid-model',
      `input '${name}' is not a tensor of a type this library carries; sequences, maps and optionals are not supported`,
    )
  }
  return input(name, dtype, readShape(info))
}

/** The shape a file declares; undefined where it declares none. */
export function readShape(info: ValueInfoProto): Shape | undefined {
  return info.type?.tensorType?.shape?.dim.map(({ dimValue, dimParam }): Dim => {
    // A name that begins with `?` would be taken for one of ours, and says nothing.
    if (dimValue === undefined) return dimParam && !dimParam.startsWith('?') ? dimParam : unknownDim()
    const length = Number(dimValue)
    // Some exporters write -1 for "any length".
    if (length < 0) return unknownDim()
    if (length > 2 ** 40)
      throw new OnnxIreError('invalid-model', `'${info.name}' declares an axis of ${dimValue} elements`)
    return length
  })
}

/** What a file declares of its inputs and of the results of its nodes. */
export class Declarations {
  /** Nameless lengths that inputs leave open. */
  readonly #open = new Set<Dim>()
  /** Whether it fixes lengths that its inputs leave open: they were opened after the rest was written. */
  #outdated = false

  /** A graph's input, as `inputOf` has it. */
  input(info: ValueInfoProto): Value {
    const value = createInput(info)
    for (const dim of value.shape ?? []) this.#open.add(dim)
    return value
  }

  /** Takes over what a declaration knows beyond inference; refuses one that contradicts it. */
  refine(value: Value, info: ValueInfoProto | undefined, operator: string): void {
    const dtype = dtypeOf(info?.type?.tensorType?.elemType ?? 0)
    if (dtype && dtype !== value.dtype)
      throw new OnnxIreError(
        'invalid-model',
        `'${info?.name}' is declared ${dtype}, but ${operator} gives ${value.dtype}; correct the declaration or remove it`,
      )
    const declared = info && readShape(info)
    if (!declared) return
    const { shape } = value
    if (shape && contradict(shape, declared)) {
      throw new OnnxIreError(
        'invalid-model',
        `'${info.name}' is declared ${formatShape(declared)}, but ${operator} gives ${formatShape(shape)}; correct the declaration or remove it`,
      )
    }
    this.#outdated ||= shape?.some((dim, axis) => typeof declared[axis] === 'number' && this.#isOpen(dim)) ?? false
    const lengths = this.#outdated ? declared.map(() => unknownDim()) : declared
    refineShape(
      value,
      shape?.map((dim, axis) => (typeof dim === 'string' && typeof lengths[axis] === 'number' ? lengths[axis] : dim)) ??
        lengths,
    )
  }

  /** Whether a length is one that the file names or an input leaves open, or is computed from such. */
  #isOpen(dim: Dim): boolean {
    if (typeof dim === 'number') return false
    const named = dim.replace(/\?\d+/g, (unknown) => (this.#open.has(unknown) ? unknown : ''))
    return named.replace(/floor|ceil|[-+*/().\d]/g, '') !== ''
  }
}

/** Whether two shapes cannot be those of one tensor. */
const contradict = (a: Shape, b: Shape): boolean =>
  a.length !== b.length ||
  a.some((dim, axis) => typeof dim === 'number' && typeof b[axis] === 'number' && dim !== b[axis])

/** The newest operator set whose operators this library has read. */
const newestOperatorSet = 26

/** The versions a model, or a function of it, says its operators have, by domain. */
export function readOperatorSets(imports: readonly OperatorSetIdProto[]): ReadonlyMap<string, number> {
  const versions = new Map([
    // Files before IR version 3 name no operator set: version 1.
    ...(imports.length === 0 ? [['', 1] as const] : []),
    ...imports.map(
      ({ domain, version }) => [domain === 'ai.onnx' ? '' : (domain ?? ''), Number(version ?? 1n)] as const,
    ),
  ])
  const version = versions.get('') ?? 1
  if (version < 1 || version > newestOperatorSet)
    throw new OnnxIreError(
      'invalid-model',
      `the model uses operator set ${version}; 1 to ${newestOperatorSet} are known: export it with one of those`,
    )
  return versions
}

/** Types of a body's inputs, which a file may leave out: of Loop the round, the condition and the states; of Scan states and slices. */
export function inferBodyInputTypes(
  operator: string,
  inputs: readonly (Value | null)[],
): readonly (DType | undefined)[] {
  const types = inputs.map((value) => value?.dtype)
  if (operator === 'Loop') return ['int64', 'bool', ...types.slice(2)]
  return operator === 'Scan' ? types : []
}

/**
 * The branch of an If whose condition is known already, as rank checks of a scripted model are; the other one may not even
 * fit the shapes.
 */
export function selectBranch(node: NodeProto, condition: Value | null | undefined): GraphProto | undefined {
  if (node.opType !== 'If' || node.domain || !condition) return undefined
  const known = knownCondition(condition)
  const name = known ? 'then_branch' : 'else_branch'
  return known === undefined ? undefined : node.attribute.find((attribute) => attribute.name === name)?.g
}
