import { OnnxIreError } from '../errors.js'
import type { Value } from '../ir/value.js'
import { compileOnDevice } from '../lower/compile.js'
import type { GraphSpec } from '../onnx/export.js'
import type { ParameterArrays } from '../optim/arrays.js'
import type { Device, DeviceTensors } from '../runtime/device.js'
import type { Runtime } from '../runtime/runtime.js'
import { DeviceArithmetic } from '../step/device-arithmetic.js'
import { graphResidence } from '../step/graph-residence.js'
import { layers, type Optimizer } from '../step/optimizer.js'
import type { DeviceResidence } from '../step/residence.js'
import type { OptimizerState } from '../step/state.js'
import { byParameter, type Compute, type GradientProgram, isGradient, readBy } from './compute.js'
import { tensorsOf } from './host-compute.js'

/** Training state on a device: gradients never leave it, and the host's arrays follow when they are asked for. */
export class DeviceCompute implements Compute<DeviceTensors, DeviceTensors> {
  /** What an If costs on a device is not measured. */
  readonly joins = false
  private readonly runtime: Runtime
  private readonly device: Device
  private arithmetic: DeviceArithmetic
  private readonly values: ReadonlyMap<string, Value>
  private readonly arrays: ParameterArrays
  private readonly optimizer: Optimizer
  private residence: Promise<DeviceResidence<DeviceTensors>> | undefined
  private state: OptimizerState | undefined

  /**
   * @param values the parameters by name; @param arrays the host's copies of them
   * Throws `invalid-option` for parameters in float64, which devices do not compute in.
   */
  constructor(
    runtime: Runtime,
    device: Device,
    values: ReadonlyMap<string, Value>,
    arrays: ParameterArrays,
    optimizer: Optimizer,
  ) {
    for (const [name, { dtype }] of values)
      if (dtype !== 'float32')
        throw new OnnxIreError(
          'invalid-option',
          `'${name}' is ${dtype}, and this runtime trains float32 only: train the model on the CPU`,
        )
    this.runtime = runtime
    this.device = device
    this.arithmetic = new DeviceArithmetic(device)
    this.values = values
    this.arrays = arrays
    this.optimizer = optimizer
  }

  async compile(spec: GraphSpec): Promise<GradientProgram<DeviceTensors, DeviceTensors>> {
    const program = await compileOnDevice(this.runtime, this.device, spec, isGradient)
    return {
      run: async (feeds, parameters) => {
        const { host, kept } = await program.run({ ...feeds, ...readBy(program.inputNames, parameters) })
        return { outputs: host, gradients: byParameter(kept) }
      },
      release: () => program.release(),
    }
  }

  async at(state: OptimizerState): Promise<DeviceResidence<DeviceTensors>> {
    this.residence ??= this.reside()
    const residence = await this.residence
    if (this.state !== state) {
      await residence.load(this.arrays, state)
      this.state = state
    }
    return residence
  }

  async follow(state: OptimizerState): Promise<void> {
    if (this.state === state) await (await this.residence!).store(this.arrays, state)
  }

  async place(arrays: ParameterArrays): Promise<DeviceTensors> {
    const placed: Record<string, DeviceTensors[string]> = {}
    for (const [name, tensor] of Object.entries(tensorsOf(this.values, arrays)))
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
    await this.arithmetic.release()
  }

  private reside(): Promise<DeviceResidence<DeviceTensors>> {
    const { base, ire } = layers(this.optimizer)
    const dims = [...this.values].map(([name, { shape }]) => [name, shape as readonly number[]])
    const spec = { base, ire, parameters: Object.fromEntries(dims) }
    return this.device.reside?.(spec) ?? graphResidence(this.device, spec)
  }
}
