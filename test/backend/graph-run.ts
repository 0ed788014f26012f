import { expect } from 'vitest'
import type { TensorMap, TrainingBackend } from '../../src/backend/backend.js'
import { HostBackend } from '../../src/backend/host.js'
import { OnnxBackend } from '../../src/backend/onnx/onnx-backend.js'
import { runStep } from '../../src/backend/step.js'
import { input } from '../../src/ir/leaf.js'
import { createRules, type TrainedTensor } from '../../src/optim/base-optimizer.js'
import { type Optimizer, unwrap } from '../../src/optim/optimizer.js'
import { createBaseOptimizer } from '../../src/optim/registry.js'
import { initialState, loadState, saveState } from '../../src/optim/state.js'
import type { Device } from '../../src/runtime/device.js'
import type { Runtime } from '../../src/runtime/runtime.js'
import { createOptimizer, type OptimizerSpec } from '../optim/optimizers.js'
import { type OracleOptions, oracleTrajectory } from '../optim/oracle.js'
import { curvatureOf, flatten, gradientOf, hessianOf, lrFactorOf, settings, split, start } from '../optim/problem.js'
import { downloaded, shapesOf, uploaded } from './onnx/device-run.js'

/** Number of steps of `agreeWithOracle`. */
export const steps = 16
const lrFactor = lrFactorOf(steps)
const shapes = shapesOf(split(start, Float32Array))
const tensors: Record<string, TrainedTensor> = Object.fromEntries(
  Object.entries(shapes).map(([name, dims]) => [
    name,
    { dims, matrix: name === 'embedding' ? { rows: 4, columns: 3, outputs: 'rows' } : null },
  ]),
)

const oracleOptions = ({ base, sam, ire }: OptimizerSpec): OracleOptions => {
  const { lr, weightDecay, options } = createBaseOptimizer(base)
  return {
    base: { ...options, kind: base.kind, lr, weightDecay },
    sam: sam ? { rho: sam.rho!, adaptive: sam.adaptive ?? false } : null,
    ire: ire ? { kappa: 1, gamma: 0.6, interval: 10, warmup: 0, beta: 0, kappaDecay: false, ...ire } : null,
  }
}

/** Functions by which a test reads and feeds a backend. */
export interface Access<T extends TensorMap> {
  readonly create: (optimizer: Optimizer) => TrainingBackend<T>
  readonly read: (tensors: T) => Promise<ReturnType<typeof split>>
  readonly write: (arrays: ReturnType<typeof split>) => Promise<T>
}

const specOf = (optimizer: Optimizer) => ({
  optimizer,
  parameters: new Map(Object.entries(shapes).map(([name, dims]) => [name, input(name, 'float32', dims)] as const)),
  rules: createRules(unwrap(optimizer).base, tensors),
})
/** Host arrays of a runtime. */
export const onHost = (runtime: Runtime): Access<ReturnType<typeof split>> => ({
  create: (optimizer) => new HostBackend(runtime, specOf(optimizer)),
  read: async (arrays) => arrays,
  write: async (arrays) => arrays,
})
/** ONNX graphs on a device. */
export const onDevice = (runtime: Runtime, device: Device): Access<Awaited<ReturnType<typeof uploaded>>> => ({
  create: (optimizer) => new OnnxBackend(runtime, device, specOf(optimizer)),
  read: (set) => downloaded(device, set),
  write: (arrays) => uploaded(device, shapes, arrays),
})

/** Compares every step of an optimizer whose rules are graphs with the reference implementation. */
export async function agreeWithOracle<T extends TensorMap>(
  access: Access<T>,
  spec: OptimizerSpec,
  extra: Partial<OracleOptions> = {},
): Promise<string> {
  const optimizer = createOptimizer(spec)
  const options = { ...oracleOptions(spec), ...extra }
  const store = Math.fround
  const gradient = (x: readonly number[]) => gradientOf(x).map(store)
  const estimate = options.ire?.curvature === 'hutchinson' ? hessianOf : curvatureOf
  const curvature = (x: readonly number[]) => estimate(x).map(store)
  const layout = Object.entries(split(start, Float32Array)).map(([name, { length }]) => ({ length, ...tensors[name]! }))
  const problem = { start: start.map(store), gradient, curvature, lrFactor, store, tensors: layout }
  const expected = oracleTrajectory(options, problem, steps)

  const parameters = split(start, Float32Array)
  let state = initialState(optimizer, parameters, createRules(unwrap(optimizer).base, tensors))
  let backend = access.create(optimizer)
  await backend.load({ parameters, optimizer: state })
  for (let t = 0; t < steps; t++) {
    if (t === 11) {
      // A state that was saved and loaded continues the same trajectory.
      await backend.download({ parameters, optimizer: state })
      await backend.dispose()
      state = loadState(optimizer, parameters, structuredClone(saveState(state)), backend.rules)
      backend = access.create(optimizer)
      await backend.load({ parameters, optimizer: state })
    }
    const context = {
      lrFactor: lrFactor(t),
      ...(options.clip === undefined ? {} : { clipNorm: options.clip }),
      ...(options.clipValue === undefined ? {} : { clipValue: options.clipValue }),
      ...(options.group ? { settings } : {}),
    }
    await runStep(
      backend,
      optimizer,
      t,
      async (kind, at) => {
        const gradients = split(
          (kind === 'curvature' ? curvature : gradient)(flatten(await access.read(at))),
          Float32Array,
        )
        return { gradients: await access.write(gradients) }
      },
      context,
    )
    const got = flatten(await access.read(backend.parameters))
    const worst = Math.max(...expected[t]!.map((x, i) => Math.abs(got[i]! - x) / Math.max(Math.abs(x), 0.1)))
    expect(worst, `step ${t}`).toBeLessThan(2e-5)
  }
  await backend.dispose()
  const end = expected.at(-1)!
  expect(Math.max(...end.map((x, i) => Math.abs(x - start[i]!)))).toBeGreaterThan(0.02)
  return end.map((x) => x.toFixed(5)).join()
}
