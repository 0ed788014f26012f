import { afterEach, expect, it, vi } from 'vitest'
import { pixels } from '../../src/web/data/decode-image.js'
import { readModel } from '../../src/web/files/model.js'
import { type Ort, startProvider } from '../../src/web/runtime/ort.js'
import { wasm } from '../../src/web/runtime/wasm.js'
import { webgpu } from '../../src/web/runtime/webgpu.js'

afterEach(() => vi.unstubAllGlobals())

it('a second runtime with another number of threads > its description has the number that onnxruntime started with', async () => {
  await (await wasm({ threads: 1 })).dispose()
  vi.stubGlobal('crossOriginIsolated', true)
  const second = await wasm({ threads: 3 })
  expect(second.description).toMatch(/, wasm, 1 thread$/)
  await second.dispose()
})

it('options of pixels that do not exist > invalid-option', async () => {
  const canvas = {} as ImageBitmapSource
  for (const options of [{ channels: 1 }, { chanels: 4 }])
    await expect(pixels(canvas, options as object)).rejects.toMatchObject({ code: 'invalid-option' })
})

it('a power preference that does not exist > invalid-option, also with a fallback', async () => {
  const options = { powerPreference: 'high' as 'low-power', fallback: () => wasm({ threads: 1 }) }
  await expect(webgpu(options)).rejects.toMatchObject({
    code: 'invalid-option',
    message: expect.stringContaining("'low-power' or 'high-performance'"),
  })
})

it.each([
  ['a folder', '/ort/', { wasmPaths: '/ort/' }],
  ['the files of one build', { wasm: '/a.wasm', mjs: '/a.mjs' }, {}],
])('wasmPaths, %s > the fallback gets those of every build', async (_, wasmPaths, settings) => {
  const fallback = vi.fn(() => wasm({ threads: 1 }))
  await (await webgpu({ wasmPaths, fallback })).dispose()
  expect(fallback).toHaveBeenCalledExactlyOnceWith(settings)
})

it.each(['ort/', '/ort', 'ort'])('wasmPaths %j > invalid-option with the form of a folder', async (wasmPaths) => {
  await expect(wasm({ wasmPaths })).rejects.toMatchObject({
    code: 'invalid-option',
    message: expect.stringMatching(/^wasm: option 'wasmPaths' is '.*ends with '\/'/),
  })
})

it.each([
  [
    "WebAssembly.instantiate(): violates the following Content Security policy directive: script-src 'self'",
    /: add 'wasm-unsafe-eval' to its script-src$/,
  ],
  [
    'Failed to fetch dynamically imported module: /ort-wasm-simd-threaded.mjs',
    /text\/javascript.*wasmPaths.*another worker$/,
  ],
  ['another WebGPU EP inference session is being created.', /an earlier start has failed; .*another worker$/],
  ['out of memory', /does not start: out of memory$/],
])('a start that fails with "%s" > the advice is about that', async (reason, message) => {
  const create = () => Promise.reject(new Error(reason))
  const ort = { env: { wasm: { numThreads: 1 } }, InferenceSession: { create } } as unknown as Ort
  await expect(startProvider(ort, 'wasm', {})).rejects.toMatchObject({
    code: 'runtime',
    message: expect.stringMatching(message),
  })
})

it('a part of the library that does not load > is a failed start, and the fallback is used', async () => {
  vi.doMock('../../src/web/runtime/start-webgpu.js', () => {
    throw new Error('Failed to fetch dynamically imported module')
  })
  try {
    await expect(webgpu()).rejects.toMatchObject({ code: 'runtime' })
    const runtime = await webgpu({ fallback: () => wasm({ threads: 1 }) })
    expect(runtime.description).toMatch(/wasm, 1 thread, because WebGPU cannot start: /)
    await runtime.dispose()
  } finally {
    vi.doUnmock('../../src/web/runtime/start-webgpu.js')
  }
})

it.each([
  [null, 'null'],
  [Promise.resolve(), 'a promise, which has to be awaited'],
  [new Response('', {}), 'an object of the class Response'],
  [[new File([], 'a.onnx')], '[{...}]'],
])('readModel(%s) > invalid-option naming the sources', async (source, description) => {
  await expect(readModel(source as never)).rejects.toMatchObject({
    code: 'invalid-option',
    message: expect.stringContaining(`the source is ${description}; it must be an address, a File or Blob`),
  })
})
