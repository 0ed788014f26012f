import type { FloatArray } from '../../ir/float-array.js'
import { compileOnDevice } from '../../lowering/compile.js'
import type { GraphSpec } from '../../onnx/export/export-graph.js'
import type { ParameterArrays } from '../../optim/arrays.js'
import type { MaskRequest } from '../../optim/ire/mask.js'
import type { Device, DeviceTensor, DeviceTensors } from '../../runtime/device.js'
import type { Runtime } from '../../runtime/runtime.js'
import { OnnxIreError } from '../../util/errors.js'
import {
  type AscentRequest,
  type BackendSpec,
  type GradientProgram,
  gradientsByParameter,
  isGradient,
  type StepStats,
  selectInputs,
  type TrainingBackend,
  type TrainingState,
  toTensors,
  type UpdateRequest,
} from '../backend.js'
import { DeviceArithmetic } from './arithmetic.js'

/** The part that all backends on a device share: compilation, transfer of sets, sums and averages by ONNX graphs. */
export abstract class DeviceBackend implements TrainingBackend<DeviceTensors> {
  /** The cost of an If on a device is not measured. */
  readonly fusesCurvature = false
  readonly #runtime: Runtime
  readonly #device: Device
  readonly #spec: BackendSpec
  #arithmetic: DeviceArithmetic
  #averages: DeviceTensors | null = null

  /** Throws `invalid-option` for float64 parameters, which devices do not support. */
  constructor(runtime: Runtime, device: Device, spec: BackendSpec) {
    for (const [name, { dtype }] of spec.parameters)
      if (dtype !== 'float32')
        throw new OnnxIreError(
          'invalid-option',
          `'${name}' is ${dtype}, and this runtime trains float32 only: train the model on the CPU`,
        )
    this.#runtime = runtime
    this.#device = device
    this.#spec = spec
    this.#arithmetic = new DeviceArithmetic(device)
  }

  abstract readonly parameters: DeviceTensors
  abstract refreshMask(request: MaskRequest, estimates: DeviceTensors): Promise<void>
  abstract ascend(request: AscentRequest, gradients: DeviceTensors): Promise<DeviceTensors>
  abstract applyUpdate(request: UpdateRequest, gradients: DeviceTensors): Promise<void>
  abstract stats(): Promise<StepStats>
  abstract checkFinite(names: readonly string[], gradients: DeviceTensors, place: string, what: string): Promise<void>

  /** Forgets everything that a lost device stored. */
  protected abstract reset(): void

  get averages(): DeviceTensors | null {
    return this.#averages
  }

  async compile(spec: GraphSpec): Promise<GradientProgram<DeviceTensors>> {
    const program = await compileOnDevice(this.#runtime.provider, this.#device, spec, isGradient)
    return {
      run: async (feeds, parameters) => {
        const { host, device } = await program.run({ ...feeds, ...selectInputs(program.inputNames, parameters) })
        return { outputs: host, gradients: gradientsByParameter(device) }
      },
      release: () => program.release(),
    }
  }

  async load({ averages }: TrainingState): Promise<void> {
    this.#releaseAverages()
    if (averages) this.#averages = await this.upload(averages)
  }

  async download({ averages }: TrainingState): Promise<void> {
    for (const [name, tensor] of Object.entries(this.#averages ?? {}))
      averages![name]!.set((await this.#device.download(tensor)).data as FloatArray)
  }

  async upload(parameters: ParameterArrays): Promise<DeviceTensors> {
    const uploaded: Record<string, DeviceTensor> = {}
    for (const [name, tensor] of Object.entries(toTensors(this.#spec.parameters, parameters)))
      uploaded[name] = await this.#device.upload(tensor)
    return uploaded
  }

  release(tensors: DeviceTensors): void {
    for (const tensor of Object.values(tensors)) tensor.release()
  }

  accumulate(sum: DeviceTensors | null, gradients: DeviceTensors, factor: number): Promise<DeviceTensors> {
    return this.#arithmetic.accumulate(sum, gradients, factor)
  }

  scale(sum: DeviceTensors, factor: number): Promise<DeviceTensors> {
    return this.#arithmetic.scale(sum, factor)
  }

  async updateAverages(decay: number): Promise<void> {
    if (this.#averages) this.#averages = await this.#arithmetic.updateAverages(this.#averages, this.parameters, decay)
  }

  async recover(): Promise<boolean> {
    if (!this.#device.recover) return false
    this.reset()
    this.#averages = null
    this.#arithmetic = new DeviceArithmetic(this.#device)
    await this.#device.recover()
    return true
  }

  async dispose(): Promise<void> {
    this.#releaseAverages()
    await this.#arithmetic.release()
  }

  #releaseAverages(): void {
    if (this.#averages) this.release(this.#averages)
    this.#averages = null
  }
}
