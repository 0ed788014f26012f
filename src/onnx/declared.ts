import { OnnxIreError } from '../errors.js'
import { type DType, dtypeOf } from '../ir/dtype.js'
import { input } from '../ir/leaf.js'
import { type Dim, formatShape, type Shape, unknownDim } from '../ir/shape.js'
import { refineShape, type Value } from '../ir/value.js'
import type { ModelProto, ValueInfoProto } from './schema.js'

/** What has to be fed: up to IR version 3 initializers are listed among the inputs too. */
export function inputsOf({ graph }: ModelProto): readonly ValueInfoProto[] {
  const initializers = new Set(graph?.initializer.map(({ name }) => name))
  return graph?.input.filter(({ name }) => !initializers.has(name)) ?? []
}

/** The value a declaration of a graph's input stands for; `implied` is its type where a body leaves it out. */
export function inputOf(info: ValueInfoProto, implied?: DType): Value {
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
  return input(name, dtype, shapeOf(info))
}

/** The shape a file declares; undefined where it declares none. */
export function shapeOf(info: ValueInfoProto): Shape | undefined {
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

/** Takes over what a declaration knows beyond inference; refuses one that contradicts it. */
export function refineFrom(value: Value, info: ValueInfoProto | undefined, operator: string): void {
  const dtype = dtypeOf(info?.type?.tensorType?.elemType ?? 0)
  if (dtype && dtype !== value.dtype)
    throw new OnnxIreError(
      'invalid-model',
      `'${info?.name}' is declared ${dtype}, but ${operator} gives ${value.dtype}; correct the declaration or remove it`,
    )
  const declared = info && shapeOf(info)
  if (!declared) return
  const { shape } = value
  const clash =
    shape &&
    (shape.length !== declared.length ||
      shape.some(
        (dim, axis) => typeof dim === 'number' && typeof declared[axis] === 'number' && dim !== declared[axis],
      ))
  if (clash) {
    throw new OnnxIreError(
      'invalid-model',
      `'${info.name}' is declared ${formatShape(declared)}, but ${operator} gives ${formatShape(shape)}; correct the declaration or remove it`,
    )
  }
  refineShape(
    value,
    shape
      ? shape.map((dim, axis) => (typeof dim === 'string' && typeof declared[axis] === 'number' ? declared[axis] : dim))
      : declared,
  )
}
