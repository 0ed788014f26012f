import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DeviceArithmetic } from '../../../src/backend/onnx/device-backend.js'
import type { Runtime } from '../../../src/runtime/runtime.js'
import { webgpu } from '../../node/webgpu.js'
import {
  bases,
  createOptimizer,
  graphBases,
  ireOptions,
  pairwiseOptimizers,
  samVariants,
} from '../../optim/optimizers.js'
import { gradientOf, settings, split, start } from '../../optim/problem.js'
import { needs } from '../../requirements.js'
import { agreeWithOracle, onDevice } from '../graph-run.js'
import { agree, downloaded, shapesOf, unchanged, uploaded } from './device-run.js'

const gpuNeeded = await needs('webgpu')

describe('WebGPU in Node, with no node on the CPU', gpuNeeded, () => {
  let runtime: Runtime
  beforeAll(() => {
    runtime = webgpu({ cpuNodes: 'forbidden' })
  })
  afterAll(() => runtime.dispose())

  pairwiseOptimizers().forEach(([name, spec], i) => {
    const context = i % 2 === 0 ? { settings, clipNorm: 2, clipValue: 1 } : {}
    test(`${name} > 10 steps > equal the host`, async () => {
      await agree(runtime.device!, createOptimizer(spec), context, 10)
    })
  })

  for (const [name, spec] of pairwiseOptimizers(graphBases))
    test(`${name} > equals the reference implementation`, async () => {
      await agreeWithOracle(onDevice(runtime, runtime.device!), spec)
    })

  for (const [name, variant] of Object.entries(samVariants))
    test(`${name} > 10 steps > equal the host`, async () => {
      const optimizer = createOptimizer({ base: bases['adamw']!, sam: variant, ire: ireOptions })
      await agree(runtime.device!, optimizer, { settings, clipNorm: 2 }, 10, 1e-4)
    })

  test('non-finite gradient > changes nothing', async () => {
    for (const bad of [Number.NaN, Infinity]) await unchanged(runtime.device!, bad)
  })

  test('sums and averages > equal the host', async () => {
    const device = runtime.device!
    const arithmetic = new DeviceArithmetic(runtime, device)
    const [theta, g] = [split(start, Float32Array), split(gradientOf(start), Float32Array)]
    const placed = () => uploaded(device, shapesOf(theta), g)
    const sum = await arithmetic.accumulate(await arithmetic.accumulate(null, await placed(), 2), await placed(), 0.5)
    const average = await arithmetic.updateAverages(await uploaded(device, shapesOf(theta), theta), sum, 0.75)
    for (const [name, array] of Object.entries(await downloaded(device, average)))
      array.forEach((x, i) => {
        expect(x).toBeCloseTo(0.75 * theta[name]![i]! + 0.25 * 2.5 * g[name]![i]!, 5)
      })
    await arithmetic.release()
  })
})
