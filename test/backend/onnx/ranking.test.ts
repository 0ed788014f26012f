import { afterAll, describe, expect, test } from 'vitest'
import { cApi, node } from '../../../src/node/index.js'
import type { Device } from '../../../src/runtime/device.js'
import { Random } from '../../../src/util/random.js'
import { webgpu } from '../../node/webgpu.js'
import { needs } from '../../requirements.js'
import { hostDevice } from './host-device.js'
import { cutIn, denormal, gammas, hard, Refreshes, selectsAsTheHost, tensorsOf } from './ranking-run.js'

const cpu = node({ threads: 1, worker: false })
const native = cApi({ threads: 1, resident: true })
const gpuNeeded = await needs('webgpu')
const gpu = gpuNeeded.skip ? undefined : webgpu({ cpuNodes: 'refused', ranking: 'device' })
afterAll(async () => {
  await cpu.dispose()
  await native.dispose()
  await gpu?.dispose()
})

const random = new Random(5)
const normal = (length: number) => random.fill(new Float32Array(length), 'normal')
const places: readonly [string, Device | undefined, readonly number[]][] = [
  ['a device made of the CPU', hostDevice(cpu), gammas],
  ["onnxruntime's C API", native.device, gammas],
  ["Node's WebGPU, with no node on the CPU", gpu?.device, [0.1, 0.75, 1]],
]

describe.each(places)('a mask made on %s is the host’s', (_, device, shares) => {
  const needed = device ? {} : gpuNeeded
  test.each(Object.entries(hard))('of numbers %s', needed, async (_, values) => {
    await selectsAsTheHost(device!, values, shares)
  })

  test('over chunks: counts are added as integers', needed, async () => {
    const values = normal(1000)
    for (const signed of [false, true]) {
      const sorted = [...values].map((x) => (signed ? x : Math.abs(x))).sort((a, b) => b - a)
      for (const k of [1, 200, 400, 777, 1000]) {
        const { cut, counts, n } = await cutIn(device!, values, 64, k, signed)
        expect(cut).toBe(sorted[k - 1])
        expect(n).toEqual([...values].map((x) => Number((signed ? x : Math.abs(x)) <= cut!)))
        // 15 chunks of 64 and one of 40, all finite.
        expect(counts.filter((_, i) => i % 3 === 2)).toEqual([...Array(15).fill(64), 40])
        expect(counts.filter((_, i) => i % 3 === 0).reduce((sum, x) => sum + x)).toBe(1001 - k)
      }
    }
  })

  test('with smoothing over three refreshes, of tensors that come and go', needed, async () => {
    const { shapes } = tensorsOf(normal(100))
    for (const curvature of ['sampled', 'hutchinson'] as const) {
      const refreshes = await Refreshes.of(device!, shapes, { kappa: 1, gamma: 0.6, beta: 0.7, curvature })
      for (const ranked of [['rest', 'empty'], Object.keys(shapes), ['matrix', 'scalar'], Object.keys(shapes)]) {
        const { host, device: there } = await refreshes.next(tensorsOf(normal(100)).arrays, ranked)
        // A GPU may round F once where the host does twice, and the threshold is one of them.
        for (const [name, F] of Object.entries(host.curvature!))
          F.forEach((x, i) => {
            expect(Math.abs(there.curvature![name]![i]! - x)).toBeLessThanOrEqual(1e-6 * Math.abs(x))
          })
        expect(there.threshold).toBeCloseTo(host.threshold, 5)
        expect({ ...there, curvature: null, threshold: 0 }).toEqual({ ...host, curvature: null, threshold: 0 })
      }
      await refreshes.residence.release()
    }
  })

  test('and refuses what is not finite, naming it, as the host does', needed, async () => {
    for (const curvature of ['sampled', 'hutchinson'] as const)
      for (const beta of [0, 0.5])
        for (const bad of [Number.NaN, Infinity, -Infinity]) {
          const { arrays, shapes } = tensorsOf(normal(50))
          const refreshes = await Refreshes.of(device!, shapes, { kappa: 1, gamma: 0.5, curvature, beta })
          arrays['rest']![3] = bad
          await expect(refreshes.onDevice(arrays)).rejects.toMatchObject({ code: 'not-finite' })
          await expect(refreshes.onDevice(arrays)).rejects.toThrow(
            `step 0: the estimate of 'rest' is ${bad} at element 3 of 25`,
          )
          arrays['rest']![3] = 1
          const { host, device: there } = await refreshes.next(arrays)
          expect(there.flat).toEqual(host.flat)
          await refreshes.residence.release()
        }
    const { arrays, shapes } = tensorsOf(normal(50))
    arrays['matrix']![2] = 1e25
    const refreshes = await Refreshes.of(device!, shapes, { kappa: 1, gamma: 0.5, beta: 0.5 })
    await expect(refreshes.onDevice(arrays)).rejects.toThrow(
      /curvature estimate F of 'matrix' is Infinity at element 2/,
    )
    await refreshes.residence.release()
  })
})

test('numbers below 2^-126 are ranked too, where they are numbers', async () => {
  await selectsAsTheHost(hostDevice(cpu), denormal)
  await selectsAsTheHost(native.device!, denormal)
})

test('and all 0 where the GPU takes them for that', gpuNeeded, async () => {
  const [exact, flushed] = [tensorsOf(denormal), tensorsOf(denormal.map((x) => (Math.abs(x) < 2 ** -126 ? 0 : x)))]
  for (const gamma of [0.1, 0.75, 0.9]) {
    const options = { kappa: 1, gamma }
    const there = await (await Refreshes.of(gpu!.device!, exact.shapes, options)).next(exact.arrays)
    const zeros = await (await Refreshes.of(hostDevice(cpu), exact.shapes, options)).next(flushed.arrays)
    expect([there.host, zeros.host]).toContainEqual(there.device)
  }
})
