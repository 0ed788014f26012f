import { expect, it } from 'vitest'
import { modelBytes as builtBytes, info, node } from '../onnx/build.js'
import { modelBytes, oneNode } from '../runtime/models.js'
import { vector } from '../runtime/samples.js'
import { describeInBrowser } from './browser.js'
import { answer, floats, type Plain, type Plains } from './pages/tensors.js'

interface Started {
  readonly id: number
  readonly description: string
}

interface Compiled {
  readonly program: number
}

const neg = oneNode('Neg', ['x'], vector)
/** Shaders take seconds to compile on a software GPU. */
const patience = 300_000

describeInBrowser('webgpu() in Chromium', (browser) => {
  const put = (bytes: Uint8Array) => browser().exchange.set('model', bytes)

  it(
    'feeds > are unchanged; outputs own their memory',
    async () => {
      const call = browser().worker
      put(neg)
      const { id } = await call<Started>('runtime', 'startWebGpu')
      const { program } = await call<Compiled>('runtime', 'compile', id, 'model')
      expect(await call('runtime', 'memory', program)).toEqual({ fed: [3, 3], first: [9, 9], second: [-3, -3] })
      await call('runtime', 'dispose', id)
    },
    patience,
  )

  it(
    'cpuNodes forbidden, nodes for the CPU > rejects, naming them',
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
      const strict = await call<Started>('runtime', 'startWebGpu', { cpuNodes: 'forbidden' })
      await expect(call('runtime', 'compile', strict.id, 'model')).rejects.toMatchObject({
        code: 'runtime',
        message: expect.stringMatching(/'[^']+' \(Softsign: it has no kernel; compileModel replaces it/),
      })
      const lenient = await call<Started>('runtime', 'startWebGpu')
      const { program } = await call<Compiled>('runtime', 'compile', lenient.id, 'model')
      expect(await call<Plains>('runtime', 'run', program, { x: floats(1) })).toEqual({ y: answer(0.5) })
    },
    patience,
  )

  it.each(['startWebGpu', 'startWasm'])(
    '%s, large weights > are given to onnxruntime beside the model',
    async (how) => {
      const [rows, columns] = [300, 200]
      const data = Float32Array.from({ length: rows * columns }, (_, i) => Math.fround(Math.sin(i)))
      const b = { dtype: 'float32', dims: [columns], data: new Float32Array(columns).fill(1) } as const
      const bytes = builtBytes({
        nodes: [node('MatMul', 'x w', 'z'), node('Add', 'z b', 'y')],
        inputs: [info('x', [2, rows])],
        outputs: [info('y', [2, columns])],
        initializers: { w: { dtype: 'float32', dims: [rows, columns], data }, b },
      })
      const x = Array.from({ length: 2 * rows }, (_, i) => Math.cos(i))
      const feeds = { x: { dtype: 'float32', dims: [2, rows], data: x } } as const
      const expected = Array.from({ length: 2 * columns }, (_, i) => {
        const [row, column] = [Math.floor(i / columns), i % columns]
        return x.slice(row * rows, (row + 1) * rows).reduce((sum, v, k) => sum + v * data[k * columns + column]!, 1)
      })
      const near = (found: readonly unknown[]) =>
        expect(Math.max(...found.map((value, i) => Math.abs(Number(value) - expected[i]!)))).toBeLessThan(1e-3)
      const call = browser().worker
      const { id } = await call<Started>('runtime', how)
      put(bytes)
      const { program, sizes } = await call<Compiled & { sizes: number[] }>('runtime', 'compileApart', id, 'model')
      expect(sizes[0]).toBeLessThan(5000)
      expect(sizes[1]).toBe(4 * rows * columns)
      near((await call<Plains>('runtime', 'run', program, feeds))['y']!.data)
      if (how === 'startWebGpu') {
        put(bytes)
        near((await call<Plain>('runtime', 'runOnDevice', id, 'model', feeds, 'y')).data)
      }
      await call('runtime', 'dispose', id)
    },
    patience,
  )

  it(
    'build of onnxruntime > is the smaller one if the browser can suspend WebAssembly; both run models',
    async () => {
      for (const hasJspi of [false, true]) {
        await browser().reload()
        put(neg)
        const call = browser().worker
        const { id, files } = await call<{ id: number; files: string[] }>('runtime', 'startBuild', hasJspi)
        expect(files).toEqual([
          expect.stringMatching(hasJspi ? /threaded\.jspi.*\.wasm$/ : /threaded\.asyncify.*\.wasm$/),
        ])
        const { program } = await call<Compiled>('runtime', 'compile', id, 'model')
        expect(await call<Plains>('runtime', 'run', program, { x: floats(1, -2) })).toEqual({ y: answer(-1, 2) })
        await call('runtime', 'dispose', id)
      }
    },
    patience,
  )

  it(
    'further runs > allocate no more memory',
    async () => {
      put(neg)
      const counts = await browser().worker<number[]>('device', 'buffersOver', 'model', 30)
      expect(counts.at(-1)).toBe(counts[4])
      expect(counts[4]).toBeGreaterThan(0)
    },
    patience,
  )

  it(
    'AdamW with 8 bits > moment of one byte per element on the GPU, with the values of WebAssembly',
    async () => {
      const result = await browser().worker<{
        readonly sizes: Readonly<Record<string, number>>
        readonly [key: string]: unknown
      }>('device', 'updateInBytes', [64, 128], 4)
      // onnxruntime rounds sizes of buffers up to powers of two.
      const elements = 64 * 128
      expect(result.sizes['firstMomentBytes']).toBe(elements)
      expect(result.sizes['secondMoment']).toBe(4 * elements)
      expect(result['distinct']).toBeGreaterThan(200)
      // A square root that rounds otherwise moves a byte by one where it is halfway between two.
      expect(result['different']).toBeLessThan(elements / 1000)
      expect(result['furthest']).toBeLessThanOrEqual(1)
      expect(result['theta']).toBeLessThan(1e-4)
    },
    patience,
  )

  it(
    'lost device > pending and later calls reject, and another runtime works',
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

  it(
    'two runtimes > share a device, which is replaced after its loss and stays until both are disposed of',
    async () => {
      put(neg)
      const { before, refusal, first, unrecovered, after, results } = await browser().worker<{
        readonly results: readonly unknown[]
        readonly [key: string]: unknown
      }>('device', 'sharing', 'model')
      expect([before, after]).toEqual([true, true])
      expect(refusal).toEqual({
        code: 'invalid-option',
        message: expect.stringMatching(/'low-power' has no effect beside a runtime with 'high-performance'/),
      })
      expect(unrecovered).toMatchObject({ code: 'device-lost' })
      expect([first, ...results]).toEqual(Array(4).fill({ y: answer(-2) }))
    },
    patience,
  )

  it(
    'disposal while a lost device is replaced > destroys the new one, too',
    async () => {
      expect(await browser().worker<boolean>('device', 'disposalDuringRecovery')).toBe(true)
    },
    patience,
  )

  it('failed start > rejects with the reason, and falls back only on request', async () => {
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
