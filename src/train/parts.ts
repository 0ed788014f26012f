import { rowsOf } from '../ir/tensor.js'
import { type FloatArray, type Gradients, type ParameterArrays, zerosLike } from '../optim/arrays.js'
import type { Tensors } from '../runtime/runtime.js'
import type { Evaluated } from './programs.js'

/**
 * A batch of `size` examples run `part` at a time, the last part smaller where it has to be: what the whole batch would
 * give, each part weighing what its mean was divided by: `sampled` gradients of weighted losses were divided by
 * sqrt(count weight). Only one part's gradients are held beside the sum.
 */
export async function inParts(
  batch: Tensors,
  size: number,
  part: number,
  countsExamples: (name: string) => boolean,
  sampled: boolean,
  run: (part: Tensors) => Promise<Evaluated>,
): Promise<Evaluated> {
  const mean = new MeanOfParts(sampled ? ({ count, weight }) => Math.sqrt(count * weight) : ({ weight }) => weight)
  for (let from = 0; from < size; from += part) {
    const examples = Math.min(part, size - from)
    const slices = Object.entries(batch).map(([name, tensor]) => [
      name,
      // What does not count the batch's examples along its first axis is the same for all of them.
      tensor.dims[0] === size && countsExamples(name) ? rowsOf(tensor, from, from + examples) : tensor,
    ])
    mean.add(await run(Object.fromEntries(slices)), examples)
  }
  return mean.result()
}

type Divisor = (of: Pick<Evaluated, 'count' | 'weight'>) => number

class MeanOfParts {
  private readonly divisor: Divisor
  private readonly gradients: Record<string, FloatArray> = {}
  private readonly statistics: Record<string, FloatArray> = {}
  private readonly sums: Record<string, FloatArray> = {}
  private loss = 0
  private count = 0
  private weight = 0
  private examples = 0

  constructor(divisor: Divisor) {
    this.divisor = divisor
  }

  add({ loss, count, weight, sums, gradients, statistics }: Evaluated, examples: number): void {
    // Where every label is ignored, losses and gradients are 0 or not a number, and count for nothing.
    if (weight !== 0) this.loss += loss * weight
    this.count += count
    this.weight += weight
    this.examples += examples
    addScaled(this.gradients, gradients, this.divisor({ count, weight }))
    addScaled(this.sums, sums as Record<string, FloatArray>, 1)
    // Every part begins with the same running statistics.
    addScaled(this.statistics, statistics, examples)
  }

  result(): Evaluated {
    const { count, weight, sums, gradients, statistics } = this
    const divisor = this.divisor({ count, weight })
    scale(gradients, divisor === 0 ? 0 : 1 / divisor)
    scale(statistics, 1 / this.examples)
    return { loss: weight === 0 ? 0 : this.loss / weight, count, weight, sums, gradients, statistics }
  }
}

function addScaled(sums: Record<string, FloatArray>, arrays: Gradients | ParameterArrays, factor: number): void {
  for (const [name, array] of Object.entries(arrays)) {
    sums[name] ??= zerosLike(array)
    if (factor !== 0) addTo(sums[name], array, factor)
  }
}

function addTo(sum: FloatArray, array: FloatArray, factor: number): void {
  for (let i = 0; i < sum.length; i++) sum[i]! += factor * array[i]!
}

function scale(arrays: Readonly<Record<string, FloatArray>>, factor: number): void {
  for (const array of Object.values(arrays)) for (let i = 0; i < array.length; i++) array[i]! *= factor
}
