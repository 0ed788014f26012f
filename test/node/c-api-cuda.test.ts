import { afterAll, describe, expect, it } from 'vitest'
import { type DType, dtypes } from '../../src/ir/dtype.js'
import { type Tensor, tensor } from '../../src/ir/tensor.js'
import { cudaRefusal, isDeviceLost } from '../../src/node/c-api/cuda.js'
import { cApi } from '../../src/node/c-api/runtime.js'
import { node } from '../../src/node/runtime.js'
import type { Runtime } from '../../src/runtime/runtime.js'
import { whyNoCuda } from './cuda.js'
import { heavy, oneNode } from './model.js'

const absent = whyNoCuda()
if (absent !== undefined) console.warn(`\nNOT TESTED, for CUDA does not start here: the C API on CUDA\n  ${absent}\n`)

describe('CUDA where it cannot start', () => {
  it.skipIf(absent === undefined)('says what is missing', () => {
    expect(() => cApi({ provider: 'cuda' })).toThrow(
      expect.objectContaining({
        code: 'runtime',
        message: expect.stringMatching(/^(CUDA|onnxruntime-node has a CUDA)/),
      }),
    )
    // A failed start leaves nothing in the way of another.
    expect(cApi({ threads: 1 }).provider).toBe('cpu')
  })

  it('names the libraries of CUDA that are missing', () => {
    const absent =
      'Failed to load library libonnxruntime_providers_cuda.so with error: libcublasLt.so.12: cannot open shared object file: No such file or directory'
    expect(cudaRefusal(absent)).toMatch(/libcublasLt\.so\.12 is part of CUDA 12 or cuDNN 9: .*LD_LIBRARY_PATH/)
    expect(cudaRefusal(absent)).toContain(absent)
    expect(cudaRefusal('CUDA failure 2: out of memory')).not.toContain('LD_LIBRARY_PATH')
  })

  it('tells a lost device from a failed run', () => {
    const failure = (code: number) =>
      `CUDA failure ${code}: something ; GPU=0 ; hostname=here ; expr=cudaStreamSynchronize(stream)`
    expect(isDeviceLost(failure(700))).toBe(true)
    expect(isDeviceLost(failure(719))).toBe(true)
    expect(isDeviceLost(failure(2))).toBe(false)
    expect(isDeviceLost('Non-zero status code returned while running Add node')).toBe(false)
  })
})

describe.skipIf(absent !== undefined)('the C API on CUDA', () => {
  const open: Runtime[] = []
  const cuda = () => {
    open[0] ??= cApi({ provider: 'cuda' })
    return open[0]
  }
  afterAll(async () => {
    for (const runtime of open) await runtime.dispose()
  })

  it('says what it runs on', () => {
    expect(cuda().provider).toBe('cuda')
    expect(cuda().description).toMatch(/, cuda 0, /)
  })

  const kept = (Object.keys(dtypes) as DType[]).filter((dtype) => dtypes[dtype].bits >= 8)
  it.each(kept.flatMap((dtype) => [[], [5], [0, 3]].map((dims) => [dtype, dims] as const)))(
    'uploads and downloads %s %j',
    async (dtype, dims) => {
      const device = cuda().device!
      const length = dims.reduce((product: number, dim) => product * dim, 1)
      const data = new dtypes[dtype].array!(length)
      for (let i = 0; i < length; i++)
        data[i] = (dtypes[dtype].bits === 64 && dtype !== 'float64' ? BigInt(i % 2) : i % 2) as never
      const x: Tensor = { dtype, dims, data }
      const there = await device.upload(x)
      expect(await device.download(there)).toEqual(x)
      there.release()
    },
  )

  it('keeps outputs on the GPU, and computes what the CPU does', async () => {
    const device = cuda().device!
    const host = node({ threads: 1, worker: false })
    const data = Float32Array.from({ length: 64 * 64 }, (_, i) => Math.sin(i))
    const x0 = tensor('float32', [64, 64], data)
    const there = await device.upload(x0)
    const program = await device.compile(heavy(2), () => true)
    const { kept } = await program.run({ x0: there })
    await program.release()
    const got = (await device.download(kept['y']!)).data as Float32Array
    const wanted = (await (await host.compile(heavy(2))).run({ x0 }))['y']!.data as Float32Array
    await host.dispose()
    const scale = Math.max(...wanted.map(Math.abs))
    for (const [i, y] of got.entries()) expect(Math.abs(y - wanted[i]!) / scale).toBeLessThan(1e-5)
  })

  it('never lets kept outputs share memory with feeds', async () => {
    const device = cuda().device!
    const port = { dtype: 'float32', dims: [2] } as const
    const program = await device.compile(oneNode('Identity', ['x'], port), () => true)
    const x = await device.upload(tensor('float32', [2], Float32Array.of(1, 2)))
    const { kept } = await program.run({ x })
    x.release()
    await device.upload(tensor('float32', [2], Float32Array.of(8, 9)))
    expect((await device.download(kept['y']!)).data).toEqual(Float32Array.of(1, 2))
  })

  it('refuses a device that is not there', () => {
    expect(() => cApi({ provider: 'cuda', device: 99 })).toThrow(/there is no device 99; the driver has \d+/)
  })
})
