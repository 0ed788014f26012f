import { type FloatArray, mapArrays } from '../ir/float-array.js'
import type { Tensor } from '../ir/tensor.js'
import type { Value } from '../ir/value.js'
import type { ParameterArrays } from '../optim/arrays.js'
import { updateAverages } from '../optim/ema.js'
import type { Runtime } from '../runtime/runtime.js'
import { OnnxIreError } from '../util/errors.js'
import type { RunArrays } from './checkpoint/format.js'
import type { WhichWeights } from './checkpoint/model-from-checkpoint.js'
import type { TrainingGraphs } from './graphs/build.js'
import type { TrainerOptions } from './options.js'

/** The host arrays of a run: all weights and running statistics that training changes, in memory of the runtime. */
export class WeightStore {
  /** Arrays by group, as in checkpoints: 'parameter', 'statistic' and, if the run has them, 'ema' and 'best'. */
  readonly groups: RunArrays
  readonly parameters: ParameterArrays
  /** Running statistics of trained norms. */
  readonly statistics: ParameterArrays
  /** Moving averages of parameters and statistics, if the run has them. */
  readonly averages: ParameterArrays | undefined
  readonly #decay: number | undefined

  constructor(graphs: TrainingGraphs, { runtime, ema, best }: TrainerOptions) {
    this.#decay = ema
    this.parameters = copyModelTensors(graphs.parameters, runtime)
    this.statistics = copyModelTensors(graphs.statistics, runtime)
    const copyAll = () => mapArrays({ ...this.parameters, ...this.statistics }, (array) => copyArray(array, runtime))
    this.averages = ema === undefined ? undefined : copyAll()
    this.groups = {
      parameter: this.parameters,
      statistic: this.statistics,
      ...(this.averages ? { ema: this.averages } : {}),
      ...(best ? { best: copyAll() } : {}),
    }
  }

  /** Stores the running statistics after a step, and moves their averages. */
  updateStatistics(statistics: ParameterArrays): void {
    for (const [name, next] of Object.entries(statistics)) this.statistics[name]!.set(next)
    if (this.averages) updateAverages(this.averages, this.statistics, this.#decay!)
  }

  /** The weights that validation evaluates: the averages, if the run has them. */
  get validated(): WhichWeights {
    return this.averages ? 'ema' : 'last'
  }

  /** Copies the validated weights to the best weights. */
  saveBest(): void {
    const validated = this.get(this.validated)
    for (const [name, array] of Object.entries(this.get('best'))) array.set(validated[name]!)
  }

  /** Returns parameters and statistics by name. Throws `invalid-option` for weights that the run does not have. */
  get(weights: WhichWeights): ParameterArrays {
    if (weights === 'last') return { ...this.parameters, ...this.statistics }
    const group = this.groups[weights]
    if (group) return group
    throw new OnnxIreError(
      'invalid-option',
      `the trainer has no '${weights}' weights: set the trainer option ${weights}`,
    )
  }
}

function copyModelTensors(values: ReadonlyMap<string, Value>, runtime: Runtime): Record<string, FloatArray> {
  return Object.fromEntries(
    [...values].map(([name, { source }]) => {
      // Half-precision tensors were converted: every trained tensor is float32 or float64.
      const { data } = (source as { tensor: Tensor }).tensor
      return [name, copyArray(data as FloatArray, runtime)]
    }),
  )
}

function copyArray(array: FloatArray, runtime: Runtime): FloatArray {
  const copy = runtime.allocate(array instanceof Float64Array ? 'float64' : 'float32', array.length) as FloatArray
  copy.set(array)
  return copy
}
