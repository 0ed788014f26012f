import { afterAll, describe, expect, it, vi } from 'vitest'
import { mlp } from '../../models/mlp.js'
import { HostBackend, HostStepBackend } from '../../src/backend/host.js'
import { runStep } from '../../src/backend/step.js'
import { modelOf } from '../../src/graph/index.js'
import { crossEntropy, fromArrays, labelColumn, Trainer } from '../../src/index.js'
import { type FloatArray, mapArrays, zeroArrayLike } from '../../src/ir/float-array.js'
import { allocateIn, createWasmMemory, type WasmMemory, wasmMemoryOf } from '../../src/ir/wasm-memory.js'
import { HelperThreads } from '../../src/node/runtime/helper-threads.js'
import { node } from '../../src/node/runtime/node.js'
import { adamw } from '../../src/optim/adam.js'
import { evaluate, evaluateEach } from '../../src/optim/expr/evaluate.js'
import { array, formula, scalar } from '../../src/optim/expr/expr.js'
import { ParallelEvaluation } from '../../src/optim/expr/parallel.js'
import { ire } from '../../src/optim/ire/ire.js'
import type { Optimizer } from '../../src/optim/optimizer.js'
import { sam } from '../../src/optim/sam.js'
import { initialState } from '../../src/optim/state.js'
import type { Runtime } from '../../src/runtime/runtime.js'
import { Random } from '../../src/util/random.js'

const open: HelperThreads[] = []
const start = (threads: number) => {
  const helpers = new HelperThreads(threads)
  open.push(helpers)
  return helpers
}
afterAll(async () => {
  for (const helpers of open) await helpers.close()
})

const shared = (length: number, random?: Random): Float32Array => {
  const made = new Float32Array(new SharedArrayBuffer(4 * length))
  return random ? random.fill(made, 'normal') : made
}

const inMemory = (memory: WasmMemory, length: number): Float32Array => {
  const { buffer, offset } = allocateIn(memory, 4 * length)!
  return new Float32Array(buffer, offset, length)
}

/** Lengths of one element, a small tensor, whole pieces and pieces with a rest. */
const lengths = [1, 100, 193, 2 ** 16, 2 ** 16 + 1, 300_001]

/** Waits until helpers have started and taken part in work: the first calls are over before they have. */
async function warmUp(helpers: HelperThreads): Promise<void> {
  let helped = 0
  const parallel = new ParallelEvaluation({
    send: (message) => helpers.send(message),
    run(message, pieces, execute) {
      helped += pieces
      helpers.run(message, pieces, (piece) => {
        helped--
        execute(piece)
      })
    },
  })
  const x = [shared(2 ** 22)]
  const help = () => {
    evaluateEach(formula({ x: array('x').add(1) }), { x }, {}, parallel)
    return helped
  }
  await expect.poll(help).toBeGreaterThan(0)
  parallel.release()
}

const draw = new Random(9)
const drawn: Float32Array[][] = []

/** The gradients of a call of a training run, one array per length: the same in all runs, drawn once. */
function gradientsOf(call: number): readonly Float32Array[] {
  while (drawn.length <= call) drawn.push(lengths.map((length) => draw.fill(new Float32Array(length), 'normal')))
  return drawn[call]!
}

