import { expect } from 'vitest'
import type { DeviceResidence, ResidenceSpec } from '../../../src/backend/backend.js'
import { graphResidence } from '../../../src/backend/onnx/onnx-backend.js'
import { rankingGraph } from '../../../src/backend/onnx/ranking-graph.js'
import { modelOf } from '../../../src/onnx/export/export-graph.js'
import { encodeModel } from '../../../src/onnx/model.js'
import { adamw } from '../../../src/optim/adam.js'
import { type IreOptions, ire } from '../../../src/optim/ire/ire.js'
import type { MaskRequest } from '../../../src/optim/ire/mask.js'
import { type FlatMask, refreshMask } from '../../../src/optim/ire/mask.js'
import { initialState } from '../../../src/optim/state.js'
import type { Device, DeviceTensors } from '../../../src/runtime/device.js'
import { Random } from '../../../src/util/random.js'
import { uploaded } from './device-run.js'

const random = new Random(11)
const draw = (n: number, f: (i: number) => number) => Float32Array.from({ length: n }, (_, i) => f(i))

/** Numbers among which a threshold is hard to find, none of them below 2^-126 but 0. */
export const hard: Readonly<Record<string, Float32Array>> = {
  'of a wide range': draw(1001, () => random.normal() * Math.exp(12 * random.normal())),
  'with many ties': draw(1000, () => random.integer(5) - 2),
  'that are all equal': draw(64, () => -2.5),
  'that are 0, of both signs': draw(65, (i) => (i % 2 ? 0 : -0)),
  'most of them 0': draw(200, (i) => (i % 7 ? 0 : random.normal())),
  'that differ in their last bits': draw(500, () => 1 + random.integer(50) * 2 ** -23),
  'just below powers of two': draw(300, (i) => (2 - 2 ** -23) * 2 ** (i % 40)),
  'at the ends of what is normal': draw(
    300,
    (i) =>
      [2 ** -126, 2 ** -126 * (1 + 2 ** -23), 2 ** -103, 2 ** 127, 3.4028234663852886e38, 1][random.integer(6)]! *
      (i % 3 ? 1 : -1),
  ),
  'of which there is one': draw(1, () => -3),
  'of a length that fills no rows': draw(4099, () => random.normal()),
}

/** Numbers that a GPU may take for 0, beside some that it may not. */
export const denormal = draw(400, (i) =>
  i % 4 ? random.integer(1 << 22) * 2 ** -149 : 2 ** -126 * (1 + random.uniform()),
)

export const gammas = [0, 0.1, 0.5, 0.75, 0.9, 1 - 1e-9, 1] as const

/** One array as tensors: a matrix, a scalar where there is room for it, an empty one, the rest. */
export function tensorsOf(values: Float32Array) {
  const rows = Math.floor(values.length / 6)
  const cuts: readonly (readonly [name: string, dims: readonly number[]])[] = [
    ['matrix', [rows, 3]],
    ['empty', [0, 2]],
    ['scalar', values.length > 3 * rows + 1 ? [] : [0]],
  ]
  const arrays: Record<string, Float32Array> = {}
  const shapes: Record<string, readonly number[]> = {}
  let from = 0
  for (const [name, dims] of cuts) {
    const length = dims.reduce((a, b) => a * b, 1)
    arrays[name] = values.slice(from, from + length)
    shapes[name] = dims
    from += length
  }
  arrays['rest'] = values.slice(from)
  shapes['rest'] = [values.length - from]
  return { arrays, shapes }
}

/** Refreshes that a residence makes one after another of estimates given to it, beside those of the host. */
export class Refreshes {
  readonly #device: Device
  readonly #spec: ResidenceSpec
  readonly #residence: DeviceResidence<DeviceTensors>
  readonly #parameters: Record<string, Float32Array>
  #mask: FlatMask | null = null
  #step = 0

