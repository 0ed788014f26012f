import { rowsOf } from '../ir/tensor.js'
import type { FloatArray } from '../optim/arrays.js'
import type { Tensors } from '../runtime/runtime.js'
import type { Compute } from './compute.js'
import type { Evaluated } from './programs.js'
import { addScaled, scale } from './sums.js'

/**
 * A batch of `size` examples run `part` at a time, the last part smaller where it has to be: what the whole batch would
 * give, each part weighing what its mean was divided by: `sampled` gradients of weighted losses were divided by
 * sqrt(count weight). Only one part's gradients are held beside the sum.
 */
export async function inParts<P, G>(
  batch: Tensors,
  size: number,
  part: number,
  countsExamples: (name: string) => boolean,
  sampled: boolean,
  run: (part: Tensors) => Promise<Evaluated<G>>,
  compute: Compute<P, G>,
): Promise<Evaluated<G>> {
  const mean = new MeanOfParts(
    compute,
    sampled ? ({ count, weight }) => Math.sqrt(count * weight) : ({ weight }) => weight,
  )
  for (let from = 0; from < size; from += part) {
    const examples = Math.min(part, size - from)
    const slices = Object.entries(batch).map(([name, tensor]) => [
      name,
      // What does not count the batch's examples along its first axis is the same for all of them.
      tensor.dims[0] === size && countsExamples(name) ? rowsOf(tensor, from, from + examples) : tensor,
    ])
    await mean.add(await run(Object.fromEntries(slices)), examples)
  }
  return mean.result()
}

type Divisor = (of: Pick<Evaluated<unknown>, 'count' | 'weight'>) => number

class MeanOfParts<P, G> {
  private readonly compute: Compute<P, G>
  private readonly divisor: Divisor
  private gradients: G | null = null
  private readonly statistics: Record<string, FloatArray> = {}
  private readonly sums: Record<string, FloatArray> = {}
  private loss = 0
  private count = 0
  private weight = 0
  private examples = 0

  constructor(compute: Compute<P, G>, divisor: Divisor) {
    this.compute = compute
    this.divisor = divisor
  }

  async add({ loss, count, weight, sums, gradients, statistics }: Evaluated<G>, examples: number): Promise<void> {
    // Where every label is ignored, losses and gradients are 0 or not a number, and count for nothing.
    if (weight !== 0) this.loss += loss * weight
    this.count += count
    this.weight += weight
    this.examples += examples
    this.gradients = await this.compute.accumulate(this.gradients, gradients, this.divisor({ count, weight }))
    addScaled(this.sums, sums as Record<string, FloatArray>, 1)
    // Every part begins with the same running statistics.
    addScaled(this.statistics, statistics, examples)
  }

  async result(): Promise<Evaluated<G>> {
    const { count, weight, sums, statistics } = this
    const divisor = this.divisor({ count, weight })
    const gradients = await this.compute.scale(this.gradients!, divisor === 0 ? 0 : 1 / divisor)
    scale(statistics, 1 / this.examples)
    return { loss: weight === 0 ? 0 : this.loss / weight, count, weight, sums, gradients, statistics }
  }
}
