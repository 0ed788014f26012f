import { afterAll, expect, test } from 'vitest'
import { DeviceArithmetic } from '../../../src/backend/onnx/device-backend.js'
import { node } from '../../../src/node/index.js'
import type { ParameterArrays } from '../../../src/optim/arrays.js'
import { updateAverages } from '../../../src/optim/ema.js'
import { gradientOf, split, start } from '../../optim/problem.js'
import { downloaded, shapesOf, uploaded } from './device-run.js'
import { hostDevice } from './host-device.js'

const runtime = node({ threads: 1, worker: false })
const device = hostDevice(runtime)
const arithmetic = new DeviceArithmetic(runtime, device)
afterAll(async () => {
  await arithmetic.release()
  await runtime.dispose()
})

const placed = (arrays: ParameterArrays) => uploaded(device, shapesOf(arrays), arrays)
const theta = () => split(start, Float32Array)
const g = () => split(gradientOf(start), Float32Array)

function expectClose(got: Record<string, Float32Array>, wanted: Record<string, ArrayLike<number>>): void {
  expect(Object.keys(got)).toEqual(Object.keys(wanted))
  for (const [name, array] of Object.entries(wanted)) {
    expect(got[name]).toHaveLength(array.length)
    for (const [i, x] of got[name]!.entries())
      expect(Math.abs(x - array[i]!)).toBeLessThan(1e-6 * (1 + Math.abs(array[i]!)))
  }
}

test('accumulate and scale > gradients of micro-batches > returns the weighted sum', async () => {
  let sum = await arithmetic.accumulate(null, await placed(g()), 3)
  sum = await arithmetic.accumulate(sum, await placed(theta()), 0.25)
  sum = await arithmetic.scale(sum, 0.5)
  const wanted = Object.fromEntries(
    Object.entries(g()).map(([name, array]) => [name, array.map((x, i) => 0.5 * (3 * x + 0.25 * theta()[name]![i]!))]),
  )
  expectClose(await downloaded(device, sum), wanted)
})

test('accumulate and scale > factor 0 for NaN > counts as 0', async () => {
  const spoilt = () =>
    Object.fromEntries(Object.entries(g()).map(([name, array]) => [name, array.map(() => Number.NaN)]))
  let sum = await arithmetic.accumulate(null, await placed(spoilt()), 0)
  sum = await arithmetic.accumulate(sum, await placed(g()), 1)
  sum = await arithmetic.accumulate(sum, await placed(spoilt()), 0)
  expect(await downloaded(device, sum)).toEqual(g())
  expectClose(
    await downloaded(device, await arithmetic.scale(await placed(spoilt()), 0)),
    Object.fromEntries(Object.entries(g()).map(([name, array]) => [name, new Float32Array(array.length)])),
  )
})

test('updateAverages > 20 updates > equals the host; consumed sets are released, values are not', async () => {
  const host = theta()
  const trained = await placed(g())
  let averages = await placed(theta())
  for (let t = 0; t < 20; t++) {
    const before = averages
    averages = await arithmetic.updateAverages(averages, trained, 0.9)
    updateAverages(host, g(), 0.9)
    await expect(device.download(before['bias']!)).rejects.toMatchObject({ code: 'runtime' })
  }
  expectClose(await downloaded(device, averages), host)
  expect(await downloaded(device, trained)).toEqual(g())
})

test('accumulate > sets of different names > rejects, sets unchanged', async () => {
  const { bias: _, ...others } = g()
  const [sum, part] = [await placed(theta()), await placed(others)]
  await expect(arithmetic.accumulate(sum, part, 1)).rejects.toThrow("'bias' is missing in one of the two sets")
  expect(await downloaded(device, sum)).toEqual(theta())
})
