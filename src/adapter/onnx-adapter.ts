import { castTensor, numbersOf, tensorFrom } from '../ir/leaf.js'
import { sizeOf, type Tensor } from '../ir/tensor.js'
import { checkNames, checkNumber, invalidOption } from '../util/check.js'
import { getOwn } from '../util/record.js'
import type { Adapter, AdapterLayer } from './adapter.js'
import { decodeAdapterFile, encodeAdapterFile } from './adapter-file.js'
import { joinLayerGroups } from './convolution-groups.js'
import {
  checkLayer,
  checkLayers,
  chooseAbsentRank,
  groupLayers,
  invalidAdapter,
  type StoredLayer,
  suffixes,
  toAdapterType,
  transpose,
} from './stored-layers.js'

/** Options of `encodeOnnxAdapter`. */
export interface OnnxAdapterOptions {
  /** Type of the tensors. Default: as they are. */
  readonly dtype?: 'float32' | 'float16'
  /** Version of the adapter, for applications; a 32-bit integer. Default 1. */
  readonly adapterVersion?: number
  /** Version of the model that the adapter belongs to, for applications; a 32-bit integer. Default 1. */
  readonly modelVersion?: number
}

/**
 * Encodes an adapter as an `.onnx_adapter` file, which onnxruntime and onnxruntime-genai feed to a model made by
 * `makeLoraReady`, or by Olive. The tensors have Olive's names and layout; the scale is multiplied into B, and zeros
 * fill all layers up to one rank. B of a convolution of several groups gets zeros where an output does not read the
 * rank, so that it has one group. The file must have a layer for every input of the model.
 *
 * @throws OnnxIreError `invalid-data` for DoRA and (IA)^3, which the format cannot express
 *
 * @example
 * ```ts
 * const bytes = encodeOnnxAdapter(adapterOf(model), { dtype: 'float16' })
 * ```
 */
export function encodeOnnxAdapter(adapter: Adapter, options: OnnxAdapterOptions = {}): Uint8Array {
  checkNames('encodeOnnxAdapter', options, ['dtype', 'adapterVersion', 'modelVersion'])
  const { dtype, adapterVersion = 1, modelVersion = 1 } = options
  if (dtype !== undefined && dtype !== 'float32' && dtype !== 'float16')
    throw invalidOption('encodeOnnxAdapter', 'dtype', dtype, "'float32' or 'float16'")
  const version = { min: -(2 ** 31), max: 2 ** 31 - 1, integer: true } as const
  checkNumber('encodeOnnxAdapter', 'adapterVersion', adapterVersion, version)
  checkNumber('encodeOnnxAdapter', 'modelVersion', modelVersion, version)
  return encodeAdapterFile({ adapterVersion, modelVersion, parameters: toInputs(adapter, dtype) })
}

/**
 * Decodes an `.onnx_adapter` file. The scale of every layer is 1, since the file holds it in B; alpha is the rank.
 *
 * @throws OnnxIreError `damaged` for bytes that are not such a file, `invalid-data` for one that holds more than the A
 *   and B of LoRA, such as 4-bit tensors
 *
 * @example
 * ```ts
 * const adapter = decodeOnnxAdapter(await readFile('adapter.onnx_adapter'))
 * ```
 */
export function decodeOnnxAdapter(bytes: Uint8Array): Adapter {
  const { parameters } = decodeAdapterFile(bytes)
  const named = Object.entries(parameters).map(
    ([name, tensor]) => [name.replace(/^base_model\.model\./, ''), tensor] as const,
  )
  const stored = groupLayers(named, (name) =>
    invalidAdapter(
      /\.quant\.(weight|scale|zero_point)$/.test(name)
        ? `'${name}' belongs to a 4-bit adapter, which is not supported: convert the PEFT folder without quantize_int4`
        : `'${name}' is not the name of a LoRA tensor: the file was not made by Olive's convert-adapters or by this library`,
    ),
  )
  const layers = stored.map(toLayer)
  if (layers.length === 0) throw invalidAdapter('the file has no parameters')
  const r = Math.max(...layers.map(({ a }) => a.dims[0]!))
  return { layers, config: { r, alpha: r } }
}

function toLayer({ module, kind, a, b, magnitude }: StoredLayer): AdapterLayer {
  if (magnitude) throw invalidAdapter(`module '${module}' has DoRA magnitudes, which are not supported in this format`)
  const names = suffixes(kind)
  const [down, up] = [toAdapterType(module + names.a, a), toAdapterType(module + names.b, b)]
  const isMatrix = (tensor: Tensor) => tensor.dims.length === 2
  const flip = (tensor: Tensor) => (isMatrix(tensor) ? transpose(tensor) : tensor)
  const layer = { module, kind, a: flip(down), b: flip(up), scale: 1 }
  checkLayer(layer)
  return layer
}

/**
 * The tensors of an adapter by the names of a LoRA-ready model's inputs, with the scale in B. The ranks of such a model
 * have one symbol, so onnxruntime lets layers of different ranks overwrite each other: zeros fill A and B up to the
 * largest rank, which leaves the product B A unchanged. For the same reason B has no groups.
 */
