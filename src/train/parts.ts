import type { TensorMap } from '../backend/backend.js'
import type { FloatArray } from '../ir/float-array.js'
import type { Tensors } from '../ir/tensor.js'
import { rowsOf } from '../ir/tensor.js'
import type { Compute } from './compute.js'
import type { Evaluated } from './programs.js'
import { addScaled, scale } from './sums.js'

/** Some examples of a batch. */
export interface Part {
  readonly tensors: Tensors
  readonly examples: number
}

/** A batch of `size` examples, `part` at a time, the last part smaller where it has to be. */
export function* partsOf(
  batch: Tensors,
  size: number,
  part: number,
  countsExamples: (name: string) => boolean,
): Generator<Part> {
  for (let from = 0; from < size; from += part) {
    const examples = Math.min(part, size - from)
    const slices = Object.entries(batch).map(([name, tensor]) => [
      name,
      // What does not count the batch's examples along its first axis is the same for all of them.
      tensor.dims[0] === size && countsExamples(name) ? rowsOf(tensor, from, from + examples) : tensor,
    ])
    yield { tensors: Object.fromEntries(slices), examples }
  }
}

/**
 * How parts make a whole. 'mean': each weighs what its mean was divided by. 'sampled': gradients of weighted losses were
 * divided by sqrt(count weight). 'shares': the graph has weighed them, and they are added.
 */
export type Weighing = 'mean' | 'sampled' | 'shares'

/** What the whole batch would give. Only one part's gradients are held beside the sum. */
export async function overParts<P extends TensorMap, G>(
  compute: Compute<P, G>,
  parts: Iterable<Part>,
  weighing: Weighing,
  run: (part: Tensors, index: number) => Promise<Evaluated<G>>,
): Promise<Evaluated<G>> {
  const sum = new SumOfParts(compute, weighing)
  let index = 0
  for (const { tensors, examples } of parts) await sum.add(await run(tensors, index++), examples)
  return sum.result()
}

/** What the means of a part were divided by, and the number of targets of all. */
export interface Divisors {
  readonly count: number
  readonly weights: Readonly<Record<string, number>>
}

/**
 * By part, how much of each of the whole's means its own is. The loss of mean k is a sum over targets divided by W_k, so
 * that is W_kp / W_k; its sampled gradient is one divided by sqrt(B W_k), B counting the targets of all: sqrt of
 * B_p W_kp / (B W_k).
 */
export function sharesOf(parts: readonly Divisors[], sampled: boolean): Readonly<Record<string, number>>[] {
  const total = (of: (part: Divisors) => number) => parts.reduce((sum, part) => sum + of(part), 0)
  const count = total((part) => part.count)
  const names = Object.keys(parts[0]?.weights ?? {})
  const weights = Object.fromEntries(names.map((name) => [name, total((part) => part.weights[name]!)]))
  // What weighs nothing in any part is 0 in all.
  const ratio = (part: number, whole: number) => (whole === 0 ? 0 : part / whole)
  return parts.map((part) =>
    Object.fromEntries(
      names.map((name) => {
        const share = ratio(part.weights[name]!, weights[name]!)
        return [name, sampled ? Math.sqrt(share * ratio(part.count, count)) : share]
      }),
    ),
  )
}

class SumOfParts<P extends TensorMap, G> {
  private readonly compute: Compute<P, G>
  private readonly weighing: Weighing
  private gradients: G | null = null
  private readonly statistics: Record<string, FloatArray> = {}
  private readonly sums: Record<string, FloatArray> = {}
  private loss = 0
  private count = 0
  private weight = 0
  private examples = 0

  constructor(compute: Compute<P, G>, weighing: Weighing) {
    this.compute = compute
    this.weighing = weighing
  }

  async add({ loss, count, weight, sums, gradients, statistics }: Evaluated<G>, examples: number): Promise<void> {
    // Where every label is ignored, losses and gradients are 0 or not a number, and count for nothing.
    if (weight !== 0) this.loss += loss * (this.weighing === 'shares' ? 1 : weight)
    this.count += count
    this.weight += weight
    this.examples += examples
    this.gradients = await this.compute.accumulate(this.gradients, gradients, this.divisor(count, weight))
    addScaled(this.sums, sums as Record<string, FloatArray>, 1)
    // Every part begins with the same running statistics.
    addScaled(this.statistics, statistics, examples)
  }

  async result(): Promise<Evaluated<G>> {
    const { count, weight, sums, statistics, weighing } = this
    const divisor = weighing === 'shares' ? 1 : this.divisor(count, weight)
    const gradients = await this.compute.scale(this.gradients!, divisor === 0 ? 0 : 1 / divisor)
    scale(statistics, 1 / this.examples)
    const loss = weighing === 'shares' ? this.loss : weight === 0 ? 0 : this.loss / weight
    return { loss, count, weight, sums, gradients, statistics }
  }

  private divisor(count: number, weight: number): number {
    if (this.weighing === 'sampled') return Math.sqrt(count * weight)
    return this.weighing === 'mean' || weight === 0 ? weight : 1
  }
}
