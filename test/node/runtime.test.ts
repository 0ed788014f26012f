import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'
import { afterEach, describe, expect, it, vi } from 'vitest'
import type { DType } from '../../src/ir/dtype.js'
import { type TensorData, tensor } from '../../src/ir/tensor.js'
import { type NodeOptions, node } from '../../src/node/runtime.js'
import { WorkerEngine } from '../../src/node/worker-engine.js'
import type { Runtime } from '../../src/runtime/runtime.js'
import { heavy, modelBytes, oneNode } from './model.js'

const vector = { dtype: 'float32', dims: ['n'] } as const
const square = (n: number) => tensor('float32', [n, n], new Float32Array(n * n).fill(1 / n))
const floats = (...values: number[]) => tensor('float32', [values.length], Float32Array.from(values))

const open: Runtime[] = []
const start = (options?: NodeOptions) => {
  const runtime = node(options)
  open.push(runtime)
  return runtime
}
afterEach(async () => {
  for (const runtime of open.splice(0)) await runtime.dispose()
})

describe.each([
  ['worker', true],
  ['in process', false],
])('node() %s', (place, worker) => {
  const local = () => start({ worker, threads: 1 })

  it('runs a model and knows its names', async () => {
    const runtime = local()
    expect(runtime.description).toMatch(new RegExp(`^onnxruntime-node \\d+\\.\\d+\\.\\d+, cpu, 1 thread, ${place}$`))
    const program = await runtime.compile(oneNode('Sub', ['a', 'b'], vector))
    expect(program.inputNames).toEqual(['a', 'b'])
    expect(program.outputNames).toEqual(['y'])
    expect(await program.run({ b: floats(1, 2), a: floats(5, 7) })).toEqual({ y: floats(4, 5) })
  })

  it('feeds programs that have inputs of the same name from shared memory, each with its own', async () => {
    const runtime = local()
    const [sub, neg] = [
      await runtime.compile(oneNode('Sub', ['a', 'b'], vector)),
      await runtime.compile(oneNode('Neg', ['a'], vector)),
    ]
    const shared = (...values: number[]) => {
      const data = new Float32Array(new SharedArrayBuffer(4 * values.length))
      data.set(values)
      return tensor('float32', [values.length], data)
    }
    const [short, long] = [shared(5, 7), shared(1, 2, 3)]
    const runs = [
      sub.run({ a: short, b: shared(1, 2) }),
      neg.run({ a: long }),
      sub.run({ a: long, b: shared(9, 9, 9) }),
      neg.run({ a: short }),
    ]
    const results = (await Promise.all(runs)).map(({ y }) => y)
    expect(results).toEqual([floats(4, 5), floats(-1, -2, -3), floats(-8, -7, -6), floats(-5, -7)])
    await neg.release()
    expect(await sub.run({ a: long, b: long })).toEqual({ y: floats(0, 0, 0) })
  })

  const samples: [DType, number[], TensorData][] = [
    ['float32', [], new Float32Array([5])],
    ['float32', [0, 3], new Float32Array(0)],
    ['float64', [1], new Float64Array([Math.PI])],
    ['float16', [2], new Uint16Array([0x3c00, 0xfbff])],
    ['bool', [3], new Uint8Array([1, 0, 1])],
    ['uint8', [2], new Uint8Array([0, 255])],
    ['int64', [2], new BigInt64Array([2n ** 63n - 1n, -1n])],
    ['string', [2], ['', 'größe']],
  ]
  it.each(samples)('carries %s %j', async (dtype, dims, data) => {
    const symbolic = dims.map((_, i) => `d${i}`)
    const bytes = oneNode('Identity', ['x'], { dtype: dtype as 'float32', dims: symbolic })
    const program = await local().compile(bytes)
    expect(await program.run({ x: { dtype, dims, data } })).toEqual({ y: { dtype, dims, data } })
  })

  it('gives outputs memory of their own', async () => {
    const port = { dtype: 'float32', dims: [2] } as const
    const steps = [
      { op: 'Identity', inputs: ['x'], outputs: ['y'] },
      { op: 'Identity', inputs: ['x'], outputs: ['z'] },
    ]
    const ports = ['y', 'z'].map((name) => ({ name, ...port }))
    const program = await local().compile(modelBytes(steps, [{ name: 'x', ...port }], ports))
    const x = floats(1, 2)
    const { y, z } = await program.run({ x })
    ;(y!.data as Float32Array).fill(9)
    expect([x, z]).toEqual([floats(1, 2), floats(1, 2)])
  })

  it('reads views at their place and leaves them attached', async () => {
    const program = await local().compile(oneNode('Neg', ['x'], vector))
    const whole = Float32Array.from([1, 2, 3, 4])
    expect(await program.run({ x: tensor('float32', [2], whole.subarray(1, 3)) })).toEqual({ y: floats(-2, -3) })
    const shared = new Float32Array(new SharedArrayBuffer(16), 4, 2).fill(7)
    expect(await program.run({ x: tensor('float32', [2], shared) })).toEqual({ y: floats(-7, -7) })
    expect(whole).toEqual(Float32Array.from([1, 2, 3, 4]))
  })

  it('reads allocated arrays as they are when each run starts, at any length', async () => {
    const runtime = local()
    const program = await runtime.compile(oneNode('Add', ['a', 'b'], vector))
    for (const n of [3, 5, 2]) {
      const [a, b] = [runtime.allocate('float32', n), runtime.allocate('float32', n)] as [Float32Array, Float32Array]
      for (const step of [1, 2]) {
        a.fill(step)
        b.fill(10 * n)
        const { y } = await program.run({ a: tensor('float32', [n], a), b: tensor('float32', [n], b) })
        expect(y).toEqual(floats(...Array(n).fill(step + 10 * n)))
      }
    }
    expect(runtime.allocate('int4', 5)).toEqual(new Uint8Array(3))
    expect(() => runtime.allocate('string', 1)).toThrow(expect.objectContaining({ code: 'invalid-data' }))
  })

  it('keeps overlapping runs with different shared arrays apart', async () => {
    const runtime = local()
    const program = await runtime.compile(oneNode('Neg', ['x'], vector))
    const runs = Array.from({ length: 20 }, (_, i) => {
      const data = (runtime.allocate('float32', 2) as Float32Array).fill(i)
      return program.run({ x: tensor('float32', [2], data) })
    })
    expect(await Promise.all(runs)).toEqual(runs.map((_, i) => ({ y: floats(-i, -i) })))
  })

  it('refuses feeds that do not fit, by name', async () => {
    const program = await local().compile(oneNode('Add', ['a', 'b'], vector))
    const refused = (feeds: Parameters<typeof program.run>[0], message: RegExp) =>
      expect(program.run(feeds)).rejects.toMatchObject({
        code: 'invalid-data',
        message: expect.stringMatching(message),
      })
    const a = floats(1)
    await refused({ a }, /not fed: b$/)
    await refused({ a, b: a, c: a, d: a }, /not an input of the model: c, d$/)
    await refused({ a, b: { ...a, dtype: 'float64' } }, /'b': the model wants float32, not float64/)
    await refused(
      { a, b: { ...a, data: new Float64Array(1) } },
      /'b': float32 travels in Float32Array, not Float64Array/,
    )
    await refused({ a, b: { ...a, data: ['1'] } }, /not Array/)
    await refused({ a, b: { ...a, dims: [2] } }, /'b': a float32 tensor \[2\] needs 2 array elements, not 1/)
    await refused({ a, b: { ...a, dims: [-1, -1] } }, /\[-1, -1\] is not a shape/)
  })

  it("surfaces onnxruntime's own errors and stays usable", async () => {
    const runtime = local()
    await expect(runtime.compile(Uint8Array.of(1, 2, 3))).rejects.toMatchObject({
      code: 'runtime',
      message: expect.stringMatching(/^onnxruntime refused the model: .*protobuf/),
      cause: expect.any(Error),
    })
    await expect(runtime.compile(oneNode('NoSuchOp', ['x'], vector))).rejects.toThrow(/NoSuchOp/)
    const bfloat16 = oneNode('Identity', ['x'], { dtype: 'bfloat16', dims: [1] })
    await expect(runtime.compile(bfloat16)).rejects.toThrow(/cast them to float32/)
    const program = await runtime.compile(oneNode('Add', ['a', 'b'], vector))
    await expect(program.run({ a: floats(1, 2), b: floats(1, 2, 3) })).rejects.toMatchObject({
      code: 'runtime',
      message: expect.stringMatching(/Add/),
    })
    expect(await program.run({ a: floats(1), b: floats(2) })).toEqual({ y: floats(3) })
  })

  it('compiles from shared memory and from a view', async () => {
    const bytes = oneNode('Neg', ['x'], vector)
    const padded = new Uint8Array(new SharedArrayBuffer(bytes.length + 8))
    padded.set(bytes, 3)
    for (const model of [padded.subarray(3, 3 + bytes.length), Uint8Array.from(padded).subarray(3, 3 + bytes.length)]) {
      const program = await local().compile(model)
      expect(await program.run({ x: floats(1) })).toEqual({ y: floats(-1) })
    }
  })

  it('queues release behind runs, and refuses to run afterwards', async () => {
    const runtime = local()
    const [negate, kept] = await Promise.all([
      runtime.compile(oneNode('Neg', ['x'], vector)),
      runtime.compile(oneNode('Abs', ['x'], vector)),
    ])
    const pending = negate.run({ x: floats(1) })
    await Promise.all([negate.release(), negate.release()])
    expect(await pending).toEqual({ y: floats(-1) })
    await expect(negate.run({ x: floats(1) })).rejects.toMatchObject({
      code: 'runtime',
      message: /program was released/,
    })
    expect(await kept.run({ x: floats(-1) })).toEqual({ y: floats(1) })
  })

  it('finishes what is pending before it is disposed, and refuses everything afterwards', async () => {
    const runtime = local()
    const program = await runtime.compile(heavy(4))
    const pending = [program.run({ x0: square(300) }), program.run({ x0: square(200) })]
    await Promise.all([runtime.dispose(), runtime.dispose()])
    expect((await Promise.all(pending)).map(({ y }) => y!.dims)).toEqual([
      [300, 300],
      [200, 200],
    ])
    await expect(program.run({ x0: square(2) })).rejects.toThrow(/runtime was disposed/)
    await expect(runtime.compile(heavy(1))).rejects.toThrow(/runtime was disposed/)
    await program.release()
  })
})

