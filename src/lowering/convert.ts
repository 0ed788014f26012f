import type { DType } from '../ir/dtype.js'
import { numbersOf, tensorFrom } from '../ir/leaf.js'
import type { Tensor } from '../ir/tensor.js'
import type { Value } from '../ir/value.js'
import type { GraphSpec } from '../onnx/export/export-graph.js'
import { OnnxIreError } from '../util/errors.js'
import { lower } from './lower.js'
import type { Target } from './lowering.js'

/**
 * Converts a tensor between int64 and int32; tensors of other types are returned unchanged.
 * Throws `invalid-data` with the tensor's name for integers beyond 32 bits.
 */
export function convertTensor(name: string, tensor: Tensor, to: DType): Tensor {
  const { dtype, dims, data } = tensor
  if (dtype === 'int64' && to === 'int32') return { dtype: to, dims, data: narrow(name, data as BigInt64Array) }
  if (dtype === 'int32' && to === 'int64')
    return { dtype: to, dims, data: BigInt64Array.from(data as Int32Array, BigInt) }
  return tensor
}

function narrow(name: string, data: BigInt64Array): Int32Array {
  const result = new Int32Array(data.length)
  for (let i = 0; i < data.length; i++) {
    const element = Number(data[i])
    result[i] = element
    if (result[i] !== element) throw tooLong(`input '${name}'`, `${data[i]}`)
  }
  return result
}

/**
 * Converts a constant of a graph to int32. The limits of int64 become the limits of int32, because they mean "no bound". Throws
 * `invalid-data` with the constant's name for other integers beyond 32 bits.
 */
export function narrowConstant(tensor: Tensor, name?: string): Tensor {
  const numbers = numbersOf(tensor).map((x) => {
    if (Math.abs(x) === 2 ** 63) return x < 0 ? -(2 ** 31) : 2 ** 31 - 1
    if (x !== (x | 0)) throw tooLong(name ? `the constant '${name}'` : 'a constant of the model', `${x}`)
    return x
  })
  return tensorFrom('int32', tensor.dims, numbers)
}

const tooLong = (where: string, number: string) =>
  new OnnxIreError(
    'invalid-data',
    `${where}: ${number} exceeds 32 bits, and this provider has no larger integers: run the model on the CPU`,
  )

/** Converts feeds and results between a graph and its lowered form. Tensors in device memory are passed on unchanged. */
export interface Conversion {
  feeds<T extends object>(given: Readonly<Record<string, T>>): Readonly<Record<string, T>>
  outputs<T extends object>(given: Readonly<Record<string, T>>): Readonly<Record<string, T>>
}

/** Lowers a graph; returns it with the conversion of its feeds and results, if any type changes. */
export function createConversion(
  spec: GraphSpec,
  target: Target,
): { readonly graph: GraphSpec; readonly conversion?: Conversion } {
  const graph = lower(spec, target)
  const feeds = changedTypes(spec.inputs, graph.inputs)
  const outputs = changedTypes(graph.outputs, spec.outputs)
  if (feeds.size === 0 && outputs.size === 0) return { graph }
  return {
    graph,
    conversion: { feeds: (given) => convertAll(feeds, given), outputs: (given) => convertAll(outputs, given) },
  }
}

/** The types to convert to, by name of input or output. */
function changedTypes(from: ReadonlyMap<string, Value>, to: ReadonlyMap<string, Value>): ReadonlyMap<string, DType> {
  return new Map(
    [...to].flatMap(([name, { dtype }]) => (from.get(name)!.dtype === dtype ? [] : [[name, dtype] as const])),
  )
}

function convertAll<T extends object>(types: ReadonlyMap<string, DType>, tensors: Readonly<Record<string, T>>) {
  return Object.fromEntries(
    Object.entries(tensors).map(([name, tensor]) => {
      const to = types.get(name)
      return [name, to && isHost(tensor) ? (convertTensor(name, tensor, to) as T & Tensor) : tensor]
    }),
  )
}

const isHost = <T extends object>(tensor: T): tensor is T & Tensor => 'data' in tensor
