import { numbersOf, tensorFrom } from '../ir/leaf.js'
import type { Tensor } from '../ir/tensor.js'
import { checkNames, checkNumber, invalidOption } from '../util/check.js'
import type { Adapter, AdapterLayer } from './adapter.js'
import { decodeAdapterFile, encodeAdapterFile } from './adapter-file.js'
import {
  checkLayer,
  checkLayers,
  groupLayers,
  invalidAdapter,
  type StoredLayer,
  suffixes,
  toAdapterType,
  transpose,
} from './names.js'

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
 * `makeLoraReady`, or by Olive. The tensors have Olive's names and layout; the scale is multiplied into B.
 *
 * @throws OnnxIreError `invalid-data` for DoRA, which the format cannot express
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
  return encodeAdapterFile({ adapterVersion, modelVersion, parameters: adapterFeeds(adapter, dtype) })
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
 * The tensors of an adapter as inputs of a model made by `makeLoraReady`: feed them along with the model's own inputs.
 * Another adapter, or none, needs no other session.
 *
 * @param dtype the type of the model's adapter inputs. Default: the type of the adapter's tensors
 * @throws OnnxIreError `invalid-data` for DoRA, whose magnitudes are no inputs
 *
 * @example
 * ```ts
 * const outputs = await session.run({ ...inputs, ...toOrtFeeds(adapterFeeds(adapter)) })
 * ```
 */
export function adapterFeeds(adapter: Adapter, dtype?: 'float32' | 'float16'): Record<string, Tensor> {
  checkLayers(adapter.layers)
  return Object.fromEntries(
    adapter.layers.flatMap(({ module, kind, a, b, scale, magnitude }) => {
      if (magnitude)
        throw invalidAdapter(
          `module '${module}' has DoRA magnitudes, which adapters as inputs cannot hold: merge the adapter, or keep it beside the weights`,
        )
      const names = suffixes(kind)
      const flip = (tensor: Tensor) => (kind === 'conv' ? tensor : transpose(tensor))
      const scaled =
        scale === 1
          ? b
          : tensorFrom(
              'float32',
              b.dims,
              numbersOf(b).map((value) => value * scale),
            )
      return [
        [`${module}${names.a}`, convert(flip(a), dtype ?? a.dtype)],
        [`${module}${names.b}`, convert(flip(scaled), dtype ?? b.dtype)],
      ] as const
    }),
  )
}

const convert = (tensor: Tensor, dtype: Tensor['dtype']): Tensor =>
  tensor.dtype === dtype ? tensor : tensorFrom(dtype, tensor.dims, numbersOf(tensor))
