import type { TensorMap, TrainingBackend } from '../backend/backend.js'
import type { FloatArray } from '../ir/float-array.js'
import { rowsOf, type Tensors } from '../ir/tensor.js'
import type { Value } from '../ir/value.js'
import { type BatchSums, divisorOf } from '../metric/accumulator.js'
import type { ParameterArrays } from '../optim/arrays.js'
import { addScaled, scaleArrays } from '../optim/arrays.js'
import { emptyRecord } from '../util/record.js'
import type { ProcessGroup, SumGradients } from './process-group.js'

/** The outputs of a training or evaluation graph for one batch; T as in `TrainingBackend`. */
export interface BatchResult<T> extends BatchSums {
  readonly loss: number
  readonly gradients: T
  /** Next running statistics by name; only from a training graph with trained norms. */
  readonly statistics: ParameterArrays
}

/** Some examples of a batch. */
export interface MicroBatch {
  readonly tensors: Tensors
  /** Number of examples that count: 0 if this process has none of the batch, and runs others for the shapes. */
  readonly examples: number
}

/**
 * Splits a batch of `size` examples into micro-batches of `microSize`; the last one may be smaller.
 * @param hasExampleAxis whether the first axis of an input is the axis of the examples
 */
export function* splitBatch(
  batch: Tensors,
  size: number,
  microSize: number,
  hasExampleAxis: (name: string) => boolean,
): Generator<MicroBatch> {
  if (microSize >= size) return yield { tensors: batch, examples: size }
  for (let from = 0; from < size; from += microSize) {
    const examples = Math.min(microSize, size - from)
    const slices = Object.entries(batch).map(([name, tensor]) => [
      name,
      tensor.dims[0] === size && hasExampleAxis(name) ? rowsOf(tensor, from, from + examples) : tensor,
    ])
    yield { tensors: Object.fromEntries(slices), examples }
  }
}

/**
 * Returns the number of examples that a model's file fixes: a leading length that all inputs of rank > 0 share. A
 * length that only some inputs have is not the batch size.
 */
export function fixedBatchSize(data: ReadonlyMap<string, Value>): number | undefined {
  const lengths = new Set([...data.values()].flatMap(({ shape }) => (shape?.length === 0 ? [] : [shape?.[0]])))
  const [length] = lengths
  return lengths.size === 1 && typeof length === 'number' ? length : undefined
}

/**
 * The way in which results of micro-batches are combined. 'mean': gradients of means, weighted by their divisors.
 * 'sampled': gradients of sampled losses, which were divided by sqrt(count weight). 'sum': the graph has applied loss
 * scales, and the gradients are added.
 */
export type Reduction = 'mean' | 'sampled' | 'sum'

/**
 * Runs micro-batches and returns the result of the whole batch. At most one gradient is stored besides the sum.
 * @param group the processes that run the other micro-batches of the batch
 * @param sumGradients adds up gradients over these processes; default `allReduce` of the group
 */
export async function accumulate<T extends TensorMap>(
  backend: Accumulator<T>,
  microBatches: Iterable<MicroBatch>,
  reduction: Reduction,
  run: (tensors: Tensors, index: number) => Promise<BatchResult<T>>,
  group?: ProcessGroup,
  sumGradients?: SumGradients,
): Promise<BatchResult<T>> {
  const sum = new ResultSum(backend, reduction)
  const iterator = microBatches[Symbol.iterator]()
  let next = iterator.next()
  for (let index = 0; !next.done; index++) {
    const { tensors, examples } = next.value
    next = iterator.next()
    await sum.add(await run(tensors, index), examples, index === 0 && next.done === true)
  }
  if (group) await sum.reduce(group, sumGradients)
  return sum.result()
}

/** Divisors of the means of a micro-batch: the number of its targets, and the weight of each mean. */
export interface Divisors {
  readonly count: number
  readonly weights: Readonly<Record<string, number>>
}

/**
 * Computes the loss scales of micro-batches p, by mean k. The loss of mean k is a sum over targets divided by W_k, or
 * by 1 if W_k is 0, so its scale is W_kp / W_k. Its sampled gradient is divided by sqrt(B W_k), with B the number of
 * all targets, so the scale is sqrt(B_p W_kp / (B W_k)).
 * @param whole the divisors of the whole batch
 */
export function lossScales(
  microBatches: readonly Divisors[],
  { count, weights }: Divisors,
  sampled: boolean,
): Readonly<Record<string, number>>[] {
  const names = Object.keys(weights)
  const ratio = (part: number, whole: number) => (whole === 0 ? 0 : part / whole)
  return microBatches.map((own) =>
    Object.fromEntries(
      names.map((name) => {
        const divisor = (count: number, weight: number) => divisorOf({ loss: 0, count, weight })
        const share = ratio(divisor(own.count, own.weights[name]!), divisor(count, weights[name]!))
        return [name, sampled ? Math.sqrt(share * ratio(own.count, count)) : share]
      }),
    ),
  )
}

