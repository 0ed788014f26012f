import { expect, it } from 'vitest'
import { modelBytes, oneNode } from '../node/model.js'
import { type Caller, describeInBrowser } from './browser.js'
import type { Plains } from './pages/tensors.js'

interface Compiled {
  readonly program: number
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
}

const vector = { dtype: 'float32', dims: ['n'] } as const
const floats = (...data: number[]) => ({ dtype: 'float32', dims: [data.length], data }) as const
const answer = (...data: number[]) => ({ ...floats(...data), array: 'Float32Array' })

describeInBrowser('wasm() in Chromium', (browser) => {
  const start = (call: Caller, options = {}) =>
    call<{ readonly id: number; readonly description: string }>('runtime', 'startWasm', options)
  const compiled = async (call: Caller, bytes: Uint8Array, options = {}) => {
    const { id } = await start(call, options)
    browser().exchange.set('model', bytes)
    return { id, ...(await call<Compiled>('runtime', 'compile', id, 'model')) }
  }
  const run = (call: Caller, program: number, feeds: Plains) => call<Plains>('runtime', 'run', program, feeds)

  it('runs in the page and in a worker, on several threads where the page is isolated', async () => {
    for (const where of ['page', 'worker'] as const) {
      const call = browser()[where]
      const { id, program, inputNames, outputNames } = await compiled(call, oneNode('Sub', ['a', 'b'], vector), {
        threads: 2,
      })
      expect([inputNames, outputNames]).toEqual([['a', 'b'], ['y']])
      expect(await run(call, program, { a: floats(5, 7), b: floats(1, 2) })).toEqual({ y: answer(4, 5) })
      await call('runtime', 'dispose', id)
    }
    expect((await start(browser().worker)).description).toMatch(/^onnxruntime-web \d+\.\d+\.\d+, wasm, \d+ threads?$/)
  })

  it('carries every type as Node does', async () => {
    const samples = [
      { dtype: 'float32', dims: [], data: [5], array: 'Float32Array' },
      { dtype: 'float32', dims: [0, 3], data: [], array: 'Float32Array' },
      { dtype: 'float64', dims: [1], data: [Math.PI], array: 'Float64Array' },
      { dtype: 'float16', dims: [2], data: [0x3c00, 0xfbff], array: 'Uint16Array' },
      { dtype: 'bool', dims: [3], data: [1, 0, 1], array: 'Uint8Array' },
      { dtype: 'uint8', dims: [2], data: [0, 255], array: 'Uint8Array' },
      { dtype: 'int64', dims: [2], data: [String(2n ** 63n - 1n), '-1'], array: 'BigInt64Array' },
      { dtype: 'string', dims: [2], data: ['', 'größe'], array: 'Array' },
    ] as const
    for (const x of samples) {
      const dims = x.dims.map((_, i) => `d${i}`)
      const { program } = await compiled(
        browser().worker,
        oneNode('Identity', ['x'], { dtype: x.dtype as 'float32', dims }),
      )
      expect(await run(browser().worker, program, { x })).toEqual({ y: x })
    }
  })

  it('leaves what it is fed, and gives outputs memory of their own', async () => {
    const { program } = await compiled(browser().worker, oneNode('Neg', ['x'], vector))
    expect(await browser().worker('runtime', 'memory', program)).toEqual({
      fed: [3, 3],
      first: [9, 9],
      second: [-3, -3],
    })
  })

  it('carries out overlapping runs one by one', async () => {
    const { id, program } = await compiled(browser().worker, oneNode('Neg', ['x'], vector))
    const other = await browser().worker<Compiled>('runtime', 'compile', id, 'model')
    const asked = Array.from({ length: 10 }, (_, i) => [[program, other.program][i % 2], { x: floats(i) }])
    expect(await browser().worker('runtime', 'runAll', id, 'model', asked)).toEqual(
      asked.map((_, i) => ({ y: answer(-i) })),
    )
  })

  it('allocates', async () => {
    const { id } = await start(browser().worker)
    expect(await browser().worker('runtime', 'allocated', id, 'float32', 2)).toEqual([0, 0])
    expect(await browser().worker('runtime', 'allocated', id, 'int4', 5)).toEqual([0, 0, 0])
    await expect(browser().worker('runtime', 'allocated', id, 'string', 5)).rejects.toMatchObject({
      code: 'invalid-data',
    })
  })

  it('refuses with reasons', async () => {
    const call = browser().worker
    const { id, program } = await compiled(call, oneNode('Add', ['a', 'b'], vector))
    const refused = (feeds: Plains, code: string, message: RegExp) =>
      expect(run(call, program, feeds)).rejects.toMatchObject({ code, message: expect.stringMatching(message) })
    await refused({ a: floats(1) }, 'invalid-data', /not fed: b$/)
    await refused({ a: floats(1), b: floats(1), c: floats(1) }, 'invalid-data', /not an input of the model: c$/)
    await refused({ a: floats(1, 2), b: floats(1, 2, 3) }, 'runtime', /onnxruntime could not run the model: /)
    expect(await run(call, program, { a: floats(1), b: floats(2) })).toEqual({ y: answer(3) })
    browser().exchange.set('damaged', oneNode('Add', ['a', 'b'], vector).subarray(0, 30))
    await expect(call('runtime', 'compile', id, 'damaged')).rejects.toMatchObject({
      code: 'runtime',
      message: expect.stringMatching(/^onnxruntime refused the model: /),
    })
    const unknown = modelBytes(
      [{ op: 'Nonsense', inputs: ['x'], outputs: ['y'] }],
      [{ name: 'x', ...vector }],
      [{ name: 'y', ...vector }],
    )
    browser().exchange.set('unknown', unknown)
    await expect(call('runtime', 'compile', id, 'unknown')).rejects.toMatchObject({
      message: expect.stringMatching(/Nonsense/),
    })
    for (const threads of [0, 1.5])
      await expect(start(call, { threads })).rejects.toMatchObject({ code: 'invalid-option' })
    await call('runtime', 'release', program)
    await call('runtime', 'release', program)
    await refused({ a: floats(1), b: floats(2) }, 'runtime', /this program was released/)
    await call('runtime', 'dispose', id)
    await expect(call('runtime', 'compile', id, 'model')).rejects.toMatchObject({
      message: 'this runtime was disposed',
    })
  })

  it('says why it cannot start', async () => {
    await browser().reload()
    await expect(start(browser().page, { wasmPaths: '/nowhere/' })).rejects.toMatchObject({
      code: 'runtime',
      message: expect.stringMatching(/^onnxruntime's wasm does not start: .*nowhere/),
    })
    await browser().reload()
  })
})
