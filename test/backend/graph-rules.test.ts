import { afterAll, describe, expect, test } from 'vitest'
import { takeStep } from '../../src/backend/step.js'
import { node } from '../../src/node/index.js'
import { createBaseOptimizer } from '../../src/optim/registry.js'
import { initialState } from '../../src/optim/state.js'
import { graphBases, ireOptions, type OptimizerSpec, pairwiseOptimizers } from '../optim/optimizers.js'
import type { OracleOptions } from '../optim/oracle.js'
import { nameOf, split, start } from '../optim/problem.js'
import { agreeWithOracle, onDevice, onHost, settings, steps } from './graph-run.js'
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
