import { input } from '../../ir/leaf.js'
import { sizeOf, tensor } from '../../ir/tensor.js'
import type { Value } from '../../ir/value.js'
import type { GraphSpec } from '../../onnx/export/export-graph.js'
import { add, array, type Formula, formula, mul, scalar } from '../../optim/expr/expr.js'
import { formulaToOnnx } from '../../optim/expr/onnx.js'
import { movedAverage } from '../../optim/update-formulas.js'
import type { Device, DeviceTensor, DeviceTensors, Feeds } from '../../runtime/device.js'
import { OnnxIreError } from '../../util/errors.js'
import { number } from './feeds.js'
import { Programs } from './programs.js'

const [sum, g, factor] = [array('sum'), array('g'), scalar('factor')]
const accumulated = formula({ sum: add(sum, mul(factor, g)) })
const scaled = formula({ sum: mul(factor, sum) })

/** Sets of tensors by the name of the array they are in a formula. */
type Sets = Readonly<Record<string, DeviceTensors>>

/**
 * Sums of gradients and averages of parameters that stay on a device, by one small graph for every list of dims. Sets that
 * are added or averaged have the same names and dims; 'invalid-data' where they have not.
 */
export class DeviceArithmetic {
  readonly #device: Device
  readonly #programs: Programs

  constructor(device: Device) {
    this.#device = device
    this.#programs = new Programs(device)
  }

  /**
   * sum + factor gradients; no sum is 0. Both are given up: they are released, or returned. What counts for nothing (factor
   * 0) may be not a number.
   */
  async accumulate(sum: DeviceTensors | null, gradients: DeviceTensors, factor: number): Promise<DeviceTensors> {
    if (sum === null) return this.scale(gradients, factor)
    const result = factor === 0 ? sum : await this.#computed(accumulated, { sum, g: gradients }, { factor })
    if (result !== sum) release(sum)
    release(gradients)
    return result
  }

  /** factor sum; `sum` is given up. */
  async scale(sum: DeviceTensors, factor: number): Promise<DeviceTensors> {
    if (factor === 1) return sum
    const result = factor === 0 ? await this.#zeros(sum) : await this.#computed(scaled, { sum }, { factor })
    release(sum)
    return result
  }

  /** decay average + (1 - decay) value: the exponential moving average of weights. `average` is given up, `value` is not. */
  async average(average: DeviceTensors, value: DeviceTensors, decay: number): Promise<DeviceTensors> {
    const result = await this.#computed(movedAverage, { average, value }, { take: 1 - decay })
    release(average)
    return result
  }

  /** Frees the programs. */
  release(): Promise<void> {
    return this.#programs.release()
  }

  /** What a formula of one output gives for every name. */
  async #computed(f: Formula, sets: Sets, scalars: Readonly<Record<string, number>>): Promise<DeviceTensors> {
    const [first] = Object.values(sets) as [DeviceTensors]
    for (const set of Object.values(sets)) checkSame(first, set)
    const names = Object.keys(first).filter((name) => !isEmpty(first[name]!))
    const results = await this.#zeros(Object.fromEntries(Object.entries(first).filter(([, x]) => isEmpty(x))))
    if (names.length === 0) return results
    const dims = names.map((name) => first[name]!.dims)
    const program = await this.#programs.get(JSON.stringify([f.outputs, dims]), () => graphOf(f, dims))
    const feeds: Record<string, Feeds[string]> = {}
    for (const [name, value] of Object.entries(scalars)) feeds[name] = number(value)
    for (const [array, set] of Object.entries(sets))
      for (const [i, name] of names.entries()) feeds[`${array}/${i}`] = set[name]!
    const { kept } = await program.run(feeds)
    names.forEach((name, i) => {
      results[name] = kept[`result/${i}`]!
    })
    return Object.fromEntries(Object.keys(first).map((name) => [name, results[name]!]))
  }

  async #zeros(like: DeviceTensors): Promise<Record<string, DeviceTensor>> {
    const zeros: Record<string, DeviceTensor> = {}
    for (const [name, { dims }] of Object.entries(like))
      zeros[name] = await this.#device.upload(tensor('float32', dims, new Float32Array(sizeOf(dims))))
    return zeros
  }
}

/** Inputs `<array>/<number>` and the formula's scalars; outputs `result/<number>`. */
function graphOf(f: Formula, dims: readonly (readonly number[])[]): GraphSpec {
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
  const odd = [...Object.keys(a), ...Object.keys(b)].find(
    (name) => !a[name] || !b[name] || a[name].dims.join() !== b[name].dims.join(),
  )
  if (odd !== undefined)
    throw new OnnxIreError('invalid-data', `'${odd}' is not in both sets of tensors, or has other dims in one of them`)
}

function release(set: DeviceTensors): void {
  for (const tensor of Object.values(set)) tensor.release()
}
