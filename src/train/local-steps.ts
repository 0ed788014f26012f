import { type FloatArray, mapArrays, zeroArrayLike } from '../ir/float-array.js'
import { type BatchSums, emptyAccumulatorState, MetricAccumulator } from '../metric/accumulator.js'
import type { BuiltMetrics } from '../metric/metric.js'
import { type ParameterArrays, scaleArrays } from '../optim/arrays.js'
import type { OptimizerState } from '../optim/state.js'
import { belowOne, checkNames, checkNumber, invalidOption, nonNegative, positiveCount } from '../util/check.js'
import { reduceSums } from './evaluate.js'
import type { ProcessGroup, SumArrays } from './process-group.js'

/** Options of local steps; defaults are those of DiLoCo. */
export interface LocalStepsOptions {
  /** Number of steps between two averages. */
  readonly steps: number
  /** Learning rate of the outer optimizer; default 0.7. */
  readonly outerLr?: number
  /** Nesterov momentum of the outer optimizer, in [0, 1); default 0.9. */
  readonly outerMomentum?: number
}

/** Fills in the defaults. */
export const resolveLocalSteps = ({
  steps,
  outerLr = 0.7,
  outerMomentum = 0.9,
}: LocalStepsOptions): Required<LocalStepsOptions> => ({ steps, outerLr, outerMomentum })

/** Throws `invalid-option` for an option that is unknown or out of range. */
export function checkLocalSteps(options: LocalStepsOptions): void {
  checkNames('localSteps', options, ['steps', 'outerLr', 'outerMomentum'])
  const { steps, outerLr, outerMomentum } = resolveLocalSteps(options)
  checkNumber('localSteps', 'steps', steps, positiveCount)
  checkNumber('localSteps', 'outerLr', outerLr, nonNegative)
  checkNumber('localSteps', 'outerMomentum', outerMomentum, belowOne)
}

/** The state that a round of local steps ends with. */
interface RoundState {
  readonly parameters: ParameterArrays
  readonly optimizer: OptimizerState
  /** Running statistics, and moving averages of the weights. */
  readonly others: readonly FloatArray[]
}

/**
 * Rounds of local steps, as in DiLoCo (Douillard et al. 2023, arXiv 2311.08105): every process takes steps on its own
 * part of each batch, without the gradients of the others. At the end of a round the outer optimizer, SGD with Nesterov
 * momentum, takes a step along the mean displacement of the weights:
 *
 *     d = mean over processes of (start - theta), with start = the weights at the beginning of the round
 *     m <- outerMomentum m + d
 *     theta <- start - outerLr (d + outerMomentum m)
 *
 * All other state, such as moments, is replaced by its mean. DiLoCo leaves the moments to each process; with their
 * means all processes are equal after a round, so that any number of them can resume the run.
 */
export class LocalSteps {
  readonly #options: Required<LocalStepsOptions>
  readonly #group: ProcessGroup | undefined
  readonly #metrics: BuiltMetrics
  /** m */
  readonly #momentum: ParameterArrays
  #start: ParameterArrays | undefined
  #taken = 0
  /** Loss and metrics of this process in the current round. */
  #sums: MetricAccumulator

  /**
   * @param momentum m, which is part of the run's checkpoints
   * @param metrics the metrics of training steps
   */
  constructor(
    options: LocalStepsOptions,
    group: ProcessGroup | undefined,
    momentum: ParameterArrays,
    { moments }: OptimizerState,
    metrics: BuiltMetrics,
  ) {
    if (Object.values(moments).some((arrays) => Object.values(arrays).some((array) => array instanceof Uint8Array)))
      throw invalidOption('Trainer', 'localSteps', options, 'omitted with moments in 8 bits, which have no mean')
    this.#options = resolveLocalSteps(options)
    this.#group = group
    this.#momentum = momentum
    this.#metrics = metrics
    this.#sums = this.#emptySums()
  }

  /** Number of steps in the current round. */
  get taken(): number {
    return this.#taken
  }

  /** Whether the current round has all its steps. */
  get isComplete(): boolean {
    return this.#taken >= this.#options.steps
  }

  /** Discards the current round, for other weights. */
  reset(): void {
    this.#taken = 0
    this.#sums = this.#emptySums()
  }

  /** Copies the weights, before the first step of a round. */
  beforeStep(parameters: ParameterArrays): void {
    if (this.#taken > 0) return
    this.#start ??= mapArrays(parameters, zeroArrayLike)
    for (const [name, start] of Object.entries(this.#start)) start.set(parameters[name]!)
  }

  /** Counts a step. @param sums loss and metrics of this process; null if another process counts its examples */
  afterStep(sums: BatchSums | null): void {
    this.#taken++
    if (sums) this.#sums.add(sums)
  }

  /**
   * Ends a round: all processes have the same state afterwards. Returns loss and metrics of the round.
   * @param sum adds up the displacements of the weights over all processes; default `allReduce` of the group
   */
  async end({ parameters, optimizer, others }: RoundState, sum?: SumArrays): Promise<BatchSums> {
    const group = this.#group
    const start = this.#start!
    for (const [name, theta] of Object.entries(parameters))
      for (let i = 0; i < theta.length; i++) theta[i] = start[name]![i]! - theta[i]!
    let sums = this.#sums
    if (group) {
      const displacements = Object.values(parameters)
      await (sum ? sum(displacements) : group.allReduce(displacements))
      await average(group, optimizer, others)
      sums = await reduceSums(group, this.#metrics, sums)
    }
    for (const [name, theta] of Object.entries(parameters))
      this.#stepOuter(theta, start[name]!, this.#momentum[name]!, 1 / (group?.size ?? 1))
    this.reset()
    const { loss, weight, ...counts } = sums.save()
    return { ...counts, weight, loss: weight === 0 ? loss : loss / weight }
  }

  /** Steps from the start of a round. @param theta sum of the displacements, which the weights replace */
  #stepOuter(theta: FloatArray, start: FloatArray, momentum: FloatArray, share: number): void {
    const { outerLr, outerMomentum } = this.#options
    for (let i = 0; i < theta.length; i++) {
      const d = theta[i]! * share
      momentum[i] = outerMomentum * momentum[i]! + d
      theta[i] = start[i]! - outerLr * (d + outerMomentum * momentum[i]!)
    }
  }

  #emptySums(): MetricAccumulator {
    return new MetricAccumulator(this.#metrics, emptyAccumulatorState(this.#metrics))
  }
}

/** Replaces all state but the weights by its mean over all processes. */
async function average(group: ProcessGroup, optimizer: OptimizerState, others: readonly FloatArray[]): Promise<void> {
  const moments = Object.values(optimizer.moments).flatMap((arrays) => Object.values(arrays) as FloatArray[])
  const estimates = Object.entries(optimizer.estimate ?? {})
  const numbers = Float64Array.from(estimates, ([, value]) => value)
  const arrays = [...moments, ...others, numbers]
  await group.allReduce(arrays)
  scaleArrays(Object.fromEntries(arrays.entries()), 1 / group.size)
  if (optimizer.estimate) optimizer.estimate = Object.fromEntries(estimates.map(([name], i) => [name, numbers[i]!]))
}
