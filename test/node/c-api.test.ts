import { onnx } from 'onnx-proto'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { dtypes } from '../../src/ir/dtype.js'
import { type Tensor, type TensorData, tensor } from '../../src/ir/tensor.js'
import { ort } from '../../src/node/c-api/ort.js'
import { type CApiOptions, cApi } from '../../src/node/c-api/runtime.js'
import { node } from '../../src/node/runtime/node.js'
import type { Device } from '../../src/runtime/device.js'
import type { Runtime } from '../../src/runtime/runtime.js'
import { heavy, modelBytes, oneNode } from '../runtime/models.js'
import { fastest, floats, sample, sharedFloats, square, vector } from '../runtime/samples.js'

const open: Runtime[] = []
const start = (options: CApiOptions = {}) => {
  const runtime = cApi({ threads: 1, resident: true, ...options })
  open.push(runtime)
  return runtime
}
afterEach(async () => {
  for (const runtime of open.splice(0)) await runtime.dispose()
})

const written = (graph: onnx.IGraphProto, version: number) =>
  onnx.ModelProto.encode(
    onnx.ModelProto.create({ irVersion: 8, opsetImport: [{ domain: '', version }], graph }),
  ).finish()

describe.each([
  ['thread pool', false],
  ['blocking', true],
])('cApi() %s', (_, blocking) => {
  const local = (options: CApiOptions = {}) => start({ blocking, ...options })

  it.each(['int4', 'uint4'] as const)('%s, packed two to a byte > is fed and returned unchanged', async (dtype) => {
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

  it('outputs > own their memory', async () => {
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

  it('runInto > writes the given tensors, shared memory included, and returns new tensors for other outputs', async () => {
    const port = { dtype: 'float32', dims: ['n'] } as const
    const steps = [
      { op: 'Neg', inputs: ['x'], outputs: ['y'] },
      { op: 'Abs', inputs: ['x'], outputs: ['z'] },
      { op: 'Identity', inputs: ['x'], outputs: ['same'] },
    ]
    const ports = ['y', 'z', 'same'].map((name) => ({ name, ...port }))
    const program = await local().compile(modelBytes(steps, [{ name: 'x', ...port }], ports))
    const [y, same] = [sharedFloats(0, 0), sharedFloats(0, 0)]
    for (const sign of [1, -1]) {
      const outputs = await program.runInto!({ x: floats(sign, 2) }, { y, same })
      expect(outputs['y']!.data).toBe(y.data)
      expect([...(y.data as Float32Array)]).toEqual([-sign, -2])
      expect([...(same.data as Float32Array)]).toEqual([sign, 2])
      expect([...(outputs['z']!.data as Float32Array)]).toEqual([1, 2])
    }
    const wrong = { ...floats(0, 0), dtype: 'float64' as const }
    await expect(program.runInto!({ x: floats(1, 2) }, { y: wrong })).rejects.toMatchObject({ code: 'invalid-data' })
    await expect(program.runInto!({ x: floats(1, 2) }, { y: sharedFloats(0, 0, 0) })).rejects.toMatchObject({
      code: 'runtime',
    })
    expect((await program.run({ x: floats(5) }))['y']!.data).toEqual(Float32Array.of(-5))
  })

  it('tensors in shared memory, which stay bound > every run reads and writes the tensors that it was given', async () => {
    const ports = ['x', 'p'].map((name) => ({ name, ...vector }))
    const steps = [{ op: 'Add', inputs: ['x', 'p'], outputs: ['y'] }]
    const program = await local().compile(modelBytes(steps, ports, [{ name: 'y', ...vector }]))
    const x = floats(1, 2)
    const [p, a, b] = [sharedFloats(10, 20), sharedFloats(0, 0), sharedFloats(0, 0)]
    const into = async (given: Tensor, y: Tensor) => {
      expect((await program.runInto!({ x, p: given }, { y }))['y']!.data).toBe(y.data)
      return [...(y.data as Float32Array)]
    }
    expect(await into(p, a)).toEqual([11, 22])
    ;(p.data as Float32Array).set([30, 40])
    expect(await into(p, a)).toEqual([31, 42])
    expect(await into(sharedFloats(5, 6), a)).toEqual([6, 8])
    expect(await into(floats(7, 8), b)).toEqual([8, 10])
    expect(await into(p, b)).toEqual([31, 42])
    await expect(program.runInto!({ x: floats(1, 2, 3), p }, { y: b })).rejects.toMatchObject({ code: 'runtime' })
    ;(p.data as Float32Array).set([50, 60])
    expect(await program.run({ x, p })).toEqual({ y: floats(51, 62) })
    expect([a, b].map(({ data }) => [...(data as Float32Array)])).toEqual([
      [6, 8],
      [31, 42],
    ])
    expect(await into(p, floats(0, 0))).toEqual([51, 62])
    expect(await into(p, a)).toEqual([51, 62])
  })

  it('the same elements with another shape, or in memory that may grow > are not taken for those bound', async () => {
    const program = await local().compile(oneNode('Neg', ['x'], { dtype: 'float32', dims: ['m', 'n'] }))
    const { data } = sharedFloats(1, 2)
    const dimsOf = async (...dims: number[]) => (await program.run({ x: { dtype: 'float32', dims, data } }))['y']!.dims
    expect(await dimsOf(2, 1)).toEqual([2, 1])
    expect(await dimsOf(1, 2)).toEqual([1, 2])
    // Of ECMAScript 2024.
    const Growable = SharedArrayBuffer as unknown as new (
      bytes: number,
      options: { maxByteLength: number },
    ) => SharedArrayBuffer
    const growable = new Growable(8, { maxByteLength: 16 })
    const x: Tensor = { dtype: 'float32', dims: [1, 2], data: new Float32Array(growable, 0, 2) }
    for (const value of [3, 4]) {
      ;(x.data as Float32Array).fill(value)
      expect([...((await program.run({ x }))['y']!.data as Float32Array)]).toEqual([-value, -value])
    }
  })

  it('strings that onnxruntime would truncate > rejects', async () => {
    const program = await local().compile(oneNode('Identity', ['x'], { dtype: 'string', dims: [1] }))
    const x: Tensor = { dtype: 'string', dims: [1], data: ['a\0b'] }
    await expect(program.run({ x })).rejects.toMatchObject({ code: 'invalid-data', message: /character 0/ })
  })

  it('onnxruntime fails > its error is the cause', async () => {
    const cause = expect.objectContaining({ name: 'OrtFailure', status: 7 })
    await expect(local().compile(Uint8Array.of(1, 2, 3))).rejects.toMatchObject({ cause })
  })

  it('models with inputs or outputs that are not tensors > rejects', async () => {
    const tensorType = { elemType: 1, shape: { dim: [{ dimValue: 2 }] } }
    const graph = {
      name: 'sequence',
      node: [{ opType: 'SequenceConstruct', input: ['x'], output: ['y'] }],
      input: [{ name: 'x', type: { tensorType } }],
      output: [{ name: 'y', type: { sequenceType: { elemType: { tensorType } } } }],
    }
    await expect(local().compile(written(graph, 13))).rejects.toMatchObject({
      code: 'runtime',
      message: /^output 'y' is not a tensor/,
    })
  })

  it('compile from shared memory or from a view > leaves the bytes unchanged', async () => {
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

  describe('device', () => {
    const device = (): Device => local().device!

    it.each(['string', 'int4', 'uint4'] as const)('%s on the device > rejects', async (dtype) => {
      const on = device()
      const refused = { code: 'invalid-data', message: expect.stringContaining(dtype) }
      await expect(on.upload(sample(dtype, [2]))).rejects.toMatchObject(refused)
    })

    it('an output of strings on the device > rejects with its name', async () => {
      const bytes = oneNode('Identity', ['x'], { dtype: 'string', dims: [1] })
      await expect(device().compile(bytes, () => true)).rejects.toMatchObject({
        code: 'invalid-data',
        message: /'y': string/,
      })
    })

    it('upload > validates its tensor', async () => {
      const wrong: Tensor = { dtype: 'float32', dims: [3], data: new Float32Array(2) }
      await expect(device().upload(wrong)).rejects.toMatchObject({ code: 'invalid-data' })
    })

    it('device outputs > never share memory with feeds or other outputs', async () => {
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
      const { device: kept } = await program.run({ x: tensor('float32', [2], data), passed })
      data.fill(9)
      passed.release()
      expect(await on.download(kept['x']!)).toEqual(floats(1, 2))
      expect(await on.download(kept['y']!)).toEqual(floats(1, 2))
      expect(await on.download(kept['passed']!)).toEqual(floats(3, 4))
      kept['x']!.release()
      expect(await on.download(kept['y']!)).toEqual(floats(1, 2))
    })
  })
})

describe('cApi()', () => {
  it('device option, on the CPU > has a device', () => {
    const runtime = cApi({ threads: 1 })
    open.push(runtime)
    expect([runtime.device, typeof start().device]).toEqual([undefined, 'object'])
  })

  it('invalid options > rejects', () => {
    const refused = expect.objectContaining({ code: 'invalid-option' })
    for (const threads of [0, 1.5, Number.NaN]) expect(() => cApi({ threads })).toThrow(refused)
    expect(() => cApi({ device: -1 })).toThrow(refused)
    expect(() => cApi({ provider: 'rocm' as 'cpu' })).toThrow(refused)
    expect(() => cApi({ graphOptimizationLevel: 'most' as 'all' })).toThrow(refused)
    expect(() => cApi({ session: { executionMode: 'both' as 'parallel' } })).toThrow(refused)
  })

  it('session options > are passed on', async () => {
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
    ['continues', false],
    ['is blocked', true],
  ])('during a run > the event loop %s', async (_, blocking) => {
    const program = await start({ blocking }).compile(heavy(20))
    let ticks = 0
    const timer = setInterval(() => ticks++, 1)
    // On a busy machine the thread of the event loop may wait for the processor during a run, but not during all.
    for (let run = 0; run < 50 && (run === 0 || (!blocking && ticks <= 3)); run++)
      await program.run({ x0: square(500) })
    clearInterval(timer)
    if (blocking) expect(ticks).toBe(0)
    else expect(ticks).toBeGreaterThan(3)
  })

  describe('short runs', () => {
    /** Runs a model 20 times, and returns how many runs took place in a thread of the pool. */
    const countInPool = async (runtime: Runtime, length: (run: number) => number) => {
      const program = await runtime.compile(oneNode('Neg', ['x'], vector))
      const later = vi.spyOn(ort().RunWithBinding, 'later')
      for (let run = 0; run < 20; run++) await program.run({ x: floats(...Array<number>(length(run)).fill(1)) })
      const count = later.mock.calls.length
      later.mockRestore()
      return count
    }

    it('one after the other > are in the thread of the caller', async () => {
      const inPool = await countInPool(start(), () => 5)
      expect(inPool).toBeGreaterThan(0)
      // On a busy machine some take long.
      expect(inPool).toBeLessThan(20)
    })

    it('of more elements than before, or beside another runtime, or with blocking: false > are not', async () => {
      expect(await countInPool(start(), (run) => 5 + run)).toBe(20)
      expect(await countInPool(start(), () => 5)).toBe(20)
      for (const runtime of open.splice(0)) await runtime.dispose()
      expect(await countInPool(start({ blocking: false }), () => 5)).toBe(20)
    })

    it('for a long time > the event loop continues', async () => {
      const program = await start().compile(oneNode('Neg', ['x'], vector))
      let ticks = 0
      const timer = setInterval(() => ticks++, 1)
      const end = performance.now() + 200
      while (performance.now() < end) await program.run({ x: floats(1) })
      clearInterval(timer)
      expect(ticks).toBeGreaterThan(3)
    })
  })

  it('same model > results equal those of the official binding', async () => {
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
      const [wanted, ...found] = await Promise.all(programs.map((program) => program.run({ x0 })))
      for (const outputs of found) expect(outputs).toEqual(wanted)
    }
    await official.dispose()
    expect((await programs[1]!.run({ x0 }))['y']!.dims).toEqual([40, 40])
  })

  it('a small view of a large buffer > only the view is copied', async () => {
    const program = await start().compile(oneNode('Neg', ['x'], vector))
    const file = new Float32Array(64 * 2 ** 20)
    const x: Tensor = tensor('float32', [4], file.subarray(8, 12) as TensorData)
    await program.run({ x })
    // A copy of 256 MiB takes tens of milliseconds.
    expect(await fastest(50, () => program.run({ x }))).toBeLessThan(10)
  })
})