/** Adds up the divisors of micro-batches, and of those of the other processes of a group. */
export async function sumDivisors(
  microBatches: readonly Divisors[],
  group: ProcessGroup | undefined,
): Promise<Divisors> {
  const names = Object.keys(microBatches[0]!.weights)
  const sums = new Float64Array(1 + names.length)
  for (const { count, weights } of microBatches)
    for (const [i, value] of [count, ...names.map((name) => weights[name]!)].entries()) sums[i]! += value
  await group?.allReduce([sums])
  const [count = 0, ...weights] = sums
  return { count, weights: Object.fromEntries(names.map((name, i) => [name, weights[i]!])) }
}

type Accumulator<T extends TensorMap> = Pick<TrainingBackend<T>, 'accumulate' | 'scale'>

class ResultSum<T extends TensorMap> {
  readonly #backend: Accumulator<T>
  readonly #reduction: Reduction
  #gradients: T | null = null
  /** The factor by which the gradients are still to be multiplied, besides the division by the divisors. */
  #factor = 1
  #isFinished = false
  readonly #statistics: Record<string, FloatArray> = emptyRecord()
  readonly #sums: Record<string, FloatArray> = emptyRecord()
  #loss = 0
  #count = 0
  #weight = 0
  #examples = 0

  constructor(backend: Accumulator<T>, reduction: Reduction) {
    this.#backend = backend
    this.#reduction = reduction
  }

  /** @param only whether it is the only micro-batch: its gradients then become the sum, without a copy */
  async add(result: BatchResult<T>, examples: number, only: boolean): Promise<void> {
    const { loss, sums, gradients, statistics } = result
    const [count, weight] = examples === 0 ? [0, 0] : [result.count, result.weight]
    const own = { loss, count, weight }
    const divisor = divisorOf(own)
    if (divisor !== 0) this.#loss += loss * (this.#reduction === 'sum' ? 1 : divisor)
    this.#count += count
    this.#weight += weight
    this.#examples += examples
    const factor = examples === 0 ? 0 : this.#divisor(own)
    if (only && factor !== 0) {
      this.#gradients = gradients
      this.#factor = factor
    } else {
      this.#gradients = await this.#backend.accumulate(this.#gradients, gradients, factor)
    }
    addScaled(this.#sums, sums as Record<string, FloatArray>, examples === 0 ? 0 : 1)
    // Every micro-batch starts from the same running statistics.
    addScaled(this.#statistics, statistics, examples)
  }

  /** Adds the sums of the other processes, whose graphs have the same outputs. */
  async reduce(
    group: ProcessGroup,
    sumGradients: SumGradients = (all) => group.allReduce(Object.values(all)),
  ): Promise<void> {
    const numbers = Float64Array.of(this.#loss, this.#count, this.#weight, this.#examples)
    await group.allReduce([numbers, ...Object.values(this.#sums), ...Object.values(this.#statistics)])
    const [loss = 0, count = 0, weight = 0, examples = 0] = numbers
    this.#loss = loss
    this.#count = count
    this.#weight = weight
    this.#examples = examples
    // The gradients of processes are in host memory: see `checkTrainerOptions`.
    await sumGradients((await this.#finish()) as ParameterArrays)
  }

  async result(): Promise<BatchResult<T>> {
    const [count, weight] = [this.#count, this.#weight]
    const gradients = await this.#finish()
    scaleArrays(this.#statistics, 1 / this.#examples)
    const loss = this.#reduction === 'sum' || weight === 0 ? this.#loss : this.#loss / weight
    return { loss, count, weight, sums: this.#sums, gradients, statistics: this.#statistics }
  }

  /** Multiplies the gradients by what is left to multiply, once. */
  async #finish(): Promise<T> {
    if (this.#isFinished) return this.#gradients!
    this.#isFinished = true
    const whole = { loss: this.#loss, count: this.#count, weight: this.#weight }
    const divisor = this.#reduction === 'sum' ? 1 : this.#divisor(whole)
    const factor = divisor === 0 ? 0 : this.#factor / divisor
    if (factor !== 1) this.#gradients = await this.#backend.scale(this.#gradients!, factor)
    return this.#gradients!
  }

  #divisor(batch: Omit<BatchSums, 'sums'>): number {
    if (this.#reduction === 'sampled') return Math.sqrt(batch.count * batch.weight)
    const divisor = divisorOf(batch)
    return this.#reduction === 'mean' ? divisor : Math.sign(divisor)
  }
}
