import { OnnxIreError } from '../errors.js'
import { add, array, type Formula, formula, mul, scalar, sub } from '../formula/formula.js'
import { formulaGraph } from '../formula/graph.js'
import { input } from '../ir/leaf.js'
import { sizeOf, tensor } from '../ir/tensor.js'
import type { Value } from '../ir/value.js'
import type { GraphSpec } from '../onnx/export.js'
import type { Device, DeviceTensor, DeviceTensors, Feeds } from '../runtime/device.js'
import { number } from './graph-residence/feeds.js'
import { Programs } from './graph-residence/programs.js'

const [x, y, factor] = [array('x'), array('y'), scalar('factor')]
const scaled = formula({ result: mul(factor, x) })
const accumulated = formula({ result: add(x, mul(factor, y)) })
const averaged = formula({ result: add(mul(scalar('decay'), x), mul(sub(1, scalar('decay')), y)) })

/**
 * Sums of gradients and averages of parameters that stay on a device, by small graphs, one for every set of names and dims.
 * The sets that are summed or averaged have the same names; 'invalid-data' where they have not.
 */
export class DeviceArithmetic {
  readonly #device: Device
  readonly #programs: Programs

  constructor(device: Device) {
    this.#device = device
    this.#programs = new Programs(device)
  }

  /**
   * sum + factor g; no sum is 0. Both are given up: they are released. What counts for nothing (factor 0) may be not a number.
   */
  async accumulate(sum: DeviceTensors | null, g: DeviceTensors, factor: number): Promise<DeviceTensors> {
    if (factor !== 0) return this.#replaced(sum ? accumulated : scaled, sum ? [sum, g] : [g], { factor })
    const result = sum ?? (await this.#zeros(g))
    release(g)
    return result
  }

  /** factor sum; `sum` is given up. */
  async scale(sum: DeviceTensors, factor: number): Promise<DeviceTensors> {
    if (factor !== 0) return this.#replaced(scaled, [sum], { factor })
    const result = await this.#zeros(sum)
    release(sum)
    return result
  }

  /** decay average + (1 - decay) theta: the exponential moving average of weights. `average` is given up, `theta` is not. */
  async average(average: DeviceTensors, theta: DeviceTensors, decay: number): Promise<DeviceTensors> {
    const result = await this.#computed(averaged, [average, theta], { decay })
    release(average)
    return result
  }

  /** Frees the programs. */
  release(): Promise<void> {
    return this.#programs.release()
  }

  async #replaced(f: Formula, sets: readonly DeviceTensors[], scalars: Readonly<Record<string, number>>) {
    const result = await this.#computed(f, sets, scalars)
    for (const set of sets) release(set)
    return result
  }

  /** A formula of x, and of y where there is a second set, for every name. */
  async #computed(
    f: Formula,
    sets: readonly DeviceTensors[],
    scalars: Readonly<Record<string, number>>,
  ): Promise<DeviceTensors> {
    const names = Object.keys(sets[0]!)
    for (const set of sets) checkSame(sets[0]!, set)
    const dims = names.map((name) => sets[0]![name]!.dims)
    const full = names.filter((_, i) => sizeOf(dims[i]!) > 0)
    const kept: Record<string, DeviceTensor> = {}
    if (full.length > 0) {
      const key = JSON.stringify([f.outputs, dims])
      const program = await this.#programs.get(key, () => graphOf(f, dims))
      const feeds: Record<string, Feeds[string]> = {}
      for (const [name, value] of Object.entries(scalars)) feeds[name] = number(value)
      sets.forEach((set, k) => {
        for (const [i, name] of names.entries()) if (sizeOf(dims[i]!) > 0) feeds[`${['x', 'y'][k]}/${i}`] = set[name]!
      })
      Object.assign(kept, (await program.run(feeds)).kept)
    }
    const results: [string, DeviceTensor][] = []
    for (const [i, name] of names.entries()) results.push([name, kept[`result/${i}`] ?? (await this.#zero(dims[i]!))])
    return Object.fromEntries(results)
  }

  async #zeros(like: DeviceTensors): Promise<DeviceTensors> {
    const zeros: Record<string, DeviceTensor> = {}
    for (const [name, { dims }] of Object.entries(like)) zeros[name] = await this.#zero(dims)
    return zeros
  }

  #zero(dims: readonly number[]): Promise<DeviceTensor> {
    return this.#device.upload(tensor('float32', dims, new Float32Array(sizeOf(dims))))
  }
}

/** Inputs `x/<number>`, `y/<number>` and the formula's scalars; outputs `result/<number>`. Tensors without elements are left out. */
function graphOf(f: Formula, dims: readonly (readonly number[])[]): GraphSpec {
  const scalars = Object.fromEntries(f.scalars.map((name) => [name, input(name, 'float32', [])]))
  const inputs = new Map<string, Value>(Object.entries(scalars))
  const outputs = new Map<string, Value>()
  dims.forEach((shape, i) => {
    if (sizeOf(shape) === 0) return
    const arrays = Object.fromEntries(f.arrays.map((name) => [name, input(`${name}/${i}`, 'float32', shape)]))
    for (const [name, value] of Object.entries(arrays)) inputs.set(`${name}/${i}`, value)
    outputs.set(`result/${i}`, formulaGraph(f, arrays, scalars).outputs['result']!)
  })
  return { name: 'arithmetic', inputs, outputs }
}

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
