import { type DType, dtypeOf } from '../../ir/dtype.js'
import { input } from '../../ir/leaf.js'
import { contradict, type Dim, limitLength, maxRank, type Shape, unknownDim } from '../../ir/shape.js'
import { refineShape, type Value } from '../../ir/value.js'
import { knownCondition } from '../../op/inline.js'
import { OnnxIreError } from '../../util/errors.js'
import { create, edit } from '../proto/message.js'
import type { GraphProto, ModelProto, NodeProto, OperatorSetIdProto, ValueInfoProto } from '../proto/schema.js'
import { isStandardDomain } from './model-nodes.js'

/** The inputs of a model that must be fed. Before IR version 4 the inputs of a graph include its initializers. */
export function listInputs({ graph }: ModelProto): readonly ValueInfoProto[] {
  const initializers = new Set(graph?.initializer.map(({ name }) => name))
  return graph?.input.filter(({ name }) => !initializers.has(name)) ?? []
}

/** Creates the value of a graph input. `implied` is the type of a body's input whose declaration has none. */
export function createInput(info: ValueInfoProto, implied?: DType): Value {
  const name = info.name ?? ''
  const type = info.type?.tensorType
  const dtype = dtypeOf(type?.elemType ?? 0)
  if (info.type === undefined && implied) return input(name, implied, undefined)
  if (!type || !dtype) {
    throw new OnnxIreError(
      'invalid-model',
      `input '${name}' is not a tensor of a supported type; sequences, maps and optionals are not supported`,
    )
  }
  return input(name, dtype, readShape(info))
}

/** The declared shape; undefined if there is none. */
export function readShape(info: ValueInfoProto): Shape | undefined {
  const dims = info.type?.tensorType?.shape?.dim
  if (dims && dims.length > maxRank)
    throw new OnnxIreError(
      'invalid-model',
      `'${info.name}' is declared with ${dims.length} axes; at most ${maxRank} are supported`,
    )
  return dims?.map(({ dimValue, dimParam }): Dim => {
    // Names that begin with `?` are unknown lengths, in this library and in some exporters.
    if (dimValue === undefined) return dimParam && !dimParam.startsWith('?') ? limitLength(dimParam) : unknownDim()
    const length = Number(dimValue)
    // Some exporters write -1 for "any length".
    if (length < 0) return unknownDim()
    if (length > 2 ** 40)
      throw new OnnxIreError('invalid-model', `'${info.name}' has an impossible dimension: ${dimValue}`)
    return length
  })
}

/** Replaces the dims of a declaration; undefined leaves the shape undeclared. */
export function declareDims(info: ValueInfoProto, dims: readonly Dim[] | undefined): ValueInfoProto {
  const tensorType = info.type?.tensorType
  const shape =
    dims &&
    create('TensorShapeProto', {
      dim: dims.map((dim) =>
        create(
          'Dimension',
          typeof dim === 'number' ? { dimValue: BigInt(dim) } : dim.startsWith('?') ? {} : { dimParam: dim },
        ),
      ),
    })
  return edit(info, {
    type: edit(info.type ?? create('TypeProto', {}), {
      tensorType: edit(tensorType ?? create('TensorType', {}), { shape }),
    }),
  })
}

/** Removes the declared shapes of a body. */
export function undeclare(body: GraphProto): GraphProto {
  const withoutDims = (info: ValueInfoProto) => (info.type?.tensorType ? declareDims(info, undefined) : info)
  return edit(body, { valueInfo: [], input: body.input.map(withoutDims), output: body.output.map(withoutDims) })
}

/** The shapes that a file declares for its inputs and the results of its nodes. */
export class Declarations {
  /** Unknown lengths of inputs. */
  readonly #open = new Set<Dim>()
  /**
   * Whether a result has a fixed length although it depends on an unknown length of an input: then the axes of the
   * inputs were made dynamic after the shapes of the results were written, and fixed lengths are ignored.
   */
  #outdated = false

  /** Creates the value of a graph input. */
  input(info: ValueInfoProto): Value {
    const value = createInput(info)
    for (const dim of value.shape ?? []) this.#open.add(dim)
    return value
  }

