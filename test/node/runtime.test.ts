import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { tensor } from '../../src/ir/tensor.js'
import { node } from '../../src/node/runtime/node.js'
import type { NodeOptions } from '../../src/node/runtime/options.js'
import { WorkerEngine } from '../../src/node/runtime/worker-engine.js'
import type { Runtime } from '../../src/runtime/runtime.js'
import { heavy, oneNode } from '../runtime/models.js'
import { fastest, floats, sharedFloats, square, vector } from '../runtime/samples.js'

const open: Runtime[] = []
const start = (options?: NodeOptions) => {
  const runtime = node(options)
  open.push(runtime)
  return runtime
}
afterEach(async () => {
  for (const runtime of open.splice(0)) await runtime.dispose()
})

it('compile > keeps the bytes of a model, unless they may be transferred', async () => {
  const runtime = start({ threads: 1, worker: true })
  const model = oneNode('Neg', ['x'], vector)
  const owned = new Uint8Array(model)
  await runtime.compile(model)
  expect(model.length).toBe(owned.length)
  const program = await runtime.compile(owned, { transfer: true })
  expect(owned.length).toBe(0)
  expect(await program.run({ x: floats(1) })).toEqual({ y: floats(-1) })
})

describe.each([
  ['worker', true],
  ['in process', false],
])('node() %s', (_, worker) => {
  const local = () => start({ worker, threads: 1 })

  it('programs with equal input names > each receives its own feed from shared memory', async () => {
    const runtime = local()
    const [sub, neg] = [
      await runtime.compile(oneNode('Sub', ['a', 'b'], vector)),
      await runtime.compile(oneNode('Neg', ['a'], vector)),
    ]
    const [short, long] = [sharedFloats(5, 7), sharedFloats(1, 2, 3)]
    const runs = [
      sub.run({ a: short, b: sharedFloats(1, 2) }),
      neg.run({ a: long }),
      sub.run({ a: long, b: sharedFloats(9, 9, 9) }),
      neg.run({ a: short }),
    ]
    const results = (await Promise.all(runs)).map(({ y }) => y)
    expect(results).toEqual([floats(4, 5), floats(-1, -2, -3), floats(-8, -7, -6), floats(-5, -7)])
    await neg.release()
    expect(await sub.run({ a: long, b: long })).toEqual({ y: floats(0, 0, 0) })
  })

  it('overlapping runs with different shared arrays > do not interfere', async () => {
    const runtime = local()
    const program = await runtime.compile(oneNode('Neg', ['x'], vector))
    const runs = Array.from({ length: 20 }, (_, i) => {
      const data = (runtime.allocate('float32', 2) as Float32Array).fill(i)
      return program.run({ x: tensor('float32', [2], data) })
    })
    expect(await Promise.all(runs)).toEqual(runs.map((_, i) => ({ y: floats(-i, -i) })))
  })

  it('invalid model > rejects with the reason', async () => {
    const runtime = local()
    await expect(runtime.compile(Uint8Array.of(1, 2, 3))).rejects.toMatchObject({ cause: expect.any(Error) })
    const bfloat16 = oneNode('Identity', ['x'], { dtype: 'bfloat16', dims: [1] })
    await expect(runtime.compile(bfloat16)).rejects.toThrow(/cast them to float32/)
  })
})

describe('node()', () => {
  it('invalid options > rejects', () => {
    for (const threads of [0, 1.5, Number.NaN]) {
      expect(() => node({ threads })).toThrow(expect.objectContaining({ code: 'invalid-option' }))
    }
  })

  it('session options > are passed on, except undefined ones', async () => {
    const session = { extra: undefined, logId: 'mine' }
    for (const worker of [undefined, true]) {
      const program = await start({ session, threads: undefined, worker }).compile(oneNode('Neg', ['x'], vector))
      expect(await program.run({ x: floats(1) })).toEqual({ y: floats(-1) })
    }
    const wrong = { graphOptimizationLevel: 'most' as 'all' }
    const compile = start({ ...wrong, worker: true }).compile(oneNode('Neg', ['x'], vector))
    await expect(compile).rejects.toThrow(/graphOptimizationLevel/i)
    expect(() => start(wrong)).toThrow(expect.objectContaining({ code: 'invalid-option' }))
  })

  it('session options > are merged with defaults of the same section, and take precedence', async () => {
    const { InferenceSession } = await import('onnxruntime-node')
    const create = vi.spyOn(InferenceSession, 'create')
    const given = async (session?: NodeOptions['session']) => {
      const program = await start({ session, worker: false, threads: 1 }).compile(oneNode('Neg', ['x'], vector))
      expect(await program.run({ x: floats(1) })).toEqual({ y: floats(-1) })
      return create.mock.lastCall![1]!
    }
    try {
      const set = { force_spinning_stop: '1', qdq_matmulnbits_accuracy_level: '0' }
      expect(await given()).toMatchObject({ enableMemPattern: false, extra: { session: set } })
      const own = { session: { set_denormal_as_zero: '1' }, optimization: { enable_gelu_approximation: '0' } }
      expect(await given({ extra: own })).toMatchObject({
        enableMemPattern: false,
        extra: { ...own, session: { force_spinning_stop: '1', set_denormal_as_zero: '1' } },
      })
      const other = { enableMemPattern: true, extra: { session: { force_spinning_stop: '0' } } }
      expect(await given(other)).toMatchObject(other)
    } finally {
      create.mockRestore()
    }
  })

  it('several runtimes > coexist and are disposed independently', async () => {
    const runtimes = [start(), start({ worker: false }), start()]
    const programs = await Promise.all(runtimes.map((runtime) => runtime.compile(oneNode('Neg', ['x'], vector))))
    for (const [i, runtime] of runtimes.entries()) {
      const alive = programs.slice(i).map((program) => program.run({ x: floats(i) }))
      for (const outputs of await Promise.all(alive)) expect(outputs).toEqual({ y: floats(-i) })
      await runtime.dispose()
    }
  })

  it('during a run > the event loop is not blocked', async () => {
    const program = await start({ threads: 1 }).compile(heavy(20))
    let [ticks, leastUtilization] = [0, 1]
    const timer = setInterval(() => ticks++, 5)
    // On a busy machine the thread of the event loop may wait for the processor during a run, but not during all.
    for (let run = 0; run < 50 && (ticks <= 3 || leastUtilization >= 0.5); run++) {
      const began = performance.eventLoopUtilization()
      await program.run({ x0: square(500) })
      leastUtilization = Math.min(leastUtilization, performance.eventLoopUtilization(began).utilization)
    }
    clearInterval(timer)
    expect(leastUtilization).toBeLessThan(0.5)
    expect(ticks).toBeGreaterThan(3)
  })

  it('a small view of a large buffer > only the view is copied', async () => {
    const program = await start().compile(oneNode('Neg', ['x'], vector))
    const file = new Float32Array(64 * 2 ** 20)
    const x = tensor('float32', [4], file.subarray(8, 12))
    await program.run({ x })
    // A copy of 256 MiB takes tens of milliseconds.
    expect(await fastest(50, () => program.run({ x }))).toBeLessThan(10)
  })

  it('past runs > hold no memory', async () => {
    const runtime = start()
    const program = await runtime.compile(oneNode('Neg', ['x'], vector))
    const n = 2 ** 20
    const x = tensor('float32', [n], runtime.allocate('float32', n))
    const run = async (times: number) => {
      for (let i = 0; i < times; i++) await program.run({ x })
      return process.memoryUsage().rss / 2 ** 20
    }
    const before = await run(50)
    // 500 outputs of 4 MiB are 2000 MiB.
    expect((await run(500)) - before).toBeLessThan(400)
  })
})

