import { type DType, dtypeOf, isFloat } from '../ir/dtype.js'
import { numbersOf } from '../ir/leaf.js'
import { sizeOf, type Tensor } from '../ir/tensor.js'
import type { Attribute } from '../ir/value.js'
import { readAttributes } from '../onnx/attributes.js'
import { qualifiedName } from '../onnx/import/model-nodes.js'
import type { NodeProto } from '../onnx/proto/schema.js'
import { OnnxIreError } from '../util/errors.js'
import { dequantize, elementsOf, quantize } from './dequantize.js'

/** The values of the main graph of a model by name: stored tensors, and nodes by their outputs. */
export interface NamedValues {
  readonly tensors: ReadonlyMap<string, Tensor>
  readonly producers: ReadonlyMap<string, NodeProto>
}

/** Change of the axes or elements between a stored weight and the layer that reads it. */
type View =
  | { readonly kind: 'transpose'; readonly dims: readonly number[]; readonly perm: readonly number[] }
  | { readonly kind: 'reshape'; readonly dims: readonly number[] }
  | QuantizationView

/** QuantizeLinear or DequantizeLinear. */
interface QuantizationView {
  readonly kind: 'quantize' | 'dequantize'
  readonly dims: readonly number[]
  readonly scale: WeightSource
  readonly zeroPoint: WeightSource | undefined
  readonly axis: number
  /** Elements of a block; 0 without blocks. */
  readonly blockSize: number
  /** Type of the quantized elements. */
  readonly dtype: DType
}

/** Stored weight of a layer, and what lies between the two. */
export interface WeightSource {
  /** Name of the stored tensor, as in `namedTensors`. */
  readonly name: string
  readonly stored: Tensor
  /** Views from the stored tensor to the layer, with the dims before each. */
  readonly views: readonly View[]
  /** Type and dims that the layer reads. */
  readonly dtype: DType
  readonly dims: readonly number[]
  readonly isQuantized: boolean
}

/** The longest chain of nodes between a stored weight and its layer. */
const maxChain = 16

/** Finds the stored weight that a floating-point value is computed from, dequantized or cast on the way. */
export function findWeight(values: NamedValues, name: string): WeightSource | undefined {
  const source = traceTensor(values, name)
  return source && isFloat(source.dtype) ? source : undefined
}

/** Finds the stored tensor that a value is, or from which views, Cast, QuantizeLinear or DequantizeLinear compute it. */
export function traceTensor(values: NamedValues, name: string): WeightSource | undefined {
  const chain: NodeProto[] = []
  let at = name
  for (; !values.tensors.has(at); at = chain.at(-1)!.input[0] ?? '') {
    const node = values.producers.get(at)
    if (!node || chain.length === maxChain) return undefined
    chain.push(node)
  }
  const stored = values.tensors.get(at)!
  if (!isReadable(stored)) return undefined
  let source: WeightSource = {
    name: at,
    stored,
    views: [],
    dtype: stored.dtype,
    dims: stored.dims,
    isQuantized: false,
  }
  for (const node of chain.reverse()) {
    const next = follow(source, node, values)
    if (!next) return undefined
    source = next
  }
  return source
}

/** Whether a tensor has a type that the library supports. */
function isReadable(tensor: Tensor): boolean {
  try {
    return tensor.dtype !== 'string'
  } catch (error) {
    if (error instanceof OnnxIreError) return false
    throw error
  }
}

