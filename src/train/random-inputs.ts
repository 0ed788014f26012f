import { evaluateDim } from '../ir/dim.js'
import { tensorFrom } from '../ir/leaf.js'
import { isStatic } from '../ir/shape.js'
import { sizeOf, type Tensors } from '../ir/tensor.js'
import type { Value } from '../ir/value.js'
import type { NoiseDistribution } from '../loss/loss.js'
import { OnnxIreError } from '../util/errors.js'
import type { Random } from '../util/random.js'

/**
 * Samples the random inputs of a graph.
 * @param streamOf the random stream of an input
 * @param dimsOf the dims of an input for the current batch
 */
export const sampleInputs = (
  inputs: ReadonlyMap<string, Value>,
  streamOf: (name: string) => Random,
  distributionOf: (name: string) => NoiseDistribution | 'uniform' | 'sign',
  dimsOf: (value: Value) => readonly number[],
): Tensors =>
  Object.fromEntries(
    [...inputs].map(([name, value]) => {
      const dims = dimsOf(value)
      const elements = streamOf(name).fill(new Float64Array(sizeOf(dims)), distributionOf(name))
      return [name, tensorFrom(value.dtype, dims, elements)] as const
    }),
  )

/**
 * Creates a random stream per input, so that the micro-batches of a batch together sample the numbers of the whole
 * batch. The first input continues the given stream.
 */
export function inputStreams(random: Random, inputs: ReadonlyMap<string, Value>): (name: string) => Random {
  const streams = new Map([...inputs.keys()].map((name, i) => [name, i === 0 ? random : random.stream(name)]))
  return (name) => streams.get(name)!
}

/** Resolves the symbolic dims of a random input by the dims of a batch. */
export function resolveDims({ shape }: Value, batch: Tensors, data: ReadonlyMap<string, Value>): readonly number[] {
  if (isStatic(shape)) return shape
  const lengths = new Map<string, number>()
  for (const [name, value] of data) {
    for (const [axis, dim] of (value.shape ?? []).entries())
      if (typeof dim === 'string') lengths.set(dim, batch[name]!.dims[axis]!)
  }
  return (shape ?? []).map((dim) => {
    const length = evaluateDim(dim, lengths)
    if (length === undefined)
      throw new OnnxIreError(
        'invalid-shape',
        `the length '${dim}' of a random input does not follow from the lengths of the data: give the model's inputs and outputs the same name for this length`,
      )
    return length
  })
}