describe('updates in several threads', () => {
  /** @param memory contains all arrays */
  const train = async (threads: number, optimizer: Optimizer, memory?: WasmMemory) => {
    const random = new Random(4)
    const create = (length: number) => (memory ? inMemory(memory, length) : shared(length))
    const parameters = Object.fromEntries(lengths.map((length, i) => [`w${i}`, random.fill(create(length), 'normal')]))
    const gradients = mapArrays(parameters, zeroArrayLike)
    const state = initialState(optimizer, parameters)
    const helpers = threads > 1 ? start(threads) : undefined
    const parallel = helpers && new ParallelEvaluation(helpers)
    if (helpers) await warmUp(helpers)
    const backend = new HostStepBackend(optimizer, { parameters, optimizer: state }, undefined, parallel)
    const norms: number[] = []
    let calls = 0
    for (let step = 0; step < 8; step++) {
      const gradient = () => {
        const given = gradientsOf(calls++)
        for (const [i, array] of Object.values(gradients).entries()) array.set(given[i]!)
        return { gradients }
      }
      norms.push((await runStep(backend, optimizer, step, gradient, { clipNorm: 100, clipValue: 3 })).gradientNorm)
    }
    const all: readonly FloatArray[] = [
      ...Object.values(parameters),
      ...Object.values(state.moments).flatMap(Object.values),
    ]
    return { norms, all, flat: Object.values(state.mask?.flat ?? {}) }
  }

  it.each([
    ['AdamW', adamw({ lr: 0.1 })],
    [
      'AdamW with IRE and adaptive SAM',
      ire(sam(adamw({ lr: 0.1 }), { adaptive: true }), { kappa: 2, gamma: 0.7, interval: 3 }),
    ],
  ])('%s > bitwise as in one thread, for any number of threads, also in WebAssembly memory', async (_, optimizer) => {
    const alone = await train(1, optimizer)
    for (const [threads, memory] of [[2], [3], [2, createWasmMemory()!]] as const) {
      const together = await train(threads, optimizer, memory)
      if (memory)
        for (const array of [...together.all, ...together.flat]) expect(wasmMemoryOf(array.buffer)).toBe(memory)
      expect(together.norms).toEqual(alone.norms)
      for (const [i, array] of alone.all.entries())
        expect(Buffer.compare(bytesOf(together.all[i]!), bytesOf(array))).toBe(0)
      for (const [i, mask] of alone.flat.entries())
        expect(Buffer.compare(bytesOf(together.flat[i]!), bytesOf(mask))).toBe(0)
    }
  })

  it('the two masks of IRE in turn > tensors are sent to the threads once for each', async () => {
    const optimizer = ire(adamw(), { kappa: 2, gamma: 0.7, interval: 10 })
    const parameters = { w: shared(2 ** 18, new Random(1)) }
    const gradients = { w: shared(2 ** 18, new Random(2)) }
    const sent: string[] = []
    const parallel = new ParallelEvaluation({
      send: (message) => sent.push((message as { kind: string }).kind),
      run(_, pieces, execute) {
        for (let piece = 0; piece < pieces; piece++) execute(piece)
      },
    })
    const state = initialState(optimizer, parameters)
    const backend = new HostStepBackend(optimizer, { parameters, optimizer: state }, undefined, parallel)
    for (let step = 0; step < 200; step++) await runStep(backend, optimizer, step, () => ({ gradients }))
    // The norm; the mask and the update, of two masks each; subnormal moments.
    expect(sent).toEqual(Array(6).fill('create'))
  })

  it('arrays in WebAssembly memory > are not copied, and their neighbors not written to', async () => {
    const memory = createWasmMemory()!
    const parallel = new ParallelEvaluation(start(1))
    const whole = inMemory(memory, 2 ** 17)
    const x = [whole.subarray(0, 2 ** 16 + 5)]
    const set = vi.spyOn(Float32Array.prototype, 'set')
    try {
      evaluateEach(formula({ x: array('x').add(1) }), { x }, {}, parallel)
      // Only the last chunk, which is not a whole number of vectors.
      expect(set.mock.calls.map(([source]) => source.length)).toEqual([5, 5])
    } finally {
      set.mockRestore()
    }
    expect(whole.slice(0, 2 ** 16 + 5).every((value) => value === 1)).toBe(true)
    expect(whole.slice(2 ** 16 + 5).every((value) => value === 0)).toBe(true)
  })

  it('a trainer > has parameters, moments and gradients in one WebAssembly memory', async () => {
    const runtime = node({ threads: 2 })
    const spied: Runtime = {
      ...runtime,
      async compile(model, hints) {
        const program = await runtime.compile(model, hints)
        return {
          ...program,
          runInto(feeds, outputs) {
            for (const { data } of Object.values(outputs)) gradients.push(data as Float32Array)
            return program.runInto!(feeds, outputs)
          },
        }
      },
    }
    const gradients: Float32Array[] = []
    const model = modelOf(mlp({ features: 64, hidden: [600], classes: 10 }))
    const trainer = await Trainer.create(model, { loss: crossEntropy(), optimizer: adamw(), runtime: spied })
    try {
      const labels = labelColumn(Array.from({ length: 32 }, (_, i) => i % 10))
      const x = { dims: [32, 64], data: new Random(1).fill(new Float32Array(32 * 64), 'normal') }
      await trainer.train(fromArrays({ x, labels }), { totalSteps: 2 })
      const arrays = [...Object.values(await trainer.parameters()), ...gradients]
      expect(gradients.length).toBeGreaterThanOrEqual(4)
      expect(wasmMemoryOf(arrays[0]!.buffer)).toBeDefined()
      expect(new Set(arrays.map(({ buffer }) => wasmMemoryOf(buffer))).size).toBe(1)
    } finally {
      await trainer.dispose()
      await runtime.dispose()
    }
  })

  it('a trainer beside WebAssembly > has parameters in WebAssembly memory, without helper threads', async () => {
    const runtime = node({ threads: 1, worker: false })
    const { helpers: _, ...alone } = runtime
    const model = modelOf(mlp({ features: 64, hidden: [600], classes: 10 }))
    const spied: Runtime = { ...alone, provider: 'wasm' }
    const trainer = await Trainer.create(model, { loss: crossEntropy(), optimizer: adamw(), runtime: spied })
    try {
      const arrays = Object.values(await trainer.parameters())
      expect(wasmMemoryOf(arrays[0]!.buffer)).toBeDefined()
      expect(new Set(arrays.map(({ buffer }) => wasmMemoryOf(buffer))).size).toBe(1)
    } finally {
      await trainer.dispose()
      await runtime.dispose()
    }
  })

  it('a memory that cannot grow > arrays are in other shared memory', () => {
    const memory = createWasmMemory()!
    const array = inMemory(memory, 2 ** 18)
    expect(wasmMemoryOf(zeroArrayLike(array).buffer)).toBe(memory)
    const grow = vi.spyOn(Object.getPrototypeOf(memory) as WasmMemory, 'grow').mockImplementation(() => {
      throw new RangeError('full')
    })
    try {
      const other = zeroArrayLike(array)
      expect(other.buffer).toBeInstanceOf(SharedArrayBuffer)
      expect(wasmMemoryOf(other.buffer)).toBeUndefined()
      expect(other.length).toBe(2 ** 18)
    } finally {
      grow.mockRestore()
    }
  })

  it('refreshes of the mask > use the arrays of two masks in turn', async () => {
    const optimizer = ire(adamw({ lr: 0.1 }), { kappa: 2, gamma: 0.7, interval: 1 })
    const parameters = { w: shared(100, new Random(1)) }
    const state = initialState(optimizer, parameters)
    const backend = new HostStepBackend(optimizer, { parameters, optimizer: state })
    const arrays = new Set<Uint8Array>()
    for (let step = 0; step < 6; step++) {
      const gradients = { w: new Random(step).fill(shared(100), 'normal') }
      await runStep(backend, optimizer, step, () => ({ gradients }), {})
      arrays.add(state.mask!.flat['w']!)
      expect(state.mask!.refreshedAt).toBe(step)
      expect(state.mask!.flat['w']!.reduce((sum, n) => sum + n, 0)).toBe(71)
    }
    expect(arrays.size).toBe(2)
  })

  it('sums of gradients > are written to the arrays of sums that were released', () => {
    const backend = HostBackend.forEvaluation(node())
    const g = { w: Float32Array.of(1, 2) }
    const first = backend.accumulate(backend.accumulate(null, g, 2), g, 0.5)
    const second = backend.accumulate(null, g, 1)
    expect([[...first['w']!], [...second['w']!]]).toEqual([
      [2.5, 5],
      [1, 2],
    ])
    const array = first['w']
    backend.release(g)
    backend.release(first)
    const third = backend.accumulate(null, g, 3)
    expect(third['w']).toBe(array)
    expect([...third['w']!]).toEqual([3, 6])
    expect(second['w']).not.toBe(array)
  })

  it('many evaluations in a row > every element is computed once, and helpers take part', async () => {
    const helpers = start(2)
    await warmUp(helpers)
    const [x, y] = [shared(2 ** 20), shared(300_000)]
    const count = formula({ x: array('x').add(scalar('by')) }, { squares: array('x') })
    let own = 0
    const counted = new ParallelEvaluation({
      send: (message) => helpers.send(message),
      run: (message, pieces, execute) =>
        helpers.run(message, pieces, (piece) => {
          own++
          execute(piece)
        }),
    })
    const rounds = 500
    let sum = 0
    for (let i = 0; i < rounds; i++) {
      sum += evaluate(count, { x: [i % 2 === 0 ? x : y] }, { by: 1 }, counted)['squares']!
    }
    expect(x.every((value) => value === rounds / 2)).toBe(true)
    expect(y.every((value) => value === rounds / 2)).toBe(true)
    const expected = Array.from({ length: rounds / 2 }, (_, i) => i * i * (x.length + y.length))
    expect(sum).toBe(expected.reduce((a, b) => a + b, 0))
    expect(own).toBeLessThan((rounds / 2) * (16 + 5))
  })

  it('an error in the calling thread > is thrown after the pieces of helpers have ended; later work is complete', async () => {
    const helpers = start(2)
    const failing = () => {
      throw new RangeError('here')
    }
    expect(() => helpers.run({ kind: 'delete', id: -1 }, 3, failing)).toThrow('here')
    const done: number[] = []
    helpers.run({ kind: 'delete', id: -1 }, 5, (piece) => done.push(piece))
    expect(done).toEqual([0, 1, 2, 3, 4])
  })

  it('after close > the calling thread executes everything', async () => {
    const helpers = start(2)
    const x = shared(2 ** 17)
    const step = () => evaluate(formula({ x: array('x').add(1) }), { x: [x] }, {}, new ParallelEvaluation(helpers))
    step()
    await helpers.close()
    step()
    expect(x.every((value) => value === 2)).toBe(true)
  })
})

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView) => new Uint8Array(buffer, byteOffset, byteLength)