describe('worker thread', () => {
  it.each([
    ['exits', 'process.exit(3)', /stopped with exit code 3; its programs are lost/],
    ['throws', 'throw new Error("broken")', /failed: broken/],
  ])('worker that %s > rejects pending and later calls', async (_, fault, message) => {
    const source = `require('node:worker_threads').parentPort.on('message', () => { ${fault} })`
    const engine = new WorkerEngine(() => new Worker(source, { eval: true }))
    const refused = { code: 'runtime', message: expect.stringMatching(message) }
    const calls = [engine.compile(new Uint8Array(1)), engine.run(1, [floats(1)]), engine.release(1)]
    await Promise.all(calls.map((call) => expect(call).rejects.toMatchObject(refused)))
    await expect(engine.run(1, [])).rejects.toMatchObject(refused)
    await engine.close()
  })

  const dist = fileURLToPath(new URL('../../dist/', import.meta.url))
  const bytes = JSON.stringify(Array.from(heavy(6)))
  const child = async (program: string, head = '') => {
    const source = `${head}
      const { node } = await import(${JSON.stringify(`${dist}node/runtime/node.js`)})
      const runtime = node({ threads: 1 })
      const model = Uint8Array.from(${bytes})
      const x0 = { dtype: 'float32', dims: [800, 800], data: new Float32Array(640000) }
      ${program}`
    const { ORT_DISABLE_TELEMETRY: _, ...env } = process.env
    const run = promisify(execFile)(process.execPath, ['--input-type=module', '--eval', source], {
      env,
      timeout: 110_000,
    })
    return (await run).stdout
  }

  it('without koffi > the binding runs in a worker thread, and the description contains the reason', async () => {
    const hide = `const { default: Module } = await import('node:module')
      const load = Module._load
      Module._load = (name, ...rest) => {
        if (name === 'koffi') throw new Error('Cannot find module')
        return load(name, ...rest)
      }`
    const run = `const { y } = await (await runtime.compile(model)).run({ x0 })
      console.log(runtime.description, y.dims.join())`
    expect(await child(run, hide)).toMatch(/^onnxruntime-node 1.*, cpu, 1 thread, worker, because .*koffi.* 800,800\n$/)
    expect(await child('console.log(runtime.description)')).toMatch(/^onnxruntime 1.* through its C API, cpu, 1 thread/)
  })

  it('undisposed runtime > the process ends after its runs', async () => {
    expect(
      await child(`const program = await runtime.compile(model)
        program.run({ x0 }).then(({ y }) => console.log('ran', y.dims.join()))`),
    ).toBe('ran 800,800\n')
  })

  it('process.exit during a run > the process ends', async () => {
    expect(
      await child(`const program = await runtime.compile(model)
        const runAgain = () => program.run({ x0 }).then(runAgain)
        runAgain()
        setTimeout(() => { console.log('leaving'); process.exit(0) }, 5)`),
    ).toBe('leaving\n')
  })

  it('telemetry > is off by default', async () => {
    const show = 'console.log(process.env.ORT_DISABLE_TELEMETRY)'
    expect(await child(show)).toBe('1\n')
    expect(await child(`delete process.env.ORT_DISABLE_TELEMETRY; node({ telemetry: true }); ${show}`)).toBe(
      'undefined\n',
    )
    expect(await child(`process.env.ORT_DISABLE_TELEMETRY = '0'; node(); ${show}`)).toBe('0\n')
  })
})