function follow(source: WeightSource, node: NodeProto, values: NamedValues): WeightSource | undefined {
  const { dims, views } = source
  const attributes = attributesOf(node)
  switch (qualifiedName(node)) {
    case 'Identity':
      return source
    case 'Cast': {
      const dtype = dtypeOf(Number(attributes['to']))
      return dtype && { ...source, dtype }
    }
    case 'Transpose': {
      const perm = (attributes['perm'] as readonly number[] | undefined) ?? dims.map((_, axis) => axis).reverse()
      if (!isPermutation(perm, dims.length)) return undefined
      return { ...source, dims: perm.map((axis) => dims[axis]!), views: [...views, { kind: 'transpose', dims, perm }] }
    }
    case 'Reshape': {
      const target = values.tensors.get(node.input[1] ?? '')
      const shape = target ? numbersOf(target) : (attributes['shape'] as readonly number[] | undefined)
      const reshaped = shape && reshapeDims(dims, shape)
      return reshaped && { ...source, dims: reshaped, views: [...views, { kind: 'reshape', dims }] }
    }
    case 'QuantizeLinear':
    case 'com.microsoft.QuantizeLinear':
    case 'DequantizeLinear':
    case 'com.microsoft.DequantizeLinear': {
      const [scale, zeroPoint] = node.input.slice(1, 3).map((name) => traceTensor(values, name))
      if (!scale || (node.input[2] && !zeroPoint)) return undefined
      const kind = node.opType === 'QuantizeLinear' ? 'quantize' : 'dequantize'
      const [given, axis] = [dtypeOf(Number(attributes['output_dtype'] ?? 0)), Number(attributes['axis'] ?? 1)]
      const quantized = kind === 'dequantize' ? source.dtype : (zeroPoint?.dtype ?? given ?? 'uint8')
      const view: View = {
        kind,
        dims,
        scale,
        zeroPoint,
        axis: axis < 0 ? axis + dims.length : axis,
        blockSize: Number(attributes['block_size'] ?? 0),
        dtype: quantized,
      }
      const dtype = kind === 'dequantize' ? (given ?? scale.dtype) : quantized
      return { ...source, dtype, isQuantized: true, views: [...views, view] }
    }
    default:
      return undefined
  }
}

const isPermutation = (perm: readonly number[], rank: number): boolean =>
  perm.length === rank && new Set(perm).size === rank && perm.every((axis) => axis >= 0 && axis < rank)

/** Dims after a Reshape: 0 copies a length, -1 is inferred. */
function reshapeDims(dims: readonly number[], shape: readonly number[]): readonly number[] | undefined {
  const copied = shape.map((length, axis) => (length === 0 ? (dims[axis] ?? 0) : length))
  const known = copied.filter((length) => length !== -1).reduce((product, length) => product * length, 1)
  const reshaped = copied.map((length) => (length === -1 ? sizeOf(dims) / known : length))
  return sizeOf(reshaped) === sizeOf(dims) ? reshaped : undefined
}

/** Attributes of a node without bodies. */
export const attributesOf = (node: NodeProto): Readonly<Record<string, Attribute>> =>
  readAttributes(node, null, () => {
    throw new OnnxIreError('invalid-model', `${node.opType} '${node.name ?? ''}' has a body`)
  })

/** Converts elements in the order in which a layer reads them to the order in which they are stored. */
export function toStoredOrder({ views }: WeightSource, elements: Float64Array): Float64Array {
  return [...views].reverse().reduce((data, view) => {
    if (view.kind !== 'transpose') return data
    const inverse = view.perm.map((_, axis) => view.perm.indexOf(axis))
    return permute(
      data,
      view.perm.map((axis) => view.dims[axis]!),
      inverse,
    )
  }, elements)
}

/** The stored elements as a layer reads them: dequantized, and in its order. */
export const readElements = (source: WeightSource): Float64Array =>
  toReadForm(source, new Float64Array(elementsOf(source.stored)))

/** Converts elements in the order in which they are stored to those that a layer reads. */
export function toReadForm({ views }: WeightSource, elements: Float64Array): Float64Array {
  return views.reduce((data, view) => {
    if (view.kind === 'reshape') return data
    if (view.kind === 'transpose') return permute(data, view.dims, view.perm)
    const { kind, dims, scale, zeroPoint, axis, blockSize, dtype } = view
    const form = { scales: readElements(scale), zeroPoints: zeroPoint ? readElements(zeroPoint) : 0, axis, blockSize }
    return kind === 'dequantize' ? dequantize(data, dims, form) : quantize(data, dims, form, dtype)
  }, elements)
}

/** Transposes an array: axis i of the result is axis perm[i] of `data`, which has the given dims. */
function permute(data: Float64Array, dims: readonly number[], perm: readonly number[]): Float64Array {
  const strides = dims.map((_, axis) => sizeOf(dims.slice(axis + 1)))
  const lengths = perm.map((axis) => dims[axis]!)
  const steps = perm.map((axis) => strides[axis]!)
  const result = new Float64Array(data.length)
  const index = lengths.map(() => 0)
  let from = 0
  for (let to = 0; to < result.length; to++) {
    result[to] = data[from]!
    for (let axis = lengths.length - 1; axis >= 0; axis--) {
      from += steps[axis]!
      if (++index[axis]! < lengths[axis]!) break
      from -= steps[axis]! * lengths[axis]!
      index[axis] = 0
    }
  }
  return result
}
