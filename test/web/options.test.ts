import { afterEach, expect, it, vi } from 'vitest'
import { pixels } from '../../src/web/data/decode-image.js'
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
