import type { Tensor } from '../../ir/tensor.js'
import { OnnxIreError } from '../../util/errors.js'

/** Images and class numbers of a CIFAR file. */
export interface CifarImages {
  /** uint8 [n, 32, 32, 3], for `imageColumn`. */
  readonly pixels: Tensor
  /** Class numbers, int64 [n]; the fine classes of CIFAR-100. */
  readonly labels: Tensor
  /** Superclass numbers of CIFAR-100, int64 [n]. */
  readonly coarse?: Tensor
}

const side = 32
const plane = side * side

/** Number of values of each label byte before the pixels of an image. */
const labelBytes = { 10: [10], 100: [20, 100] } as const

/**
 * Parses a file of CIFAR's binary version: per image the class in one byte (CIFAR-10), or superclass and class in two
 * bytes (CIFAR-100), then 1024 bytes each of red, green and blue, row by row
 * (https://www.cs.toronto.edu/~kriz/cifar.html).
 * @throws OnnxIreError `invalid-data` with the offset of the error
 */
export function parseCifar(bytes: Uint8Array, classes: 10 | 100): CifarImages {
  const limits = labelBytes[classes]
  const record = limits.length + 3 * plane
  const n = Math.floor(bytes.length / record)
  if (n === 0 || n * record !== bytes.length)
    throw invalidFile(
      classes,
      `image ${n} starts at offset ${n * record} and has ${record} bytes, but the file ends at offset ${bytes.length}: it is truncated or in another format`,
    )
  const pixels = new Uint8Array(n * 3 * plane)
  const labels = limits.map(() => new BigInt64Array(n))
  for (let i = 0; i < n; i++) {
    const start = i * record
    for (const [k, limit] of limits.entries()) {
      const label = bytes[start + k]!
      if (label >= limit)
        throw invalidFile(
          classes,
          `the class of image ${i}, at offset ${start + k}, is ${label}; it must be below ${limit}: the file is damaged or in another format`,
        )
      labels[k]![i] = BigInt(label)
    }
    const planes = bytes.subarray(start + limits.length, start + record)
    for (let p = 0, to = i * 3 * plane; p < plane; p++)
      for (let c = 0; c < 3; c++) pixels[to++] = planes[c * plane + p]!
  }
  const [first, second] = labels.map((data): Tensor => ({ dtype: 'int64', dims: [n], data }))
  return {
    pixels: { dtype: 'uint8', dims: [n, side, side, 3], data: pixels },
    labels: (second ?? first)!,
    ...(second ? { coarse: first! } : {}),
  }
}

/** Concatenates the images of several files. */
export function concatCifar(parts: readonly CifarImages[]): CifarImages {
  const coarse = parts.flatMap((part) => part.coarse ?? [])
  return {
    pixels: concatTensors(parts.map(({ pixels }) => pixels)),
    labels: concatTensors(parts.map(({ labels }) => labels)),
    ...(coarse.length > 0 ? { coarse: concatTensors(coarse) } : {}),
  }
}

function concatTensors(tensors: readonly Tensor[]): Tensor {
  const [{ dtype, dims }] = tensors as readonly [Tensor, ...Tensor[]]
  const total = tensors.reduce((sum, tensor) => sum + tensor.data.length, 0)
  const data = dtype === 'uint8' ? new Uint8Array(total) : new BigInt64Array(total)
  let at = 0
  for (const tensor of tensors) {
    data.set(tensor.data as never, at) // both are of the dtype of the first
    at += tensor.data.length
  }
  return { dtype, dims: [tensors.reduce((sum, tensor) => sum + tensor.dims[0]!, 0), ...dims.slice(1)], data }
}

const invalidFile = (classes: number, problem: string) =>
  new OnnxIreError('invalid-data', `not a valid CIFAR-${classes} file: ${problem}`)
