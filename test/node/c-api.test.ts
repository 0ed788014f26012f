import { onnx } from 'onnx-proto'
import { afterEach, describe, expect, it } from 'vitest'
import { type DType, dtypes } from '../../src/ir/dtype.js'
import { sizeOf, type Tensor, type TensorData, tensor } from '../../src/ir/tensor.js'
import { type CApiOptions, cApi } from '../../src/node/c-api/runtime.js'
import { node } from '../../src/node/runtime.js'
import type { Device, DeviceTensor } from '../../src/runtime/device.js'
import type { Runtime } from '../../src/runtime/runtime.js'
import { heavy, modelBytes, oneNode } from './model.js'

const vector = { dtype: 'float32', dims: ['n'] } as const
const square = (n: number) => tensor('float32', [n, n], new Float32Array(n * n).fill(1 / n))
const floats = (...values: number[]) => tensor('float32', [values.length], Float32Array.from(values))

const open: Runtime[] = []
const start = (options: CApiOptions = {}) => {
  const runtime = cApi({ threads: 1, resident: true, ...options })
  open.push(runtime)
  return runtime
}
afterEach(async () => {
  for (const runtime of open.splice(0)) await runtime.dispose()
})

/** Elements of a dtype that no other dtype's elements would be taken for. */
function samples(dtype: DType, dims: readonly number[]): Tensor {
  const { array, bits } = dtypes[dtype]
  const count = sizeOf(dims)
  const length = bits === 4 ? Math.ceil(count / 2) : count
  if (array === null) return { dtype, dims, data: Array.from({ length }, (_, i) => ['', 'größe', 'ab'][i % 3]!) }
  const big = array === (BigInt64Array as unknown) || array === (BigUint64Array as unknown)
  const wide = array === (BigInt64Array as unknown) ? -(2n ** 63n) : 2n ** 64n - 1n
  const value = (i: number) => {
    if (big) return i === 0 ? wide : BigInt(i)
    if (dtype === 'bool') return i % 2
    return array === Float32Array || array === Float64Array ? Math.PI * (i + 1) : i + 1
  }
  const data = new array(length)
  for (let i = 0; i < length; i++) data[i] = value(i) as never
  return { dtype, dims, data }
}

const written = (graph: onnx.IGraphProto, version: number) =>
  onnx.ModelProto.encode(
    onnx.ModelProto.create({ irVersion: 8, opsetImport: [{ domain: '', version }], graph }),
  ).finish()

const cases = (Object.keys(dtypes) as DType[]).flatMap((dtype) =>
  [[], [5], [2, 3], [0, 3]].map((dims) => [dtype, dims] as const),
)
const byBytes = cases.filter(([dtype]) => dtypes[dtype].bits >= 8)