  /**
   * Adds the lengths of a declaration that inference leaves unknown. A shape that contradicts inference is ignored, as
   * onnxruntime does: some exporters write a wrong one, above all for outputs with dynamic axes. Throws `invalid-model`
   * for another type.
   */
  refine(value: Value, info: ValueInfoProto | undefined, operator: string): void {
    const dtype = dtypeOf(info?.type?.tensorType?.elemType ?? 0)
    if (dtype && dtype !== value.dtype)
      throw new OnnxIreError(
        'invalid-model',
        `'${info?.name}' is declared ${dtype}, but ${operator} returns ${value.dtype}; correct or remove the declaration`,
      )
    const declared = info && readShape(info)
    const { shape } = value
    if (!declared || (shape && contradict(shape, declared))) return
    this.#outdated ||= shape?.some((dim, axis) => typeof declared[axis] === 'number' && this.#isOpen(dim)) ?? false
    const lengths = this.#outdated ? declared.map(() => unknownDim()) : declared
    refineShape(
      value,
      shape?.map((dim, axis) => (typeof dim === 'string' && typeof lengths[axis] === 'number' ? lengths[axis] : dim)) ??
        lengths,
    )
  }

  /** Whether a length depends on a named length of the file or on an unknown length of an input. */
  #isOpen(dim: Dim): boolean {
    if (typeof dim === 'number') return false
    const named = dim.replace(/\?\d+/g, (unknown) => (this.#open.has(unknown) ? unknown : ''))
    return named.replace(/floor|ceil|[-+*/().\d]/g, '') !== ''
  }
}

/** Key of the kind that torch.export gives an initializer: PARAMETER, BUFFER or CONSTANT_TENSOR. */
const torchKind = 'pkg.torch.export.graph_signature.InputSpec.kind'

/**
 * Finds the initializers that torch.onnx declares as buffers. A file that declares no parameters is of a program that
 * has its weights as buffers, so it has none.
 */
export function findBuffers({ valueInfo }: GraphProto): ReadonlySet<string> {
  const kinds = valueInfo.flatMap(({ name = '', metadataProps }) =>
    metadataProps.flatMap(({ key, value }) => (key === torchKind ? [[name, value] as const] : [])),
  )
  if (!kinds.some(([, kind]) => kind === 'PARAMETER')) return new Set()
  return new Set(kinds.flatMap(([name, kind]) => (kind === 'BUFFER' ? [name] : [])))
}

/** The newest supported operator set of ai.onnx. */
const newestOperatorSet = 26

/** The versions of the operator sets that a model or function imports, by domain. */
export function readOperatorSets(imports: readonly OperatorSetIdProto[]): ReadonlyMap<string, number> {
  const versions = new Map([
    // Files before IR version 3 do not list operator sets: they use version 1.
    ...(imports.length === 0 ? [['', 1] as const] : []),
    ...imports.map(
      ({ domain, version }) => [domain === 'ai.onnx' ? '' : (domain ?? ''), Number(version ?? 1n)] as const,
    ),
  ])
  const version = versions.get('') ?? 1
  if (version < 1 || version > newestOperatorSet)
    throw new OnnxIreError(
      'invalid-model',
      `the model uses operator set ${version}, but 1 to ${newestOperatorSet} are supported: export it with one of these`,
    )
  return versions
}

/**
 * The types of a body's inputs, which a file may omit. The inputs are the iteration, the condition and the states for
 * Loop, states and slices for Scan.
 */
export function inferBodyInputTypes(
  operator: string,
  inputs: readonly (Value | null)[],
): readonly (DType | undefined)[] {
  const types = inputs.map((value) => value?.dtype)
  if (operator === 'Loop') return ['int64', 'bool', ...types.slice(2)]
  return operator === 'Scan' ? types : []
}

/**
 * The branch of an If with a constant condition, such as a rank check in a scripted PyTorch model. The other branch
 * is not imported: it may be invalid for the shapes of the model.
 */
export function selectBranch(node: NodeProto, condition: Value | null | undefined): GraphProto | undefined {
  if (node.opType !== 'If' || !isStandardDomain(node) || !condition) return undefined
  const known = knownCondition(condition)
  const name = known ? 'then_branch' : 'else_branch'
  return known === undefined ? undefined : node.attribute.find((attribute) => attribute.name === name)?.g
}
