import type { DeviceResidence } from '../backend/backend.js'
import { DeviceArithmetic } from '../backend/onnx/arithmetic.js'
import type { FloatArray } from '../ir/float-array.js'
import { compileOnDevice } from '../lowering/compile-on-device.js'
import { needed } from '../needed.js'
import type { GraphSpec } from '../onnx/export/export-graph.js'
import type { ParameterArrays } from '../optim/arrays.js'
import { unwrap } from '../optim/optimizer.js'
import type { OptimizerState } from '../optim/state.js'
import type { Device, DeviceTensors } from '../runtime/device.js'
import type { Runtime } from '../runtime/runtime.js'
import { OnnxIreError } from '../util/errors.js'
import { byParameter, type Compute, type GradientProgram, isGradient, readBy, type Trained } from './compute.js'
import { tensorsOf } from './host-compute.js'

/** Training state on a device: gradients never leave it, and the host's arrays follow when they are asked for. */
export class DeviceCompute implements Compute<DeviceTensors, DeviceTensors> {
  /** What an If costs on a device is not measured. */
  readonly joins = false
  private readonly runtime: Runtime
  private readonly device: Device
  private arithmetic: DeviceArithmetic
  private readonly trained: Trained
  private residence: Promise<DeviceResidence<DeviceTensors>> | undefined
  private averages: DeviceTensors | undefined
  private state: OptimizerState | undefined

  /** Throws `invalid-option` for parameters in float64, which devices do not compute in. */
  constructor(runtime: Runtime, device: Device, trained: Trained) {
    for (const [name, { dtype }] of trained.values)
      if (dtype !== 'float32')
        throw new OnnxIreError(
          'invalid-option',
          `'${name}' is ${dtype}, and this runtime trains float32 only: train the model on the CPU`,
        )
    this.runtime = runtime
    this.device = device
    this.arithmetic = new DeviceArithmetic(device)
    this.trained = trained
  }

  async compile(spec: GraphSpec): Promise<GradientProgram<DeviceTensors, DeviceTensors>> {
    const program = await compileOnDevice(this.runtime.provider, this.device, spec, isGradient)
    return {
      run: async (feeds, parameters) => {
        const { host, kept } = await program.run({ ...feeds, ...readBy(program.inputNames, parameters) })
        return { outputs: host, gradients: byParameter(kept) }
      },
      release: () => program.release(),
    }
  }

  async at(state: OptimizerState): Promise<DeviceResidence<DeviceTensors>> {
    this.residence ??= this.resided()
    const residence = await this.residence
    if (this.state !== state) {
      const { arrays, averages } = this.trained
      await residence.load(arrays, state)
      this.dropAverages()
      if (averages) this.averages = await this.place(averages.arrays)
      this.state = state
    }
    return residence
  }

  async average(): Promise<void> {
    const { averages, trained } = this
    if (!averages) return
    const { parameters } = await this.residence!
    this.averages = await this.arithmetic.average(averages, parameters, trained.averages!.decay)
  }

  async averaged(state: OptimizerState): Promise<DeviceTensors> {
    await this.at(state)
    return this.averages!
  }

  async follow(state: OptimizerState): Promise<void> {
    if (this.state !== state) return
    const { arrays, averages } = this.trained
    await (await this.residence!).store(arrays, state)
    for (const [name, tensor] of Object.entries(this.averages ?? {}))
      averages!.arrays[name]!.set((await this.device.download(tensor)).data as FloatArray)
  }

  async place(arrays: ParameterArrays): Promise<DeviceTensors> {
    const placed: Record<string, DeviceTensors[string]> = {}
    for (const [name, tensor] of Object.entries(tensorsOf(this.trained.values, arrays)))
      placed[name] = await this.device.upload(tensor)
    return placed
  }

  drop(parameters: DeviceTensors): void {
    for (const tensor of Object.values(parameters)) tensor.release()
  }

  accumulate(sum: DeviceTensors | null, gradients: DeviceTensors, factor: number): Promise<DeviceTensors> {
    return this.arithmetic.accumulate(sum, gradients, factor)
  }

  scale(sum: DeviceTensors, factor: number): Promise<DeviceTensors> {
    return this.arithmetic.scale(sum, factor)
  }

  discard(gradients: DeviceTensors): void {
    this.drop(gradients)
  }

  async renew(): Promise<boolean> {
    if (!this.device.renew) return false
    this.residence = undefined
    this.averages = undefined
    this.state = undefined
    this.arithmetic = new DeviceArithmetic(this.device)
    await this.device.renew()
    return true
  }

  async release(): Promise<void> {
    const residence = await this.residence
    this.residence = undefined
    this.state = undefined
    await residence?.release()
    this.dropAverages()
    await this.arithmetic.release()
  }

  private dropAverages(): void {
    if (this.averages) this.drop(this.averages)
    this.averages = undefined
  }

  private resided(): Promise<DeviceResidence<DeviceTensors>> {
    const made = this.reside()
    // One that failed is made anew when it is needed again.
    made.catch(() => {
      if (this.residence === made) this.residence = undefined
    })
    return made
  }

  private async reside(): Promise<DeviceResidence<DeviceTensors>> {
    const { base, ire } = unwrap(this.trained.optimizer)
    const dims = [...this.trained.values].map(([name, { shape }]) => [name, shape as readonly number[]])
    const spec = { base, ire, parameters: Object.fromEntries(dims) }
    if (this.device.reside) return this.device.reside(spec)
    // Loaded when needed: a device with a residence of its own does without.
    const { graphResidence } = await needed(import('../backend/onnx/onnx-backend.js'))
    return graphResidence(this.device, spec)
  }
}
