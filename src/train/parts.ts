import { rowsOf } from '../ir/tensor.js'
import { type FloatArray, type Gradients, type ParameterArrays, zerosLike } from '../optim/arrays.js'
import type { Tensors } from '../runtime/runtime.js'
import type { Evaluated } from './programs.js'

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
export async function overParts(
  parts: Iterable<Part>,
  weighing: Weighing,
  run: (part: Tensors, index: number) => Promise<Evaluated>,
): Promise<Evaluated> {
  const sum = new SumOfParts(weighing)
  let index = 0
  for (const { tensors, examples } of parts) sum.add(await run(tensors, index++), examples)
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

class SumOfParts {
  private readonly weighing: Weighing
  private readonly gradients: Record<string, FloatArray> = {}
  private readonly statistics: Record<string, FloatArray> = {}
  private readonly sums: Record<string, FloatArray> = {}
  private loss = 0
  private count = 0
  private weight = 0
  private examples = 0

  constructor(weighing: Weighing) {
    this.weighing = weighing
  }

  add({ loss, count, weight, sums, gradients, statistics }: Evaluated, examples: number): void {
    // Where every label is ignored, losses and gradients are 0 or not a number, and count for nothing.
    if (weight !== 0) this.loss += loss * (this.weighing === 'shares' ? 1 : weight)
    this.count += count
    this.weight += weight
    this.examples += examples
    addScaled(this.gradients, gradients, this.divisor(count, weight))
    addScaled(this.sums, sums as Record<string, FloatArray>, 1)
    // Every part begins with the same running statistics.
    addScaled(this.statistics, statistics, examples)
  }

  result(): Evaluated {
    const { count, weight, sums, gradients, statistics, weighing } = this
    if (weighing !== 'shares') {
      const divisor = this.divisor(count, weight)
      scale(gradients, divisor === 0 ? 0 : 1 / divisor)
    }
    scale(statistics, 1 / this.examples)
    const loss = weighing === 'shares' ? this.loss : weight === 0 ? 0 : this.loss / weight
    return { loss, count, weight, sums, gradients, statistics }
  }

  private divisor(count: number, weight: number): number {
    if (this.weighing === 'sampled') return Math.sqrt(count * weight)
    return this.weighing === 'mean' || weight === 0 ? weight : 1
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
