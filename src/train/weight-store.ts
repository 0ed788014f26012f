import { type FloatArray, mapArrays, viewFloats, zeroArrayLike } from '../ir/float-array.js'
import { sizeOf, type Tensor, totalSizeOf } from '../ir/tensor.js'
import type { Value } from '../ir/value.js'
import { allocateIn, createWasmMemory, type WasmMemory } from '../ir/wasm-memory.js'
import { copyElements } from '../onnx/proto/tensor.js'
import type { ParameterArrays } from '../optim/arrays.js'
import type { BaseOptimizer } from '../optim/base-optimizer.js'
import { updateAverages } from '../optim/ema.js'
import { minParallelElements } from '../optim/expr/parallel.js'
import { unwrap } from '../optim/optimizer.js'
import { evaluatedWeights, type OptimizerState } from '../optim/state.js'
import type { Runtime } from '../runtime/runtime.js'
import { OnnxIreError } from '../util/errors.js'
import type { RunArrays } from './checkpoint/format.js'
import type { WeightSelection } from './checkpoint/model-from-checkpoint.js'
import type { TrainingGraphs } from './graphs/build.js'
import type { TrainerOptions } from './options.js'

/** The host arrays of a run: all weights and running statistics that training changes, in memory of the runtime. */
export class WeightStore {
  /** Arrays by group, as in checkpoints: 'parameter', 'statistic' and, if the run has them, 'ema', 'best', 'outer'. */
  readonly groups: RunArrays
  readonly parameters: ParameterArrays
  /** Running statistics of trained norms. */
  readonly statistics: ParameterArrays
  /** Moving averages of parameters and statistics, if the run has them. */
  readonly averages: ParameterArrays | undefined
  /** Momentum of the outer optimizer of local steps, if the run has them. */
  readonly outer: ParameterArrays | undefined
  readonly #decay: number | undefined
  readonly #base: BaseOptimizer
  readonly #moments: () => OptimizerState['moments']

  /** @param moments returns the current moments of the optimizer */
  constructor(
    graphs: TrainingGraphs,
    { runtime, optimizer, ema, best, localSteps }: TrainerOptions,
    moments: () => OptimizerState['moments'],
  ) {
    this.#decay = ema
    this.#base = unwrap(optimizer).base
    this.#moments = moments
    // Updates compute in place in this memory; moments, and gradients for helper threads, are allocated there too.
    const elements = totalSizeOf(graphs.parameters.values())
    const isUpdatedHere = runtime.helpers !== undefined || runtime.provider === 'wasm'
    const memory = isUpdatedHere && elements >= minParallelElements ? createWasmMemory() : null
    const allocate = (isDouble: boolean, length: number) => allocateArray(isDouble, length, runtime, memory)
    this.parameters = copyModelTensors(graphs.parameters, allocate)
    this.statistics = copyModelTensors(graphs.statistics, allocate)
    const copy = (array: FloatArray) => {
      const own = allocate(array instanceof Float64Array, array.length)
      own.set(array)
      return own
    }
    const copyAll = () => mapArrays({ ...this.parameters, ...this.statistics }, copy)
    this.averages = ema === undefined ? undefined : copyAll()
    this.outer = localSteps && mapArrays(this.parameters, zeroArrayLike)
    this.groups = {
      parameter: this.parameters,
      statistic: this.statistics,
      ...(this.averages ? { ema: this.averages } : {}),
      ...(best ? { best: copyAll() } : {}),
      ...(this.outer ? { outer: this.outer } : {}),
    }
  }

  /** Stores the running statistics after a step, and moves their averages. */
  updateStatistics(statistics: ParameterArrays): void {
    for (const [name, next] of Object.entries(statistics)) this.statistics[name]!.set(next)
    if (this.averages) updateAverages(this.averages, this.statistics, this.#decay!)
  }

  /** The weights that validation evaluates: the averages, if the run has them. */
  get validated(): WeightSelection {
    return this.averages ? 'ema' : 'last'
  }

  /** Copies the validated weights to the best weights. */
  saveBest(): void {
    const validated = this.get(this.validated)
    for (const [name, array] of Object.entries(this.get('best'))) array.set(validated[name]!)
  }

  /** Returns parameters and statistics by name. Throws `invalid-option` for weights that the run does not have. */
  get(weights: WeightSelection): ParameterArrays {
    if (weights === 'last')
      return { ...evaluatedWeights(this.#base, this.parameters, this.#moments()), ...this.statistics }
    const group = this.groups[weights]
    if (group) return group
    throw new OnnxIreError(
      'invalid-option',
      `the trainer has no '${weights}' weights: set the trainer option ${weights}`,
    )
  }
}

type Allocate = (isDouble: boolean, length: number) => FloatArray

function copyModelTensors(values: ReadonlyMap<string, Value>, allocate: Allocate): Record<string, FloatArray> {
  return Object.fromEntries(
    [...values].map(([name, { source }]) => {
      const { tensor } = source as { tensor: Tensor }
      // Half-precision tensors were converted: every trained tensor is float32 or float64.
      const own = allocate(tensor.dtype === 'float64', sizeOf(tensor.dims))
      copyElements(tensor, own)
      return [name, own]
    }),
  )
}

function allocateArray(isDouble: boolean, length: number, runtime: Runtime, memory: WasmMemory | null): FloatArray {
  const range = memory && allocateIn(memory, (isDouble ? 8 : 4) * length)
  if (range) return viewFloats(isDouble ? 'double' : 'single', range, length)
  return runtime.allocate(isDouble ? 'float64' : 'float32', length) as FloatArray
}
