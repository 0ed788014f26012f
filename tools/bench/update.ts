import { adamw, ire, type Optimizer } from 'onnx-ire'
import { Random } from 'onnx-ire/data'
import { initialState } from 'onnx-ire/optim'
import { HostStepBackend } from '../../dist/backend/host.js'
import { runStep } from '../../dist/backend/step.js'
import { allocateIn, createWasmMemory, type WasmMemory } from '../../dist/ir/wasm-memory.js'
import { HelperThreads } from '../../dist/node/runtime/helper-threads.js'
import { ParallelEvaluation } from '../../dist/optim/expr/parallel.js'
import { type Spread, spreadOf } from './statistics.js'

/** Duration of the optimizer's update alone, in nanoseconds per parameter. */
export interface UpdateCost {
  readonly adamw: Spread
  /** Between refreshes of the mask. */
  readonly ire: Spread
  /** A step that refreshes the mask, without the time of the gradients. */
  readonly refresh: Spread
}

/**
 * Measures updates of `size` parameters in tensors of 2^20 elements, without a model, in the memory and in as many
 * threads as a trainer uses with `cApi`.
 */
export async function updateCost(size: number, rounds: number, threads: number): Promise<UpdateCost> {
  const helpers = new HelperThreads(threads)
  const parallel = new ParallelEvaluation(helpers)
  const random = new Random(3)
  const arrays = (memory: WasmMemory) =>
    Object.fromEntries(
      Array.from({ length: Math.ceil(size / 2 ** 20) }, (_, i) => {
        const length = Math.min(2 ** 20, size - i * 2 ** 20)
        // WebAssembly addresses 4 GB; what does not fit is copied to it and back, as in a trainer.
        const { buffer, offset } = allocateIn(memory, 4 * length) ?? {
          buffer: new SharedArrayBuffer(4 * length),
          offset: 0,
        }
        return [`w${i}`, random.fill(new Float32Array(buffer, offset, length), 'normal')]
      }),
    )
  const timer = (optimizer: Optimizer) => {
    const memory = createWasmMemory()!
    const [parameters, gradients] = [arrays(memory), arrays(memory)]
    const gradient = () => ({ gradients })
    const state = initialState(optimizer, parameters)
    const backend = new HostStepBackend(optimizer, { parameters, optimizer: state }, undefined, parallel)
    let step = 0
    return async () => {
      const start = performance.now()
      await runStep(backend, optimizer, step++, gradient)
      return (1e6 * (performance.now() - start)) / size
    }
  }
  const base = adamw()
  const plain = timer(base)
  const enhanced = timer(ire(base, { kappa: 2, gamma: 0.8, interval: 2 }))
  const times = { adamw: [] as number[], ire: [] as number[], refresh: [] as number[] }
  for (let i = 0; i < rounds + 5; i++) {
    const [a, refresh, between] = [await plain(), await enhanced(), await enhanced()]
    // The first rounds include compilation and the start of the threads.
    if (i < 5) continue
    times.adamw.push(a)
    times.refresh.push(refresh)
    times.ire.push(between)
  }
  await helpers.close()
  return { adamw: spreadOf(times.adamw), ire: spreadOf(times.ire), refresh: spreadOf(times.refresh) }
}
