import { expect, it } from 'vitest'
import { modelBytes, oneNode } from '../node/model.js'
import { describeInBrowser } from './browser.js'
import type { Plains } from './pages/tensors.js'

interface Started {
  readonly id: number
  readonly description: string
}

interface Compiled {
  readonly program: number
}

const vector = { dtype: 'float32', dims: ['n'] } as const
const floats = (...data: number[]) => ({ dtype: 'float32', dims: [data.length], data }) as const
const answer = (...data: number[]) => ({ ...floats(...data), array: 'Float32Array' })
const neg = oneNode('Neg', ['x'], vector)
/** Shaders of a GPU made of software take seconds to compile. */
const patience = 300_000

describeInBrowser('webgpu() in Chromium', (browser) => {
  const put = (bytes: Uint8Array) => browser().exchange.set('model', bytes)

  it(
    'runs in a worker, whatever overlaps',
    async () => {
      const call = browser().worker
      put(neg)
      const { id, description } = await call<Started>('runtime', 'startWebGpu')
      expect(description).toMatch(/^onnxruntime-web \d+\.\d+\.\d+, webgpu on /)
      const [first, second] = [
        await call<Compiled>('runtime', 'compile', id, 'model'),
        await call<Compiled>('runtime', 'compile', id, 'model'),
      ]
      const asked = Array.from({ length: 6 }, (_, i) => [[first, second][i % 2]!.program, { x: floats(i, -2) }])
      expect(await call('runtime', 'runAll', id, 'model', asked)).toEqual(asked.map((_, i) => ({ y: answer(-i, 2) })))
      await expect(call('runtime', 'run', first.program, {})).rejects.toMatchObject({ code: 'invalid-data' })
      expect(await call('runtime', 'memory', second.program)).toEqual({ fed: [3, 3], first: [9, 9], second: [-3, -3] })
      await call('runtime', 'dispose', id)
      await expect(call('runtime', 'compile', id, 'model')).rejects.toMatchObject({
        message: 'this runtime was disposed',
      })
    },
    patience,
  )

  it(
    'refuses what would run on the processor, if told to',
    async () => {
      const port = { dtype: 'float32', dims: ['n'] } as const
      put(
        modelBytes(
          [{ op: 'Softsign', inputs: ['x'], outputs: ['y'] }],
          [{ name: 'x', ...port }],
          [{ name: 'y', ...port }],
        ),
      )
      const call = browser().worker
      const strict = await call<Started>('runtime', 'startWebGpu', { cpuNodes: 'refused' })
      await expect(call('runtime', 'compile', strict.id, 'model')).rejects.toMatchObject({
        code: 'runtime',
        message: expect.stringMatching(/fallback/i),
      })
      const lenient = await call<Started>('runtime', 'startWebGpu')
      const { program } = await call<Compiled>('runtime', 'compile', lenient.id, 'model')
      expect(await call<Plains>('runtime', 'run', program, { x: floats(1) })).toEqual({ y: answer(0.5) })
    },
    patience,
  )

  it(
    'carries tensors to the device and back',
    async () => {
      const samples = [
        { dtype: 'float32', dims: [2, 3], data: [1, 2, 3, 4, 5, 6], array: 'Float32Array' },
        { dtype: 'float32', dims: [], data: [7], array: 'Float32Array' },
        { dtype: 'float32', dims: [0], data: [], array: 'Float32Array' },
        { dtype: 'int32', dims: [1], data: [-7], array: 'Int32Array' },
        { dtype: 'int64', dims: [2], data: [String(2n ** 63n - 1n), '-1'], array: 'BigInt64Array' },
        { dtype: 'float16', dims: [3], data: [0x3c00, 0, 0xfbff], array: 'Uint16Array' },
        { dtype: 'uint8', dims: [5], data: [1, 2, 3, 4, 255], array: 'Uint8Array' },
        { dtype: 'bool', dims: [1], data: [1], array: 'Uint8Array' },
      ]
      expect(await browser().worker('device', 'roundTrips', samples)).toEqual(samples)
    },
    patience,
  )

  it(
    'keeps outputs on the device and feeds them again',
    async () => {
      put(neg)
      const wrong = (message: RegExp, code = 'invalid-data') => ({ code, message: expect.stringMatching(message) })
      expect(await browser().worker('device', 'chained', 'model', 5)).toEqual({
        result: answer(-1, -2, -3),
        dims: [3],
        afterRelease: [
          wrong(/^input 'x': this device tensor was released$/, 'runtime'),
          wrong(/^this device tensor was released$/, 'runtime'),
          wrong(/^input 'x': the model wants float32, not int32$/),
          wrong(/not an input of the model: z/),
        ],
      })
    },
    patience,
  )

  it(
    'allocates nothing more once it has what a run takes',
    async () => {
      put(neg)
      const counts = await browser().worker<number[]>('device', 'buffersOver', 'model', 30)
      expect(counts.at(-1)).toBe(counts[4])
      expect(counts[4]).toBeGreaterThan(0)
    },
    patience,
  )

  it(
    'fails all that is pending and later when the device is lost, and goes on with another',
    async () => {
      put(neg)
      const { errors, later, news, same, renewed, old, disposed } = await browser().worker<{
        readonly errors: readonly unknown[]
        readonly later: readonly unknown[]
        readonly [key: string]: unknown
      }>('device', 'loss', 'model')
      const lost = { code: 'device-lost', message: expect.stringMatching(/^the WebGPU device was destroyed/) }
      expect(errors).toEqual([lost, lost, lost, lost])
      expect(later).toEqual([lost, lost, lost, lost])
      expect([news, old]).toEqual([lost, lost])
      expect(same).toBe(true)
      expect(renewed).toEqual({ y: answer(-4) })
      expect(disposed).toEqual({ code: 'runtime', message: 'this runtime was disposed' })
    },
    patience,
  )

  it('says why it cannot start, and falls back only if told to', async () => {
    await browser().reload()
    const { refusal, description } = await browser().page<{ refusal: unknown; description: string }>(
      'runtime',
      'startWithout',
    )
    expect(refusal).toEqual({ code: 'runtime', message: 'WebGPU cannot start: this browser has no navigator.gpu' })
    expect(description).toMatch(/wasm, \d+ threads?, because WebGPU cannot start: this browser has no navigator.gpu$/)
    await browser().reload()
  })
})