function toInputs({ layers, saved, scalings }: Adapter, dtype?: 'float32' | 'float16'): Record<string, Tensor> {
  if (saved?.length)
    throw invalidAdapter(
      `module '${saved[0]!.module}' is trained as a whole, which adapters as inputs cannot hold: merge the adapter, or keep it beside the weights`,
    )
  if (scalings?.length)
    throw invalidAdapter(
      'it has (IA)^3 factors, which adapters as inputs cannot hold: merge the adapter, or keep it beside the weights',
    )
  checkLayers(layers)
  const rank = Math.max(...layers.map(({ a }) => a.dims[0]!))
  return Object.fromEntries(
    layers.map(joinLayerGroups).flatMap(({ module, kind, a, b, scale, magnitude }) => {
      if (magnitude)
        throw invalidAdapter(
          `module '${module}' has DoRA magnitudes, which adapters as inputs cannot hold: merge the adapter, or keep it beside the weights`,
        )
      const names = suffixes(kind)
      const flip = (tensor: Tensor) => (kind === 'conv' ? tensor : transpose(tensor))
      const factors = numbersOf(b).map((value) => value * scale)
      const scaled = scale === 1 ? b : tensorFrom('float32', b.dims, factors)
      return [
        [`${module}${names.a}`, castTensor(flip(pad(a, 0, rank)), dtype ?? a.dtype)],
        [`${module}${names.b}`, castTensor(flip(pad(scaled, 1, rank)), dtype ?? b.dtype)],
      ] as const
    }),
  )
}

/** Adds zeros at the end of an axis. */
function pad(tensor: Tensor, axis: number, length: number): Tensor {
  const { dtype, dims } = tensor
  if (dims[axis] === length) return tensor
  const inner = sizeOf(dims.slice(axis))
  const padded = (inner / dims[axis]!) * length
  const values = numbersOf(tensor)
  const filled = new Float64Array((values.length / inner) * padded)
  for (const [i, value] of values.entries()) filled[Math.floor(i / inner) * padded + (i % inner)] = value
  return tensorFrom(dtype, dims.with(axis, length), filled)
}

/** An input of a model as onnxruntime's sessions describe it, in `session.inputMetadata`. */
export interface AdapterInput {
  readonly name: string
  readonly type?: string
  readonly shape?: readonly (number | string)[]
}

/** The class of tensors of onnxruntime-node or onnxruntime-web. */
export type TensorClass<T> = new (type: 'float32' | 'float16' | 'float64', data: never, dims: readonly number[]) => T

/**
 * The tensors of an adapter as inputs of a model made by `makeLoraReady` with `optional: false`: feed them along with
 * the model's own inputs. Another adapter needs no other session. Layers that the adapter does not change get zeros of
 * its rank; `null` is no adapter: tensors of rank 0, or zeros of rank 1 if the model has convolutions among the layers.
 *
 * @param inputs `session.inputMetadata` of the session
 * @param OrtTensor the class `Tensor` of onnxruntime-node or onnxruntime-web
 * @throws OnnxIreError `invalid-data` for an adapter of another model (modules or shapes), and for DoRA and (IA)^3
 *
 * @example
 * ```ts
 * const session = await ort.InferenceSession.create('base.onnx')
 * const support = adapterFeeds(await readOnnxAdapter('support.onnx_adapter'), session.inputMetadata, ort.Tensor)
 * const { logits } = await session.run({ ...inputs, ...support })
 * ```
 */
export function adapterFeeds<T>(
  adapter: Adapter | null,
  inputs: readonly AdapterInput[],
  OrtTensor: TensorClass<T>,
): Record<string, T> {
  const tensors = adapter ? toInputs(adapter) : {}
  const places = inputs.filter(({ name, shape }) => isAdapterInput(name) && shape?.includes('lora_r'))
  if (places.length === 0)
    throw invalidAdapter(
      'the session has no inputs for an adapter: make its model with makeLoraReady and `optional: false`',
    )
  const rank = adapter
    ? Math.max(...adapter.layers.map(({ a }) => a.dims[0]!))
    : chooseAbsentRank(places.some(({ shape = [] }) => shape.length > 2))
  const unknown = Object.keys(tensors).find((name) => !places.some((place) => place.name === name))
  if (unknown !== undefined)
    throw invalidAdapter(
      `the model has no input '${unknown}' (it has ${places[0]!.name}, ...): the adapter belongs to another model, or its layer was not among the targets of makeLoraReady`,
    )
  return Object.fromEntries(
    places.map(({ name, type, shape = [] }) => {
      const dtype = type === 'float16' || type === 'float64' ? type : 'float32'
      const absent = shape.map((length) => (typeof length === 'number' ? length : rank))
      const tensor = getOwn(tensors, name) ?? tensorFrom(dtype, absent, new Float32Array(sizeOf(absent)))
      const { dims } = tensor
      if (
        dims.length !== shape.length ||
        shape.some((length, axis) => typeof length === 'number' && length !== dims[axis])
      )
        throw invalidAdapter(
          `'${name}' is [${dims.join(', ')}], the model needs [${shape.join(', ')}]: the adapter belongs to another model`,
        )
      return [name, new OrtTensor(dtype, castTensor(tensor, dtype).data as never, dims)] as const
    }),
  )
}

const isAdapterInput = (name: string): boolean => /\.lora_(A\.weight|B\.weight|embedding_A|embedding_B)$/.test(name)
