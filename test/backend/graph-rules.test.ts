import { afterAll, describe, expect, test } from 'vitest'
import { GraphUpdates } from '../../src/backend/graph-updates.js'
import { takeStep } from '../../src/backend/step.js'
import { node } from '../../src/node/index.js'
import { adamw8bit } from '../../src/optim/adamw8bit.js'
import { createMoment, type GraphRule } from '../../src/optim/base-optimizer.js'
import { createBaseOptimizer } from '../../src/optim/registry.js'
import { initialState } from '../../src/optim/state.js'
import { allocate, type Runtime } from '../../src/runtime/runtime.js'
import { OnnxIreError } from '../../src/util/errors.js'
import { graphBases, ireOptions, type OptimizerSpec, pairwiseOptimizers } from '../optim/optimizers.js'
import type { OracleOptions } from '../optim/oracle.js'
import { nameOf, settings, split, start } from '../optim/problem.js'
import { agreeWithOracle, onDevice, onHost, steps } from './graph-run.js'
import { hostDevice } from './onnx/host-device.js'

const runtime = node({ threads: 1, worker: false })
afterAll(() => runtime.dispose())

const specs = pairwiseOptimizers(graphBases)

for (const [where, run] of [
  ['host arrays', (...of) => agreeWithOracle(onHost(runtime), ...of)],
  ['a device', (...of) => agreeWithOracle(onDevice(runtime, hostDevice(runtime)), ...of)],
] as const satisfies readonly [string, (spec: OptimizerSpec, extra?: Partial<OracleOptions>) => Promise<string>][])
  describe(`rules that are graphs, on ${where} > ${steps} steps > equal the reference implementation`, () => {
    const ends = new Set<string>()
    for (const [name, spec] of specs)
      test(name, async () => {
        ends.add(await run(spec))
      })
    test('all optimizers > end of the trajectory > differs for each', () => {
      expect(ends.size).toBe(specs.length)
    })
    for (const [name, base] of Object.entries(graphBases))
      test(`${name} > clipping and settings`, async () => {
        const spec = { base, sam: { rho: 0.1 }, ire: { ...ireOptions, beta: 0.6 } }
        await run(spec, { clip: 2, clipValue: 1, group: (i) => settings[nameOf(i)] ?? {} })
      })
  })

test('plain arrays without a runtime > are rejected', async () => {
  const parameters = split(start, Float32Array)
  for (const base of Object.values(graphBases)) {
    const optimizer = createBaseOptimizer(base)
    expect(() => initialState(optimizer, parameters)).toThrow(expect.objectContaining({ code: 'invalid-option' }))
    const state = { step: 0, moments: {}, mask: null }
    await expect(takeStep(optimizer, parameters, state, () => ({ gradients: parameters }))).rejects.toMatchObject({
      code: 'invalid-option',
    })
  }
})

test('an update that does not compile > is compiled again at the next call, and the others are released', async () => {
  let failures = 1
  const released: string[] = []
  const program = { inputNames: [], outputNames: [], run: async () => ({}) }
  const faulty: Runtime = {
    allocate,
    provider: 'cpu',
    description: 'a runtime whose first compilation fails',
    compile: async () => {
      if (failures-- > 0) throw new OnnxIreError('runtime', 'no memory')
      return { ...program, release: async () => void released.push('a program') }
    },
    dispose: async () => {},
  }
  const updates = new GraphUpdates(faulty)
  const dims = [64, 64]
  const rule = adamw8bit({ lr: 0.01 }).ruleOf!({ dims, matrix: null }) as GraphRule
  const theta = new Float32Array(64 * 64)
  const moments = rule.moments.map((moment) => [moment, createMoment(rule, moment, theta)] as const)
  const scalars = { ...rule.coefficients(0, 0.01, 0.01, {}), scale: 1, limit: Infinity }
  const arrays = { theta, g: theta, ...Object.fromEntries(moments) }
  const update = () => updates.compute({ name: 'w', rule, arrays, mask: undefined, scalars }, dims)
  await expect(update()).rejects.toThrow('no memory')
  expect(await update()).toEqual({})
  await updates.release()
  expect(released).toEqual(['a program'])
})
