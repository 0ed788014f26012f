import { afterAll, describe, expect, it } from 'vitest'
import { estimateRun } from '../../src/analysis/inspect/run-memory.js'
import { HostBackend } from '../../src/backend/host.js'
import { runStep } from '../../src/backend/step.js'
import { input, op, parameter } from '../../src/graph/index.js'
import { adafactor, adamw, adamw8bit, crossEntropy, ire, type Optimizer } from '../../src/index.js'
import { node } from '../../src/node/index.js'
import { type BaseOptimizer, createRules } from '../../src/optim/base-optimizer.js'
import { initialState } from '../../src/optim/state.js'
import { agreeWithOracle, onDevice } from '../backend/graph-run.js'
import { hostDevice } from '../backend/onnx/host-device.js'
import { graphBases, ireOptions } from '../optim/optimizers.js'
import { modelFrom } from './problem.js'

const runtime = node({ threads: 1, worker: false })
afterAll(() => runtime.dispose())

/** Parameters after steps on host arrays, from sin(i). */
async function trajectory(
  optimizer: BaseOptimizer,
  dims: readonly number[],
  steps: number,
  gradient: (i: number, t: number, w: number) => number,
) {
  const length = dims.reduce((a, b) => a * b, 1)
  const rules = createRules(optimizer, { w: { dims, matrix: null } })
  const parameters = { w: Float32Array.from({ length }, (_, i) => Math.sin(i)) }
  const state = initialState(optimizer, parameters, rules)
  const values = new Map([['w', input('w', 'float32', dims)]])
  const backend = new HostBackend(runtime, { optimizer, parameters: values, rules })
  backend.load({ parameters, optimizer: state })
  for (let t = 0; t < steps; t++)
    await runStep(backend, optimizer, t, () => ({ gradients: { w: parameters.w.map((w, i) => gradient(i, t, w)) } }))
  await backend.dispose()
  return { w: parameters.w, state }
}

describe('Adafactor > three updates > equal PyTorch 2.15', () => {
  const cases: readonly (readonly [string, BaseOptimizer, readonly number[], number[]])[] = [
    [
      'matrix',
      adafactor(),
      [3, 5],
      [
        -0.005832, 0.84998, 0.898206, 0.154607, -0.772384, -0.940958, -0.298326, 0.676416, 0.969921, 0.430978,
        -0.565261, -0.982436, -0.549627, 0.4279, 0.988882,
      ],
    ],
    [
      'vector',
      adafactor({ lr: 0.1, weightDecay: 0.1 }),
      [6],
      [-0.073601, 0.911696, 0.765872, 0.273769, -0.890456, -0.75642],
    ],
  ]
  for (const [name, optimizer, dims, expected] of cases)
    it(name, async () => {
      const { w } = await trajectory(optimizer, dims, 3, (i, t) => Math.cos(3 * i + t))
      for (const [i, x] of expected.entries()) expect(w[i]).toBeCloseTo(x, 5)
    })
})

describe('AdamW with 8 bits', () => {
  const noisy = (i: number, t: number, w: number) =>
    Math.exp(3 * Math.sin(5 * i)) * (w - Math.cos(i)) + 0.3 * Math.sin(7 * i * (t + 1))

  it('300 updates > end as near the minimum as AdamW', async () => {
    const options = { lr: 0.03, weightDecay: 0 }
    const distance = ({ w }: { w: Float32Array }) =>
      Math.sqrt(w.reduce((sum, x, i) => sum + (x - Math.cos(i)) ** 2, 0) / w.length)
    const eight = await trajectory(adamw8bit(options), [64, 65], 300, noisy)
    const exact = await trajectory(adamw8bit({ ...options, minSize: 1e9 }), [64, 65], 300, noisy)
    expect(eight.state.moments['firstMomentBytes']!['w']).toBeInstanceOf(Uint8Array)
    expect(Object.keys(exact.state.moments)).toEqual(['firstMoment', 'secondMoment'])
    expect(Math.max(...eight.w.map((x, i) => Math.abs(x - exact.w[i]!)))).toBeGreaterThan(1e-6)
    expect(distance(exact)).toBeLessThan(0.2) // 1 at the start
    expect(distance(eight)).toBeLessThan(1.02 * distance(exact))
  })

  it('graphs lowered for WebGPU > equal the reference implementation', async () => {
    const lowered = onDevice({ ...runtime, provider: 'webgpu' }, hostDevice(runtime))
    await agreeWithOracle(lowered, { base: graphBases['adamw-8bit']!, sam: { rho: 0.1 }, ire: ireOptions })
  })
})

it('memory of a run > 5 bytes and a scale per block with 8 bits, rows and columns with Adafactor', () => {
  const x = input('x', 'float32', ['batch', 64])
  const w = parameter('w', { dtype: 'float32', dims: [64, 80], data: new Float32Array(64 * 80) })
  const model = modelFrom({
    name: 'm',
    inputs: new Map([['x', x]]),
    outputs: new Map([['y', op.MatMul(x, w)]]),
  } as never)
  const stateBytes = (optimizer: Optimizer) =>
    estimateRun(model, { loss: crossEntropy(), optimizer }, { x: [2, 64], labels: [2] })!.optimizer
  expect(stateBytes(adamw())).toBe(8 * 5120)
  expect(stateBytes(adamw8bit())).toBe(5 * 5120 + 4 * 20)
  expect(stateBytes(adafactor())).toBe(4 * (64 + 80))

  // An update by a graph holds several arrays of the tensor's size, one by a formula none. Measured with a tensor of
  // 2048 x 2048: 28 bytes per element with Adafactor, 65 with 8 bits (docs/optimizers.md).
  const updateBytes = (optimizer: Optimizer) =>
    estimateRun(model, { loss: crossEntropy(), optimizer }, { x: [2, 64], labels: [2] })!.update
  expect(updateBytes(adamw())).toBe(0)
  for (const [optimizer, measured] of [
    [adafactor(), 28],
    [adamw8bit(), 65],
  ] as const) {
    expect(updateBytes(optimizer) / 5120).toBeGreaterThan(0.5 * measured)
    expect(updateBytes(optimizer) / 5120).toBeLessThan(1.5 * measured)
    // The mask is one input more.
    expect(updateBytes(ire(optimizer))).toBeGreaterThan(updateBytes(optimizer))
  }
})
