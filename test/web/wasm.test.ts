import { expect, it } from 'vitest'
import { oneNode } from '../runtime/models.js'
import { vector } from '../runtime/samples.js'
import { type Caller, describeInBrowser } from './browser.js'
import { answer, floats, type Plains } from './pages/tensors.js'

interface Compiled {
  readonly program: number
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
}

describeInBrowser('wasm() in Chromium', (browser) => {
  const start = (call: Caller, options = {}) =>
    call<{ readonly id: number; readonly description: string }>('runtime', 'startWasm', options)
  const compiled = async (call: Caller, bytes: Uint8Array, options = {}) => {
    const { id } = await start(call, options)
    browser().exchange.set('model', bytes)
    return { id, ...(await call<Compiled>('runtime', 'compile', id, 'model')) }
  }
  const run = (call: Caller, program: number, feeds: Plains) => call<Plains>('runtime', 'run', program, feeds)

  it('page and worker > run, with several threads if the page is isolated', async () => {
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

  it('feeds > are unchanged; outputs own their memory', async () => {
    const { program } = await compiled(browser().worker, oneNode('Neg', ['x'], vector))
    expect(await browser().worker('runtime', 'memory', program)).toEqual({
      fed: [3, 3],
      first: [9, 9],
      second: [-3, -3],
    })
  })

  it('allocate > returns arrays in WebAssembly memory', async () => {
    const { id } = await start(browser().worker)
    expect(await browser().worker('runtime', 'allocated', id, 'float32', 2)).toEqual([0, 0])
    expect(await browser().worker('runtime', 'allocated', id, 'int4', 5)).toEqual([0, 0, 0])
    await expect(browser().worker('runtime', 'allocated', id, 'string', 5)).rejects.toMatchObject({
      code: 'invalid-data',
    })
  })

  it('invalid number of threads > rejects', async () => {
    for (const threads of [0, 1.5])
      await expect(start(browser().worker, { threads })).rejects.toMatchObject({ code: 'invalid-option' })
  })

  it('failed start > rejects with the reason', async () => {
    await browser().reload()
    await expect(start(browser().page, { wasmPaths: '/nowhere/' })).rejects.toMatchObject({
      code: 'runtime',
      message: expect.stringMatching(/^onnxruntime's wasm does not start: .*nowhere/),
    })
    await browser().reload()
    const unreachable = { wasmPaths: { wasm: 'http://127.0.0.1:9/nowhere.wasm' }, threads: 1 }
    await expect(start(browser().worker, unreachable)).rejects.toMatchObject({
      code: 'runtime',
      message: expect.stringMatching(/^onnxruntime's wasm does not start: .*nowhere.* by wasmPaths; .*another worker/s),
    })
    await browser().reload()
  })

  it('file of the threads without the header of isolation > rejects with that reason, later starts too', async () => {
    const { tab, page } = browser()
    const file = '**/ort-wasm-simd-threaded*.mjs'
    await tab.route(file, async (route) => {
      const response = await route.fetch()
      const { 'cross-origin-embedder-policy': _, ...headers } = response.headers()
      await route.fulfill({ response, headers })
    })
    try {
      await browser().reload()
      for (const options of [{ threads: 2 }, {}, { threads: 1 }])
        await expect(start(page, options)).rejects.toMatchObject({
          code: 'runtime',
          message: expect.stringMatching(
            /^onnxruntime's wasm does not start its threads: .*\.mjs: .* Cross-Origin-Embedder-Policy.*threads: 1/,
          ),
        })
      expect(await tab.evaluate(() => String(Worker))).toMatch(/native code/)
      await browser().reload()
      expect((await start(page, { threads: 1 })).description).toMatch(/1 thread$/)
    } finally {
      await tab.unroute(file)
      await browser().reload()
    }
  })
})
