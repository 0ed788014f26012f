import { type Dim, formatShape, type Shape } from '../../ir/shape.js'
import { listInputs, readShape } from '../../onnx/import/declarations.js'
import type { Model } from '../../onnx/model.js'
import { create, edit } from '../../onnx/proto/message.js'
import type { ValueInfoProto } from '../../onnx/proto/schema.js'
import { OnnxIreError } from '../../util/errors.js'
import { getOwn } from '../../util/record.js'

/** Shapes of a model's inputs, by name. */
export type InputShapes = Readonly<Record<string, readonly number[]>>

/** A dim of an input that is unknown: neither the file nor the caller gives it. */
export interface MissingLength {
  readonly input: string
  /** Null if the number of axes is unknown. */
  readonly axis: number | null
  /** Name of the length in the file, if any. */
  readonly name: string | null
}

/** A model whose inputs have lengths for one run. */
interface SizedModel {
  readonly model: Model
  readonly missing: readonly MissingLength[]
  /** Whether the file leaves the number of examples open, so that `batch` was used. */
  readonly free: boolean
}

/**
 * The model with the lengths of its inputs filled in: those given, and `batch` for a leading length that the file
 * leaves open. A length that the file names is the same at every occurrence of the name.
 * @throws OnnxIreError `invalid-option` if a shape is given for an unknown input or contradicts the file
 */
export function applyShapes(model: Model, given: InputShapes, batch: number): SizedModel {
  const inputs = listInputs(model.proto)
  const declared = new Map(inputs.map((info) => [info.name ?? '', readShape(info)]))
  const lengths = new Map<string, number>()
  for (const [name, shape] of Object.entries(given)) bind(name, declared, shape, lengths)
  const leading = [...declared].flatMap(([name, shape]) =>
    Object.hasOwn(given, name) ? [] : (shape?.slice(0, 1) ?? []),
  )
  const free = leading.filter((dim) => typeof dim === 'string' && !lengths.has(dim)) as string[]
  for (const dim of free) lengths.set(dim, batch)

  const known = new Map<string, Shape | undefined>()
  for (const [name, shape] of declared)
    known.set(
      name,
      getOwn(given, name) ?? shape?.map((dim) => (typeof dim === 'string' ? (lengths.get(dim) ?? dim) : dim)),
    )
  const graph = model.proto.graph!
  const input = graph.input.map((info) =>
    known.has(info.name ?? '') ? withShape(info, known.get(info.name ?? '')) : info,
  )
  return {
    model: { ...model, proto: edit(model.proto, { graph: edit(graph, { input }) }) },
    missing: [...known].flatMap(([name, shape]) => missingOf(name, shape)),
    free: free.length > 0,
  }
}

/** Binds the symbolic lengths of an input to the lengths of a given shape. */
function bind(
  name: string,
  declared: ReadonlyMap<string, Shape | undefined>,
  shape: readonly number[],
  lengths: Map<string, number>,
): void {
  if (!declared.has(name))
    throw new OnnxIreError(
      'invalid-option',
      `a shape is given for '${name}', which is no input of the model: they are ${[...declared.keys()].map((input) => `'${input}'`).join(', ')}`,
    )
  const whole = shape.every((length) => Number.isSafeInteger(length) && length >= 0)
  const expected = declared.get(name)
  const fits =
    !expected ||
    (expected.length === shape.length &&
      expected.every(
        (dim, axis) => (typeof dim === 'number' ? dim : (lengths.get(dim) ?? shape[axis])) === shape[axis],
      ))
  if (!whole || !fits)
    throw new OnnxIreError(
      'invalid-option',
      `the shape [${shape.join(', ')}] given for the input '${name}' does not fit what the model declares, ${formatShape(expected && formatUnknown(expected))}`,
    )
  for (const [axis, dim] of (expected ?? []).entries()) if (typeof dim === 'string') lengths.set(dim, shape[axis]!)
}

function missingOf(input: string, shape: Shape | undefined): MissingLength[] {
  if (!shape) return [{ input, axis: null, name: null }]
  return shape.flatMap((dim, axis) =>
    typeof dim === 'string' ? [{ input, axis, name: dim.includes('?') ? null : dim }] : [],
  )
}

/** Lengths without a name are '?'. */
export const formatUnknown = (shape: Shape): Shape =>
  shape.map((dim): Dim => (typeof dim === 'string' && dim.includes('?') ? '?' : dim))

function withShape(info: ValueInfoProto, shape: Shape | undefined): ValueInfoProto {
  const { type } = info
  if (!shape || !type?.tensorType) return info
  const dim = shape.map((length, axis) => {
    const before = type.tensorType?.shape?.dim[axis]
    return typeof length === 'number'
      ? create('Dimension', { dimValue: BigInt(length) })
      : (before ?? create('Dimension', {}))
  })
  const tensorType = edit(type.tensorType, { shape: create('TensorShapeProto', { dim }) })
  return edit(info, { type: edit(type, { tensorType }) })
}
