import type { ArrayResidence } from '../backend/host.js'
import type { FloatArray } from '../ir/float-array.js'
import type { Tensor, Tensors } from '../ir/tensor.js'
import type { Value } from '../ir/value.js'
import { compileGraph } from '../lowering/compile.js'
import { needed } from '../needed.js'
import type { GraphSpec } from '../onnx/export/export-graph.js'
import type { Gradients, ParameterArrays } from '../optim/arrays.js'
import { sgd } from '../optim/sgd.js'
import type { OptimizerState } from '../optim/state.js'
import type { Runtime } from '../runtime/runtime.js'
import { byParameter, type Compute, type GradientProgram, readBy, type Trained } from './compute.js'
import { addScaled, scale } from './sums.js'

/** Training state in arrays of the host, fed anew in every run. */
export class HostCompute implements Compute<ParameterArrays, Gradients> {
  readonly joins = true
  private readonly runtime: Runtime
  private readonly trained: Trained
  private residence: ArrayResidence | undefined
  private state: OptimizerState | undefined

  /** @param trained its arrays are written in place */
  constructor(runtime: Runtime, trained: Trained) {
    this.runtime = runtime
    this.trained = trained
  }

  /** To evaluate at arrays that are given; nothing is trained. */
  static over(runtime: Runtime, values: ReadonlyMap<string, Value> = new Map()): HostCompute {
    return new HostCompute(runtime, { values, arrays: {}, optimizer: sgd() })
  }

  async compile(spec: GraphSpec): Promise<GradientProgram<ParameterArrays, Gradients>> {
    const program = await compileGraph(this.runtime, spec)
    return {
      run: async (feeds, parameters) => {
        const outputs = await program.run({
          ...feeds,
          ...readBy(program.inputNames, tensorsOf(this.trained.values, parameters)),
        })
        const gradients = Object.entries(byParameter(outputs)).map(([name, { data }]) => [name, data as FloatArray])
        return { outputs, gradients: Object.fromEntries(gradients) }
      },
      release: () => program.release(),
    }
  }

  async at(state: OptimizerState): Promise<ArrayResidence> {
    const { optimizer, arrays } = this.trained
    // Neither evaluation nor a device needs the arithmetic of steps on arrays.
    const { ArrayResidence } = await needed(import('../backend/host.js'))
    if (!this.residence || this.state !== state) this.residence = new ArrayResidence(optimizer, arrays, state)
    this.state = state
    return this.residence
  }

  async average(): Promise<void> {
    const { arrays, averages } = this.trained
    if (!averages) return
    const { average } = await needed(import('./average.js'))
    average(averages.arrays, arrays, averages.decay)
  }

  async averaged(): Promise<ParameterArrays> {
    return this.trained.averages!.arrays
  }

  async follow(): Promise<void> {}

  async place(arrays: ParameterArrays): Promise<ParameterArrays> {
    return arrays
  }

  drop(): void {}

  async accumulate(sum: Gradients | null, gradients: Gradients, factor: number): Promise<Gradients> {
    const sums: Record<string, FloatArray> = { ...sum }
    addScaled(sums, gradients, factor)
    return sums
  }

  async scale(sum: Gradients, factor: number): Promise<Gradients> {
    scale(sum, factor)
    return sum
  }

  discard(): void {}

  async renew(): Promise<boolean> {
    return false
  }

  async release(): Promise<void> {}
}

/** Arrays as the tensors they stand for. */
export const tensorsOf = (values: ReadonlyMap<string, Value>, arrays: ParameterArrays): Tensors =>
  Object.fromEntries(
    [...values].map(([name, { dtype, shape }]): [string, Tensor] => [
      name,
      { dtype, dims: shape as readonly number[], data: arrays[name]! },
    ]),
  )
