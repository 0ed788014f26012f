import { afterEach, expect, it } from 'vitest'
import type { DType } from '../../src/ir/dtype.js'
import type { Tensors } from '../../src/ir/tensor.js'
import { tensor } from '../../src/ir/tensor.js'
import type { Runtime } from '../../src/runtime/runtime.js'
import { heavy, modelBytes, oneNode } from './models.js'
import { floats, sample, someDims, square, vector } from './samples.js'

/** A kind of runtime, as the cases of all of them see it. */
export interface Place {
  readonly start: () => Runtime | Promise<Runtime>
  readonly description: RegExp
  /** Dtypes of what is fed and given. */
  readonly carries: readonly DType[]
  /** Whether it reads the arrays that it is fed: one in a browser gets copies of them. */
  readonly local: boolean
  /** Milliseconds that a case may take. */
  readonly patience?: number
}

/** Starts runtimes that are disposed when a case is over. */
export function starting(start: Place['start']): () => Promise<Runtime> {
  const open: Runtime[] = []
  afterEach(async () => {
    for (const runtime of open.splice(0)) await runtime.dispose()
  })
  return async () => {
    const runtime = await start()
    open.push(runtime)
    return runtime
  }
}

/** Test cases for every runtime, added to the calling suite. */
export function everyRuntime({ start: begin, description, carries, local, patience = 60_000 }: Place): void {
  const start = starting(begin)
  const limit = { timeout: patience }
  const itLocally = (title: string, options: object, test: () => Promise<void>) => local && it(title, options, test)

  it('a model > runs, and its input and output names are listed', limit, async () => {
    const runtime = await start()
    expect(runtime.description).toMatch(description)
    const program = await runtime.compile(oneNode('Sub', ['a', 'b'], vector))
    expect(program.inputNames).toEqual(['a', 'b'])
    expect(program.outputNames).toEqual(['y'])
    expect(await program.run({ b: floats(1, 2), a: floats(5, 7) })).toEqual({ y: floats(4, 5) })
  })

  it.each(carries)('%s > is fed and returned unchanged', limit, async (dtype) => {
    const runtime = await start()
    for (const dims of someDims) {
      const symbolic = dims.map((_, i) => `d${i}`)
      const program = await runtime.compile(oneNode('Identity', ['x'], { dtype: dtype as 'float32', dims: symbolic }))
      const x = sample(dtype, dims)
      expect(await program.run({ x })).toEqual({ y: x })
    }
  })

  itLocally('outputs > own their memory, also an output that is an input', limit, async () => {
    const port = { dtype: 'float32', dims: [2] } as const
    const steps = ['y', 'z'].map((name) => ({ op: 'Identity', inputs: ['x'], outputs: [name] }))
    const ports = ['y', 'z'].map((name) => ({ name, ...port }))
    const program = await (await start()).compile(modelBytes(steps, [{ name: 'x', ...port }], ports))
    const x = floats(1, 2)
    const first = await program.run({ x })
    ;(first['y']!.data as Float32Array).fill(9)
    expect([x, first['z']]).toEqual([floats(1, 2), floats(1, 2)])
    expect(await program.run({ x })).toEqual({ y: x, z: x })
    expect(first['y']).toEqual(floats(9, 9))
  })

  itLocally('feeds that are views, shared or resizable > are read', limit, async () => {
    const program = await (await start()).compile(oneNode('Neg', ['x'], vector))
    const run = async (data: Float32Array) => (await program.run({ x: tensor('float32', [data.length], data) }))['y']
    const whole = Float32Array.from([1, 2, 3, 4])
    expect(await run(whole.subarray(1, 3))).toEqual(floats(-2, -3))
    expect(await run(new Float32Array(new SharedArrayBuffer(16), 4, 2).fill(7))).toEqual(floats(-7, -7))
    const Resizable = ArrayBuffer as unknown as new (bytes: number, options: { maxByteLength: number }) => ArrayBuffer
    expect(await run(new Float32Array(new Resizable(8, { maxByteLength: 16 })).fill(3))).toEqual(floats(-3, -3))
    expect(whole).toEqual(Float32Array.from([1, 2, 3, 4]))
  })

  itLocally('allocated arrays of any length > are read at the start of each run', limit, async () => {
    const runtime = await start()
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

  it('overlapping runs of two programs > do not interfere, and finish in call order', limit, async () => {
    const runtime = await start()
    const programs = await Promise.all(['Neg', 'Abs'].map((op) => runtime.compile(oneNode(op, ['x'], vector))))
    const order: number[] = []
    const runs = Array.from({ length: 12 }, async (_, i) => {
      const { y } = await programs[i % 2]!.run({ x: floats(-i, i) })
      order.push(i)
      return y
    })
    const compiled = runtime.compile(oneNode('Relu', ['x'], vector))
    expect(await Promise.all(runs)).toEqual(runs.map((_, i) => (i % 2 === 0 ? floats(i, -i) : floats(i, i))))
    expect(order).toEqual(runs.map((_, i) => i))
    expect(await (await compiled).run({ x: floats(-1, 1) })).toEqual({ y: floats(0, 1) })
  })

  it('feeds that do not match the inputs > run > rejects and names the input', limit, async () => {
    const program = await (await start()).compile(oneNode('Add', ['a', 'b'], vector))
    const refused = (feeds: Tensors, message: RegExp) =>
      expect(program.run(feeds)).rejects.toMatchObject({
        code: 'invalid-data',
        message: expect.stringMatching(message),
      })
    const a = floats(1)
    await refused({ a }, / b$/)
    await refused({ a, b: a, c: a, d: a }, / c, d$/)
    await refused({ a, b: { ...a, dtype: 'float64' } }, /^input 'b': .*float32.*float64/)
    await refused({ a, b: { ...a, dims: [2] } }, /^input 'b': .*\[2\]/)
    await refused({ a, b: { ...a, dims: [-1, -1] } }, /^input 'b': .*\[-1, -1\]/)
    if (!local) return
    await refused({ a, b: { ...a, data: new Float64Array(1) } }, /^input 'b': .*Float32Array.*Float64Array/)
    await refused({ a, b: { ...a, data: ['1'] } }, /^input 'b': .*Array$/)
  })

  it('errors of onnxruntime > are passed on, and the runtime stays usable', limit, async () => {
    const runtime = await start()
    const refused = { code: 'runtime', message: expect.stringMatching(/^onnxruntime rejected the model: .*protobuf/s) }
    await expect(runtime.compile(Uint8Array.of(1, 2, 3))).rejects.toMatchObject(refused)
    await expect(runtime.compile(oneNode('NoSuchOp', ['x'], vector))).rejects.toThrow(/NoSuchOp/)
    const program = await runtime.compile(oneNode('Add', ['a', 'b'], vector))
    await expect(program.run({ a: floats(1, 2), b: floats(1, 2, 3) })).rejects.toMatchObject({
      code: 'runtime',
      message: expect.stringMatching(
        local ? /^onnxruntime could not run the model: .*Add/s : /^onnxruntime could not run/,
      ),
    })
    expect(await program.run({ a: floats(1), b: floats(2) })).toEqual({ y: floats(3) })
  })

  itLocally('model in shared memory or in a view > is compiled', limit, async () => {
    const runtime = await start()
    const bytes = oneNode('Neg', ['x'], vector)
    const padded = new Uint8Array(new SharedArrayBuffer(bytes.length + 8))
    padded.set(bytes, 3)
    for (const model of [padded.subarray(3, 3 + bytes.length), Uint8Array.from(padded).subarray(3, 3 + bytes.length)])
      expect(await (await runtime.compile(model)).run({ x: floats(1) })).toEqual({ y: floats(-1) })
  })

  it('release > takes effect after pending runs; later runs reject', limit, async () => {
    const runtime = await start()
    const [negate, kept] = await Promise.all([
      runtime.compile(oneNode('Neg', ['x'], vector)),
      runtime.compile(oneNode('Abs', ['x'], vector)),
    ])
    const pending = negate.run({ x: floats(1) })
    await Promise.all([negate.release(), negate.release()])
    expect(await pending).toEqual({ y: floats(-1) })
    const released = { code: 'runtime', message: expect.stringMatching(/this program was released/) }
    await expect(negate.run({ x: floats(1) })).rejects.toMatchObject(released)
    expect(await kept.run({ x: floats(-1) })).toEqual({ y: floats(1) })
  })

  itLocally('dispose during a compilation > which rejects', limit, async () => {
    const runtime = await start()
    const compiling = runtime.compile(heavy(4)).catch((error: unknown) => error)
    await runtime.dispose()
    expect(await compiling).toMatchObject({ code: 'runtime', message: 'this runtime was disposed' })
  })

  it('dispose > takes effect after pending runs; later calls reject', limit, async () => {
    const runtime = await start()
    const program = await runtime.compile(heavy(4))
    const pending = [program.run({ x0: square(120) }), program.run({ x0: square(80) })]
    await Promise.all([runtime.dispose(), runtime.dispose()])
    expect((await Promise.all(pending)).map(({ y }) => y!.dims)).toEqual([
      [120, 120],
      [80, 80],
    ])
    const disposed = { code: 'runtime', message: expect.stringMatching(/this runtime was disposed/) }
    await expect(program.run({ x0: square(2) })).rejects.toMatchObject(disposed)
    await expect(runtime.compile(heavy(1))).rejects.toMatchObject(disposed)
    await program.release()
  })
}