  static async of(device: Device, shapes: Readonly<Record<string, readonly number[]>>, options: IreOptions) {
    const optimizer = ire(adamw(), options)
    const spec: ResidenceSpec = { base: adamw(), ire: optimizer, parameters: shapes }
    const parameters = Object.fromEntries(
      Object.entries(shapes).map(([name, dims]) => [name, new Float32Array(dims.reduce((a, b) => a * b, 1))]),
    )
    const residence = await graphResidence(device, spec)
    await residence.load(parameters, initialState(optimizer, parameters))
    return new Refreshes(device, spec, residence, parameters)
  }

  private constructor(
    device: Device,
    spec: ResidenceSpec,
    residence: DeviceResidence<DeviceTensors>,
    parameters: Record<string, Float32Array>,
  ) {
    this.#device = device
    this.#spec = spec
    this.#residence = residence
    this.#parameters = parameters
  }

  get residence() {
    return this.#residence
  }

  /** The refresh of the step, of the device alone. */
  async onDevice(estimates: Record<string, Float32Array>, ranked = Object.keys(this.#spec.parameters)) {
    const placed = await uploaded(this.#device, this.#spec.parameters, estimates)
    try {
      await this.#residence.refresh(this.#refresh(ranked), placed)
    } finally {
      for (const tensor of Object.values(placed)) tensor.release()
    }
  }

  #refresh(ranked: readonly string[]): MaskRequest {
    return { ire: this.#spec.ire!, step: this.#step, batchSize: 32, ranked, what: 'estimate' }
  }

  /** Both masks of the refresh of the step, which is then over. */
  async next(estimates: Record<string, Float32Array>, ranked = Object.keys(this.#spec.parameters)) {
    const refresh = this.#refresh(ranked)
    const host = refreshMask(refresh, this.#parameters, estimates, this.#mask)
    await this.onDevice(estimates, ranked)
    const nothing = { step: refresh.step, formula: adamw().formula, tensors: [], kappa: 1, what: 'gradient' }
    await this.#residence.apply({ ...nothing, clipValue: Infinity, clipNorm: Infinity }, {})
    const state = initialState(this.#spec.ire!, this.#parameters)
    await this.#residence.store(this.#parameters, state)
    this.#mask = host
    this.#step++
    return { host, device: state.mask!, numbers: await this.#residence.numbers() }
  }
}

/** Refreshes of all these numbers for every gamma, of the magnitudes and by value: exactly the host's. */
export async function selectsAsTheHost(device: Device, values: Float32Array, shares: readonly number[] = gammas) {
  const { arrays, shapes } = tensorsOf(values)
  for (const curvature of ['sampled', 'hutchinson'] as const)
    for (const gamma of shares) {
      const refreshes = await Refreshes.of(device, shapes, { kappa: 1, gamma, curvature })
      const { host, device: there, numbers } = await refreshes.next(arrays)
      expect(there, `${curvature}, gamma ${gamma}`).toEqual(host)
      expect(numbers).toMatchObject({ flatShare: host.flatShare, zeroShare: host.zeroShare, threshold: host.threshold })
      await refreshes.residence.release()
    }
}

/** The k-th largest of an array in chunks of `most`, by value, and how many numbers are at most that. */
export async function cutIn(device: Device, values: Float32Array, most: number, k: number, signed: boolean) {
  const dims = [[Math.floor(values.length / 3)], [values.length - Math.floor(values.length / 3)]]
  const spec = rankingGraph({ dims, smoothed: false, signed }, most)
  const program = await device.compile(encodeModel(modelOf(spec)), () => true)
  const whole = (x: number) => ({ dtype: 'int32', dims: [], data: Int32Array.of(x) }) as const
  const { kept } = await program.run({
    'g/0': { dtype: 'float32', dims: dims[0]!, data: values.slice(0, dims[0]![0]) },
    'g/1': { dtype: 'float32', dims: dims[1]!, data: values.slice(dims[0]![0]) },
    k: whole(k),
    ...(signed ? { below: whole(values.length + 1 - k) } : {}),
  })
  const read = async (name: string) => [...((await device.download(kept[name]!)).data as Float32Array)]
  const [cut, ...counts] = await read('numbers')
  const n = [...(await read('n/0')), ...(await read('n/1'))]
  for (const tensor of Object.values(kept)) tensor.release()
  await program.release()
  return { cut, counts, n }
}
