import type { FloatArray } from '../../ir/float-array.js'
import { input } from '../../ir/leaf.js'
import { sizeOf, tensor } from '../../ir/tensor.js'
import type { Value } from '../../ir/value.js'
import { compileOnDevice } from '../../lowering/compile.js'
import type { GraphSpec } from '../../onnx/export/export-graph.js'
import type { ParameterArrays } from '../../optim/arrays.js'
import type { Rules } from '../../optim/base-optimizer.js'
import { emaFormula } from '../../optim/ema.js'
import { array, type Formula, formula, scalar } from '../../optim/expr/expr.js'
import { formulaToOnnx } from '../../optim/expr/onnx.js'
import type { MaskRequest } from '../../optim/ire/mask.js'
import type { Device, DeviceTensor, DeviceTensors, Feeds } from '../../runtime/device.js'
import type { Runtime } from '../../runtime/runtime.js'
import { OnnxIreError } from '../../util/errors.js'
import { emptyRecord, getOwn, mergeRecords } from '../../util/record.js'
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
import { scalarFeed } from './device-state.js'
import { ProgramCache } from './step-graphs.js'

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
    this.#arithmetic = new DeviceArithmetic(runtime, device)
  }

  abstract readonly rules: Rules
  abstract readonly parameters: DeviceTensors
  abstract readonly estimate: Readonly<Record<string, number>>
  abstract refreshMask(request: MaskRequest, estimates: DeviceTensors): Promise<void>
  abstract ascend(request: AscentRequest, gradients: DeviceTensors): Promise<DeviceTensors>
  abstract applyUpdate(request: UpdateRequest, gradients: DeviceTensors): Promise<void>
  abstract stats(): Promise<StepStats>
  abstract checkFinite(names: readonly string[], gradients: DeviceTensors, place: string, what: string): Promise<void>

  /** Drops the references to everything that a lost device stored. */
  protected abstract reset(): void

  get averages(): DeviceTensors | null {
    return this.#averages
  }

  async compile(spec: GraphSpec): Promise<GradientProgram<DeviceTensors>> {
    const program = await compileOnDevice(this.#runtime, this.#device, spec, isGradient)
    return {
      run: async (feeds, parameters) => {
        const { host, device } = await program.run(
          mergeRecords<Feeds[string]>(feeds, selectInputs(program.inputNames, parameters)),
        )
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
    const uploaded: Record<string, DeviceTensor> = emptyRecord()
    for (const [name, tensor] of Object.entries(toTensors(this.#spec.parameters, parameters)))
      uploaded[name] = await this.#device.upload(tensor)
    return uploaded
  }

  release(tensors: DeviceTensors): void {
    release(tensors)
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
    this.#arithmetic = new DeviceArithmetic(this.#runtime, this.#device)
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

const [sum, g, factor] = [array('sum'), array('g'), scalar('factor')]

const accumulateFormula = formula({ sum: sum.add(g.mul(factor)) })

const scaleFormula = formula({ sum: sum.mul(factor) })

/** Sets of tensors by the name of their array in a formula. */
type Sets = Readonly<Record<string, DeviceTensors>>

/**
 * Sums of gradients and moving averages of parameters in device memory, by one small graph for every list of dims. Sets
 * that are combined have the same names and dims; otherwise 'invalid-data' is thrown.
 */
export class DeviceArithmetic {
  readonly #device: Device
  readonly #programs: ProgramCache

  constructor(runtime: Runtime, device: Device) {
    this.#device = device
    this.#programs = new ProgramCache(runtime, device)
  }

  /**
   * sum + factor * gradients; a null sum is 0. Both sets are consumed: released or returned. NaN times a factor of 0
   * counts as 0.
   */
  async accumulate(sum: DeviceTensors | null, gradients: DeviceTensors, factor: number): Promise<DeviceTensors> {
    if (sum === null) return this.scale(gradients, factor)
    const result = factor === 0 ? sum : await this.#compute(accumulateFormula, { sum, g: gradients }, { factor })
    if (result !== sum) release(sum)
    release(gradients)
    return result
  }

  /** factor * sum. The set is consumed. */
  async scale(sum: DeviceTensors, factor: number): Promise<DeviceTensors> {
    if (factor === 1) return sum
    const result = factor === 0 ? await this.#zeros(sum) : await this.#compute(scaleFormula, { sum }, { factor })
    release(sum)
    return result
  }

  /** decay * averages + (1 - decay) * values. The averages are consumed, the values are not. */
  async updateAverages(averages: DeviceTensors, values: DeviceTensors, decay: number): Promise<DeviceTensors> {
    const result = await this.#compute(emaFormula, { average: averages, value: values }, { oneMinusDecay: 1 - decay })
    release(averages)
    return result
  }

  /** Releases the programs. */
  release(): Promise<void> {
    return this.#programs.release()
  }

  /** Evaluates a formula of one output for every name. */
  async #compute(f: Formula, sets: Sets, scalars: Readonly<Record<string, number>>): Promise<DeviceTensors> {
    const [first] = Object.values(sets) as [DeviceTensors]
    for (const set of Object.values(sets)) checkSame(first, set)
    const names = Object.keys(first).filter((name) => !isEmpty(first[name]!))
    const results = await this.#zeros(Object.fromEntries(Object.entries(first).filter(([, x]) => isEmpty(x))))
    if (names.length === 0) return results
    const dims = names.map((name) => first[name]!.dims)
    const program = await this.#programs.get(JSON.stringify([f.outputs, dims]), () => buildGraph(f, dims))
    const feeds: Record<string, Feeds[string]> = emptyRecord()
    for (const [name, value] of Object.entries(scalars)) feeds[name] = scalarFeed(value)
    for (const [array, set] of Object.entries(sets))
      for (const [i, name] of names.entries()) feeds[`${array}/${i}`] = set[name]!
    const { device } = await program.run(feeds)
    names.forEach((name, i) => {
      results[name] = device[`result/${i}`]!
    })
    return Object.fromEntries(Object.keys(first).map((name) => [name, results[name]!]))
  }

  async #zeros(like: DeviceTensors): Promise<Record<string, DeviceTensor>> {
    const zeros: Record<string, DeviceTensor> = emptyRecord()
    for (const [name, { dims }] of Object.entries(like))
      zeros[name] = await this.#device.upload(tensor('float32', dims, new Float32Array(sizeOf(dims))))
    return zeros
  }
}

/**
 * Builds the graph of a formula for tensors of these dims: inputs `<array>/<index>` and the scalars, outputs
 * `result/<index>`.
 */
function buildGraph(f: Formula, dims: readonly (readonly number[])[]): GraphSpec {
  const scalars = Object.fromEntries(f.scalars.map((name) => [name, input(name, 'float32', [])]))
  const inputs = new Map<string, Value>(Object.entries(scalars))
  const outputs = new Map<string, Value>()
  for (const [i, shape] of dims.entries()) {
    const arrays = Object.fromEntries(f.arrays.map((name) => [name, input(`${name}/${i}`, 'float32', shape)]))
    for (const [name, value] of Object.entries(arrays)) inputs.set(`${name}/${i}`, value)
    const [result] = Object.values(formulaToOnnx(f, arrays, scalars).outputs)
    outputs.set(`result/${i}`, result!)
  }
  return { name: 'arithmetic', inputs, outputs }
}

const isEmpty = ({ dims }: DeviceTensor): boolean => sizeOf(dims) === 0

function checkSame(a: DeviceTensors, b: DeviceTensors): void {
  const dimsOf = (tensors: DeviceTensors, name: string) => getOwn(tensors, name)?.dims.join()
  const odd = [...Object.keys(a), ...Object.keys(b)].find((name) => {
    const dims = dimsOf(a, name)
    return dims === undefined || dims !== dimsOf(b, name)
  })
  if (odd !== undefined)
    throw new OnnxIreError(
      'invalid-data',
      `'${odd}' is missing in one of the two sets of tensors, or has other dims there`,
    )
}

function release(set: DeviceTensors): void {
  for (const tensor of Object.values(set)) tensor.release()
}