describe.each([
  ['thread pool', false],
  ['blocking', true],
])('cApi() %s', (manner, blocking) => {
  const local = (options: CApiOptions = {}) => start({ blocking, ...options })

  it('runs a model and knows its names', async () => {
    const runtime = local()
    expect(runtime.description).toBe(`onnxruntime 1.30.0 by its C API, cpu, 1 thread, ${manner}`)
    const program = await runtime.compile(oneNode('Sub', ['a', 'b'], vector))
    expect(program.inputNames).toEqual(['a', 'b'])
    expect(program.outputNames).toEqual(['y'])
    expect(await program.run({ b: floats(1, 2), a: floats(5, 7) })).toEqual({ y: floats(4, 5) })
  })

  it.each(cases.filter(([dtype]) => dtypes[dtype].bits !== 4))('carries %s %j', async (dtype, dims) => {
    const symbolic = dims.map((_, i) => `d${i}`)
    const program = await local().compile(oneNode('Identity', ['x'], { dtype: dtype as 'float32', dims: symbolic }))
    const x = samples(dtype, dims)
    expect(await program.run({ x })).toEqual({ y: x })
  })

  it.each(['int4', 'uint4'] as const)('carries %s, two to a byte', async (dtype) => {
    const port = (name: string, elemType: number) => ({ name, type: { tensorType: { elemType } } })
    const graph = {
      name: 'cast',
      node: [
        { opType: 'Cast', input: ['x'], output: ['y'], attribute: [{ name: 'to', type: 2, i: dtypes.int32.onnx }] },
      ],
      input: [port('x', dtypes[dtype].onnx)],
      output: [port('y', dtypes.int32.onnx)],
    }
    const program = await local().compile(written(graph, 21))
    const fed: Tensor = { dtype, dims: [3], data: Uint8Array.of(0x21, 0x0f) }
    const last = dtype === 'int4' ? -1 : 15
    expect(await program.run({ x: fed })).toEqual({ y: tensor('int32', [3], Int32Array.of(1, 2, last)) })
  })

  it('gives outputs memory of their own', async () => {
    const port = { dtype: 'float32', dims: [2] } as const
    const steps = [
      { op: 'Identity', inputs: ['x'], outputs: ['y'] },
      { op: 'Identity', inputs: ['x'], outputs: ['z'] },
    ]
    const ports = ['x', 'y', 'z'].map((name) => ({ name, ...port }))
    const program = await local().compile(modelBytes(steps, [{ name: 'x', ...port }], ports))
    const x = floats(1, 2)
    const first = await program.run({ x })
    for (const { data } of Object.values(first)) (data as Float32Array).fill(9)
    expect(x).toEqual(floats(1, 2))
    expect(await program.run({ x })).toEqual({ x, y: x, z: x })
    expect(Object.values(first)).toEqual([floats(9, 9), floats(9, 9), floats(9, 9)])
  })

  it('reads views at their place, shared memory and memory that may shrink', async () => {
    const program = await local().compile(oneNode('Neg', ['x'], vector))
    const run = async (data: Float32Array) => (await program.run({ x: tensor('float32', [data.length], data) }))['y']
    const whole = Float32Array.from([1, 2, 3, 4])
    expect(await run(whole.subarray(1, 3))).toEqual(floats(-2, -3))
    expect(await run(new Float32Array(new SharedArrayBuffer(16), 4, 2).fill(7))).toEqual(floats(-7, -7))
    const Resizable = ArrayBuffer as unknown as new (bytes: number, options: { maxByteLength: number }) => ArrayBuffer
    expect(await run(new Float32Array(new Resizable(8, { maxByteLength: 16 })).fill(3))).toEqual(floats(-3, -3))
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

  it('keeps overlapping runs apart, in the order they were asked for', async () => {
    const program = await local().compile(oneNode('Neg', ['x'], vector))
    const order: number[] = []
    const runs = Array.from({ length: 20 }, async (_, i) => {
      const { y } = await program.run({ x: floats(i, i) })
      order.push(i)
      return y
    })
    expect(await Promise.all(runs)).toEqual(runs.map((_, i) => floats(-i, -i)))
    expect(order).toEqual(runs.map((_, i) => i))
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
    await refused({ a, b: { ...a, dims: [2] } }, /'b': a float32 tensor \[2\] needs 2 array elements, not 1/)
  })

  it('refuses strings that onnxruntime would cut', async () => {
    const program = await local().compile(oneNode('Identity', ['x'], { dtype: 'string', dims: [1] }))
    const x: Tensor = { dtype: 'string', dims: [1], data: ['a\0b'] }
    await expect(program.run({ x })).rejects.toMatchObject({ code: 'invalid-data', message: /character 0/ })
  })

  it("surfaces onnxruntime's own errors and stays usable", async () => {
    const runtime = local()
    await expect(runtime.compile(Uint8Array.of(1, 2, 3))).rejects.toMatchObject({
      code: 'runtime',
      message: expect.stringMatching(/^onnxruntime refused the model: .*protobuf/),
      cause: expect.objectContaining({ name: 'OrtFailure', status: 7 }),
    })
    await expect(runtime.compile(oneNode('NoSuchOp', ['x'], vector))).rejects.toThrow(/NoSuchOp/)
    const program = await runtime.compile(oneNode('Add', ['a', 'b'], vector))
    await expect(program.run({ a: floats(1, 2), b: floats(1, 2, 3) })).rejects.toMatchObject({
      code: 'runtime',
      message: expect.stringMatching(/^onnxruntime could not run the model: .*Add/s),
    })
    expect(await program.run({ a: floats(1), b: floats(2) })).toEqual({ y: floats(3) })
  })

  it('refuses models whose ports are no tensors', async () => {
    const tensorType = { elemType: 1, shape: { dim: [{ dimValue: 2 }] } }
    const graph = {
      name: 'sequence',
      node: [{ opType: 'SequenceConstruct', input: ['x'], output: ['y'] }],
      input: [{ name: 'x', type: { tensorType } }],
      output: [{ name: 'y', type: { sequenceType: { elemType: { tensorType } } } }],
    }
    await expect(local().compile(written(graph, 13))).rejects.toMatchObject({
      code: 'runtime',
      message: /^output 'y' is no tensor/,
    })
  })

  it('compiles from shared memory and from a view, and leaves the bytes to their owner', async () => {
    const bytes = oneNode('Neg', ['x'], vector)
    const padded = new Uint8Array(new SharedArrayBuffer(bytes.length + 8))
    padded.set(bytes, 3)
    for (const model of [padded.subarray(3, 3 + bytes.length), Uint8Array.from(padded).subarray(3, 3 + bytes.length)]) {
      const compiling = local().compile(model)
      await new Promise(setImmediate)
      model.fill(0)
      expect(await (await compiling).run({ x: floats(1) })).toEqual({ y: floats(-1) })
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
    const device = runtime.device!
    const [program, held] = [await runtime.compile(heavy(4)), await device.upload(floats(1))]
    const pending = [program.run({ x0: square(300) }), program.run({ x0: square(200) })]
    await Promise.all([runtime.dispose(), runtime.dispose()])
    expect((await Promise.all(pending)).map(({ y }) => y!.dims)).toEqual([
      [300, 300],
      [200, 200],
    ])
    const disposed = { code: 'runtime', message: /runtime was disposed/ }
    await expect(program.run({ x0: square(2) })).rejects.toMatchObject(disposed)
    await expect(runtime.compile(heavy(1))).rejects.toMatchObject(disposed)
    await expect(device.download(held)).rejects.toMatchObject(disposed)
    await expect(device.upload(floats(1))).rejects.toMatchObject(disposed)
    held.release()
    await program.release()
  })

  describe('device', () => {
    const device = (): Device => local().device!

    it.each(byBytes.filter(([dtype]) => dtype !== 'string'))('uploads and downloads %s %j', async (dtype, dims) => {
      const on = device()
      const x = samples(dtype, dims)
      const there = await on.upload(x)
      expect([there.dtype, there.dims]).toEqual([dtype, dims])
      expect(await on.download(there)).toEqual(x)
      there.release()
    })

    it.each(['string', 'int4', 'uint4'] as const)('refuses to keep %s', async (dtype) => {
      const on = device()
      const refused = { code: 'invalid-data', message: new RegExp(`${dtype} tensors cannot be kept`) }
      await expect(on.upload(samples(dtype, [2]))).rejects.toMatchObject(refused)
    })

    it('refuses to keep an output of strings, by name', async () => {
      const bytes = oneNode('Identity', ['x'], { dtype: 'string', dims: [1] })
      await expect(device().compile(bytes, () => true)).rejects.toMatchObject({
        code: 'invalid-data',
        message: /'y': string/,
      })
    })

    it('checks what it uploads', async () => {
      const wrong: Tensor = { dtype: 'float32', dims: [3], data: new Float32Array(2) }
      await expect(device().upload(wrong)).rejects.toMatchObject({ code: 'invalid-data' })
    })

    it('keeps what it uploaded when the source changes', async () => {
      const on = device()
      const data = Float32Array.of(1, 2)
      const there = await on.upload(tensor('float32', [2], data))
      data.fill(9)
      expect(await on.download(there)).toEqual(floats(1, 2))
      const back = await on.download(there)
      ;(back.data as Float32Array).fill(9)
      expect(await on.download(there)).toEqual(floats(1, 2))
    })

    it('keeps the outputs it is told to, and feeds them to any of its programs', async () => {
      const on = device()
      const port = { dtype: 'float32', dims: ['n'] } as const
      const ports = (...names: string[]) => names.map((name) => ({ name, ...port }))
      const bytes = modelBytes(
        [
          { op: 'Add', inputs: ['a', 'b'], outputs: ['sum'] },
          { op: 'Sub', inputs: ['a', 'b'], outputs: ['difference'] },
        ],
        ports('a', 'b'),
        ports('sum', 'difference'),
      )
      const program = await on.compile(bytes, (name) => name === 'sum')
      const negate = await on.compile(oneNode('Neg', ['x'], vector), () => false)
      const first = await program.run({ a: floats(1, 2), b: await on.upload(floats(3, 4)) })
      expect(first.host).toEqual({ difference: floats(-2, -2) })
      expect(Object.keys(first.kept)).toEqual(['sum'])
      const second = await program.run({ a: first.kept['sum']!, b: first.kept['sum']! })
      expect(await on.download(second.kept['sum']!)).toEqual(floats(8, 12))
      expect((await negate.run({ x: first.kept['sum']! })).host).toEqual({ y: floats(-4, -6) })
    })

    it('never lets kept outputs share memory with feeds or with each other', async () => {
      const on = device()
      const port = { dtype: 'float32', dims: [2] } as const
      const ports = (...names: string[]) => names.map((name) => ({ name, ...port }))
      const bytes = modelBytes(
        [{ op: 'Identity', inputs: ['x'], outputs: ['y'] }],
        ports('x', 'passed'),
        ports('x', 'y', 'passed'),
      )
      const program = await on.compile(bytes, () => true)
      const data = Float32Array.of(1, 2)
      const passed = await on.upload(floats(3, 4))
      const { kept } = await program.run({ x: tensor('float32', [2], data), passed })
      data.fill(9)
      passed.release()
      expect(await on.download(kept['x']!)).toEqual(floats(1, 2))
      expect(await on.download(kept['y']!)).toEqual(floats(1, 2))
      expect(await on.download(kept['passed']!)).toEqual(floats(3, 4))
      kept['x']!.release()
      expect(await on.download(kept['y']!)).toEqual(floats(1, 2))
    })

    it('gives each run outputs of its own, alive after their program is released', async () => {
      const on = device()
      const program = await on.compile(oneNode('Neg', ['x'], vector), () => true)
      const runs: DeviceTensor[] = []
      for (let i = 0; i < 5; i++) runs.push((await program.run({ x: floats(i, i) })).kept['y']!)
      await program.release()
      for (const [i, y] of runs.entries()) expect(await on.download(y)).toEqual(floats(-i, -i))
    })

    it('frees behind the calls already made, and refuses what was released', async () => {
      const on = device()
      const program = await on.compile(oneNode('Neg', ['x'], vector), () => false)
      const x = await on.upload(floats(1, 2))
      const [running, reading] = [program.run({ x }), on.download(x)]
      x.release()
      x.release()
      expect((await running).host).toEqual({ y: floats(-1, -2) })
      expect(await reading).toEqual(floats(1, 2))
      const refused = (what: string) => ({ code: 'runtime', message: `${what}: this device tensor was released` })
      await expect(on.download(x)).rejects.toMatchObject(refused('download'))
      await expect(program.run({ x })).rejects.toMatchObject(refused("input 'x'"))
    })

    it('refuses tensors of another device, unknown names and other dtypes', async () => {
      const [on, other] = [device(), device()]
      const program = await on.compile(oneNode('Neg', ['x'], vector), () => false)
      const refused = (message: RegExp) => ({ code: 'invalid-data', message })
      const foreign = await other.upload(floats(1))
      await expect(program.run({ x: foreign })).rejects.toMatchObject(refused(/'x': a tensor of another device/))
      await expect(on.download(foreign)).rejects.toMatchObject(refused(/a tensor of another device/))
      const fake: DeviceTensor = { dtype: 'float32', dims: [1], release() {} }
      await expect(on.download(fake)).rejects.toMatchObject(refused(/a tensor of another device/))
      const x = await on.upload(floats(1))
      await expect(program.run({ x, z: x })).rejects.toMatchObject(refused(/not an input of the model: z/))
      await expect(program.run({})).rejects.toMatchObject(refused(/not fed: x/))
      const whole = await on.upload(tensor('int32', [1], Int32Array.of(1)))
      await expect(program.run({ x: whole })).rejects.toMatchObject(refused(/'x': the model wants float32, not int32/))
    })
  })
})

describe('cApi()', () => {
  it('has a device where it is asked for, on the CPU', () => {
    const runtime = cApi({ threads: 1 })
    open.push(runtime)
    expect([runtime.device, typeof start().device]).toEqual([undefined, 'object'])
  })

  it('validates its options', () => {
    const refused = expect.objectContaining({ code: 'invalid-option' })
    for (const threads of [0, 1.5, Number.NaN]) expect(() => cApi({ threads })).toThrow(refused)
    expect(() => cApi({ device: -1 })).toThrow(refused)
    expect(() => cApi({ provider: 'rocm' as 'cpu' })).toThrow(refused)
    expect(() => cApi({ graphOptimizationLevel: 'most' as 'all' })).toThrow(refused)
    expect(() => cApi({ session: { executionMode: 'both' as 'parallel' } })).toThrow(refused)
  })

  it('passes session options on', async () => {
    const session = {
      extra: { session: { intra_op: { allow_spinning: '0' } }, unused: undefined },
      executionMode: 'sequential',
      enableCpuMemArena: false,
      enableMemPattern: true,
      interOpNumThreads: 1,
      logId: 'mine',
      logSeverityLevel: 3,
      logVerbosityLevel: 0,
      freeDimensionOverrides: { n: 2 },
    } as const
    const program = await start({ session }).compile(oneNode('Neg', ['x'], vector))
    expect(await program.run({ x: floats(1, 2) })).toEqual({ y: floats(-1, -2) })
    // The override is in force: the input has two elements now.
    await expect(program.run({ x: floats(1) })).rejects.toMatchObject({
      code: 'runtime',
      message: /invalid dimensions/i,
    })
    const strict = start({ session: { extra: { session: { disable_cpu_ep_fallback: '1' } } } })
    await expect(strict.compile(oneNode('Neg', ['x'], vector))).rejects.toThrow(
      /fallback to CPU EP has been explicitly/,
    )
  })

  it.each([
    ['runs on', false],
    ['stands still', true],
  ])('the event loop %s while a model runs', async (_, blocking) => {
    const program = await start({ blocking }).compile(heavy(20))
    let ticks = 0
    const timer = setInterval(() => ticks++, 1)
    await program.run({ x0: square(500) })
    clearInterval(timer)
    if (blocking) expect(ticks).toBe(0)
    else expect(ticks).toBeGreaterThan(3)
  })

  it('gives what the official binding gives, beside it', async () => {
    const official = node({ threads: 1, worker: false })
    open.push(official)
    const runtimes = [official, start(), start({ blocking: true })]
    const bytes = heavy(5)
    const x0 = tensor(
      'float32',
      [40, 40],
      Float32Array.from({ length: 1600 }, (_, i) => Math.sin(i)),
    )
    const programs = await Promise.all(runtimes.map((runtime) => runtime.compile(bytes)))
    for (let round = 0; round < 10; round++) {
      const [theirs, ...ours] = await Promise.all(programs.map((program) => program.run({ x0 })))
      for (const outputs of ours) expect(outputs).toEqual(theirs)
    }
    await official.dispose()
    expect((await programs[1]!.run({ x0 }))['y']!.dims).toEqual([40, 40])
  })

  it('copies a small view out of a large buffer, not the buffer', async () => {
    const program = await start().compile(oneNode('Neg', ['x'], vector))
    const file = new Float32Array(64 * 2 ** 20)
    const x: Tensor = tensor('float32', [4], file.subarray(8, 12) as TensorData)
    await program.run({ x })
    const began = performance.now()
    for (let i = 0; i < 50; i++) await program.run({ x })
    expect(performance.now() - began).toBeLessThan(1000)
  })
})
