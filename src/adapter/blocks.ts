import { findTooLarge, numbersOf, tensorFrom } from '../ir/leaf.js'
import { type Tensor, tensor } from '../ir/tensor.js'
import { OnnxIreError } from '../util/errors.js'
import { dequantize, elementsOf, unpackRows } from './dequantize.js'
import type { BlockTable, Layer, Site } from './layers.js'
import { readElements, type WeightSource } from './weight-source.js'

/** The form of a weight [n, k] in MatMulNBits: blocks of `blockSize` elements along k, each with a scale. */
export interface BlockForm {
  readonly n: number
  readonly k: number
  readonly bits: number
  readonly blockSize: number
}

/**
 * A weight in blocks: q [n, blocks, blockSize bits / 8], scales [n, blocks]. Without zero points they are 2^(bits-1).
 */
export interface BlockWeight {
  readonly q: Tensor
  readonly scales: Tensor
  readonly zeroPoints?: Tensor
}

/** Elements of a weight, and the distances in them from one output, and from one input, to the next. */
interface WeightElements {
  readonly elements: Float32Array | Float64Array
  readonly outputStride: number
  readonly inputStride: number
}

/**
 * Quantizes a weight as onnxruntime's MatMulNBitsQuantizer does with symmetric blocks: the element of the largest
 * magnitude m in a block becomes -2^(bits-1), so scale = -m / 2^(bits-1) and q = round(w / scale) + 2^(bits-1).
 * @param dtype type of the scales: that of the activations
 * @param name name of the weight, for messages
 * @throws OnnxIreError `not-finite` for a scale that is too large for its type
 */
export function quantizeBlocks(
  { elements, outputStride, inputStride }: WeightElements,
  { n, k, bits, blockSize }: BlockForm,
  dtype: 'float32' | 'float16',
  name: string,
): BlockWeight {
  const blocks = Math.ceil(k / blockSize)
  const half = 2 ** (bits - 1)
  const perByte = 8 / bits
  const blockBytes = blockSize / perByte
  const q = new Uint8Array(n * blocks * blockBytes)
  const factors = new Float32Array(n * blocks)
  for (let block = 0; block < factors.length; block++) {
    const first = (block % blocks) * blockSize
    const length = Math.min(blockSize, k - first)
    const start = Math.floor(block / blocks) * outputStride + first * inputStride
    let extreme = 0
    for (let j = 0; j < length; j++) {
      const w = elements[start + j * inputStride]!
      // Of two elements with the same magnitude the negative one is taken.
      if (Math.abs(w) > Math.abs(extreme) || (w < 0 && w === -extreme)) extreme = w
    }
    factors[block] = extreme / -half
    const scale = dtype === 'float32' ? factors[block]! : numbersOf(tensorFrom(dtype, [1], [factors[block]!]))[0]!
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale)
    for (let j = 0; j < length; j++) {
      const x = Math.fround(Math.fround(elements[start + j * inputStride]!) * inverse)
      const level = Math.sign(x) * Math.floor(Math.abs(x) + 0.5) + half
      const code = Math.min(Math.max(level, 0), 2 * half - 1)
      q[block * blockBytes + Math.floor(j / perByte)]! |= code << ((j % perByte) * bits)
    }
  }
  const large = findTooLarge(dtype, factors)
  if (large !== undefined)
    throw new OnnxIreError(
      'not-finite',
      `the weight '${name}' cannot be quantized: a block would have the scale ${large}, which is too large for its type, ${dtype}: quantize a float32 file of the model, or leave the adapter beside the weights`,
    )
  return { q: tensor('uint8', [n, blocks, blockBytes], q), scales: tensorFrom(dtype, [n, blocks], factors) }
}

/**
 * The elements [n, k] of a weight in blocks: (q - zero point) scale.
 * @throws OnnxIreError `invalid-model` for tensors of other sizes
 */
export function dequantizeBlocks(
  { q, scales, zeroPoints }: BlockWeight,
  { n, k, bits, blockSize }: BlockForm,
): Float64Array {
  const blocks = Math.ceil(k / blockSize)
  const rowBytes = (blocks * blockSize * bits) / 8
  const codes = q.data as Uint8Array
  const factors = elementsOf(scales)
  const arePacked = zeroPoints?.dtype === 'uint8'
  const offsets = zeroPoints && elementsOf(zeroPoints)
  const wrong =
    q.dtype !== 'uint8' ||
    codes.length !== n * rowBytes ||
    factors.length !== n * blocks ||
    (offsets && offsets.length !== n * (arePacked ? Math.ceil((blocks * bits) / 8) : blocks))
  if (wrong)
    throw new OnnxIreError('invalid-model', `the tensors of a MatMulNBits [${n}, ${k}] have other sizes than it needs`)
  return dequantize(unpackRows(codes, k, n, bits, rowBytes), [n, k], {
    scales: factors,
    zeroPoints: !offsets ? 2 ** (bits - 1) : arePacked ? unpackRows(offsets, blocks, n, bits) : offsets,
    axis: 1,
    blockSize,
  })
}

/**
 * The elements of a layer's weight in blocks: [outputs, inputs] of MatMulNBits, with all parts of a packed layer, and
 * [rows, width] of GatherBlockQuantized.
 * @throws OnnxIreError `invalid-option` for reordered columns
 */
export function readBlocks(
  { module, sites, weight, table, in: rows, out: width }: Layer,
  tensors: ReadonlyMap<string, Tensor>,
): Float64Array {
  const { node, attributes } = sites[0]!
  if (table) return readTable(table, [rows, width], weight.bits, attributes)
  const [, q = '', scales = '', zeroPoints = '', order = ''] = node.input
  if (order !== '')
    throw new OnnxIreError(
      'invalid-option',
      `adapter: the weight of ${module} has reordered columns (g_idx), which are not read: leave a plain LoRA beside the weights`,
    )
  const zero = zeroPoints === '' ? undefined : tensors.get(zeroPoints)
  const [n, k, blockSize] = [attributes['N'], attributes['K'], attributes['block_size']].map(Number) as [
    number,
    number,
    number,
  ]
  return dequantizeBlocks(
    { q: tensors.get(q)!, scales: tensors.get(scales)!, ...(zero && { zeroPoints: zero }) },
    { n, k, bits: weight.bits, blockSize },
  )
}

/** The elements of an embedding in blocks. Bytes hold one or several of them, with a zero point of half the range. */
function readTable(
  { data, scales, zeroPoints }: BlockTable,
  [rows, width]: readonly [number, number],
  bits: number,
  { block_size: size = 128, quantize_axis: quantized = 1 }: Site['attributes'],
): Float64Array {
  const [blockSize, axis] = [Number(size), Number(quantized) < 0 ? Number(quantized) + 2 : Number(quantized)]
  const inBytes = data.stored.dtype === 'uint8'
  const blocks = Math.ceil(width / blockSize)
  const unpack = ({ stored }: WeightSource, columns: number) =>
    inBytes ? unpackRows(stored.data as Uint8Array, columns, rows, bits) : elementsOf(stored)
  return dequantize(unpack(data, width), [rows, width], {
    scales: readElements(scales),
    zeroPoints: zeroPoints ? unpack(zeroPoints, blocks) : inBytes ? 2 ** (bits - 1) : 0,
    axis,
    blockSize,
  })
}
