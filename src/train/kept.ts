import { type FloatArray, mapArrays } from '../ir/float-array.js'
import type { Tensor } from '../ir/tensor.js'
import type { Value } from '../ir/value.js'
import { needed } from '../needed.js'
import type { ParameterArrays } from '../optim/arrays.js'
import type { Runtime } from '../runtime/runtime.js'
import { OnnxIreError } from '../util/errors.js'
import type { RunArrays } from './checkpoint/format.js'
import type { WhichWeights } from './checkpoint/model-from-checkpoint.js'
import type { Trained } from './compute.js'
import type { TrainingGraphs } from './graphs/build.js'
import type { TrainerOptions } from './options.js'

/** All arrays that training moves, in memory that the runtime reads fast. */
export class KeptWeights {
  /** By role, as checkpoints name them: 'parameter', 'statistic', and 'ema' and 'best' where they are kept. */
  readonly byRole: RunArrays
  readonly parameters: ParameterArrays
  /** Running statistics of norms that are trained. */
  readonly statistics: ParameterArrays
  private readonly decay: number | undefined

  constructor(graphs: TrainingGraphs, { runtime, ema, best }: TrainerOptions) {
    this.decay = ema
    this.parameters = allocated(graphs.parameters, runtime)
    this.statistics = allocated(graphs.statistics, runtime)
    const copies = () => mapArrays({ ...this.parameters, ...this.statistics }, (array) => copied(array, runtime))
    this.byRole = {
      parameter: this.parameters,
      statistic: this.statistics,
      ...(ema === undefined ? {} : { ema: copies() }),
      ...(best ? { best: copies() } : {}),
    }
  }

  /** The averages of parameters and statistics; those of parameters are moved where these are. Undefined where none are kept. */
  get averages(): Trained['averages'] {
    return this.decay === undefined ? undefined : { arrays: this.byRole['ema']!, decay: this.decay }
  }

  /** The running statistics that a step gave; and their averages, which follow. */
  async afterStep(statistics: ParameterArrays): Promise<void> {
    for (const [name, next] of Object.entries(statistics)) this.statistics[name]!.set(next)
    if (!this.averages) return
    const { average } = await needed(import('./average.js'))
    average(this.averages.arrays, this.statistics, this.averages.decay)
  }

  /** Which weights validation measures: the average where there is one. */
  get measured(): WhichWeights {
    return 'ema' in this.byRole ? 'ema' : 'last'
  }

  /** Keeps what was measured as the best. */
  keepBest(): void {
    const now = this.of(this.measured)
    for (const [name, array] of Object.entries(this.of('best'))) array.set(now[name]!)
  }

  /** Parameters and statistics by name. Throws `invalid-option` for weights that are not kept. */
  of(weights: WhichWeights): ParameterArrays {
    if (weights === 'last') return { ...this.parameters, ...this.statistics }
    const kept = this.byRole[weights]
    if (kept) return kept
    throw new OnnxIreError('invalid-option', `the trainer keeps no '${weights}' weights: give it the option ${weights}`)
  }
}

/** Copies of the model's tensors. */
function allocated(values: ReadonlyMap<string, Value>, runtime: Runtime): Record<string, FloatArray> {
  return Object.fromEntries(
    [...values].map(([name, { source }]) => {
      // Half floats were widened: every trained tensor is float32 or float64.
      const { data } = (source as { tensor: Tensor }).tensor
      return [name, copied(data as FloatArray, runtime)]
    }),
  )
}

function copied(array: FloatArray, runtime: Runtime): FloatArray {
  const copy = runtime.allocate(array instanceof Float64Array ? 'float64' : 'float32', array.length) as FloatArray
  copy.set(array)
  return copy
}