describe('node()', () => {
  it('validates its options', () => {
    for (const threads of [0, 1.5, Number.NaN]) {
      expect(() => node({ threads })).toThrow(expect.objectContaining({ code: 'invalid-option' }))
    }
  })

  it('passes session options on, without those that are undefined', async () => {
    const session = { extra: undefined, logId: 'mine' }
    const program = await start({ session, threads: undefined }).compile(oneNode('Neg', ['x'], vector))
    expect(await program.run({ x: floats(1) })).toEqual({ y: floats(-1) })
    const wrong = start({ graphOptimizationLevel: 'most' as 'all' }).compile(oneNode('Neg', ['x'], vector))
    await expect(wrong).rejects.toThrow(/graphOptimizationLevel/i)
  })

  it('adds its defaults to session options of the same section, and gives way where the user says otherwise', async () => {
    const { InferenceSession } = await import('onnxruntime-node')
    const create = vi.spyOn(InferenceSession, 'create')
    const given = async (session?: NodeOptions['session']) => {
      const program = await start({ session, worker: false, threads: 1 }).compile(oneNode('Neg', ['x'], vector))
      expect(await program.run({ x: floats(1) })).toEqual({ y: floats(-1) })
      return create.mock.lastCall![1]!
    }
    try {
      expect(await given()).toMatchObject({ enableMemPattern: false, extra: { session: { force_spinning_stop: '1' } } })
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

  it('lets runtimes live side by side and end one by one', async () => {
    const runtimes = [start(), start({ worker: false }), start()]
    const programs = await Promise.all(runtimes.map((runtime) => runtime.compile(oneNode('Neg', ['x'], vector))))
    for (const [i, runtime] of runtimes.entries()) {
      const alive = programs.slice(i).map((program) => program.run({ x: floats(i) }))
      for (const outputs of await Promise.all(alive)) expect(outputs).toEqual({ y: floats(-i) })
      await runtime.dispose()
    }
  })

  it('leaves the event loop running while a model runs', async () => {
    const program = await start({ threads: 1 }).compile(heavy(20))
    let ticks = 0
    const timer = setInterval(() => ticks++, 5)
    const began = performance.now()
    await program.run({ x0: square(500) })
    const took = performance.now() - began
    clearInterval(timer)
    expect(ticks).toBeGreaterThan(took / 5 / 4)
    expect(ticks).toBeGreaterThan(3)
  })

  it('copies a small view out of a large buffer, not the buffer', async () => {
    const program = await start().compile(oneNode('Neg', ['x'], vector))
    const file = new Float32Array(64 * 2 ** 20)
    const x = tensor('float32', [4], file.subarray(8, 12))
    await program.run({ x })
    const began = performance.now()
    for (let i = 0; i < 50; i++) await program.run({ x })
    // 50 copies of 256 MiB take seconds.
    expect(performance.now() - began).toBeLessThan(1000)
  })

  it('holds no memory of past runs', async () => {
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

describe('the worker thread', () => {
  it.each([
    ['exits', 'process.exit(3)', /stopped with exit code 3; its programs are lost/],
    ['throws', 'throw new Error("broken")', /failed: broken/],
  ])('rejects pending and later calls when it %s', async (_, fault, message) => {
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
  const child = async (program: string) => {
    const source = `import { node } from ${JSON.stringify(`${dist}node/runtime.js`)}
      const runtime = node({ threads: 1 })
      const model = Uint8Array.from(${bytes})
      const x0 = { dtype: 'float32', dims: [800, 800], data: new Float32Array(640000) }
      ${program}`
    const { ORT_DISABLE_TELEMETRY: _, ...env } = process.env
    const run = promisify(execFile)(process.execPath, ['--input-type=module', '--eval', source], {
      env,
      timeout: 30_000,
    })
    return (await run).stdout
  }

  it('lets a process end that has not disposed, but not before its runs are over', async () => {
    expect(
      await child(`const program = await runtime.compile(model)
        program.run({ x0 }).then(({ y }) => console.log('ran', y.dims.join()))`),
    ).toBe('ran 800,800\n')
  })

  it('lets a process exit in the middle of a run', async () => {
    expect(
      await child(`const program = await runtime.compile(model)
        program.run({ x0 }).then(() => console.log('ran'))
        setTimeout(() => { console.log('leaving'); process.exit(0) }, 5)`),
    ).toBe('leaving\n')
  })

  it('turns telemetry off unless told otherwise', async () => {
    const show = 'console.log(process.env.ORT_DISABLE_TELEMETRY)'
    expect(await child(show)).toBe('1\n')
    expect(await child(`delete process.env.ORT_DISABLE_TELEMETRY; node({ telemetry: true }); ${show}`)).toBe(
      'undefined\n',
    )
    expect(await child(`process.env.ORT_DISABLE_TELEMETRY = '0'; node(); ${show}`)).toBe('0\n')
  })
})
