import { afterAll, describe, expect, it } from 'vitest'
import { tensor } from '../../src/ir/tensor.js'
import { explainCudaFailure, isDeviceLost } from '../../src/node/c-api/provider.js'
import { cApi } from '../../src/node/c-api/runtime.js'
import { node } from '../../src/node/runtime/node.js'
import type { Runtime } from '../../src/runtime/runtime.js'
import { needs } from '../requirements.js'
import { heavy } from '../runtime/models.js'

const cudaNeeded = await needs('cuda')
const noCudaNeeded = await needs('no CUDA')

describe('CUDA > it cannot start', () => {
  it('lists what is missing', noCudaNeeded, () => {
    expect(() => cApi({ provider: 'cuda' })).toThrow(
      expect.objectContaining({
        code: 'runtime',
        message: expect.stringMatching(/^(CUDA|onnxruntime-node has a CUDA)/),
      }),
    )
    // A failed start leaves nothing in the way of another.
    expect(cApi({ threads: 1 }).provider).toBe('cpu')
  })

  it('lists the missing CUDA libraries', () => {
    const absent =
      'Failed to load library libonnxruntime_providers_cuda.so with error: libcublasLt.so.12: cannot open shared object file: No such file or directory'
    expect(explainCudaFailure(absent)).toMatch(/libcublasLt\.so\.12 is part of CUDA or cuDNN: .*LD_LIBRARY_PATH/)
    expect(explainCudaFailure(absent)).toContain(absent)
    expect(explainCudaFailure('CUDA failure 2: out of memory')).not.toContain('LD_LIBRARY_PATH')
  })

  it('error of a run > distinguishes a lost device from a failed run', () => {
    const failure = (code: number) =>
      `CUDA failure ${code}: something ; GPU=0 ; hostname=here ; expr=cudaStreamSynchronize(stream)`
    expect(isDeviceLost(failure(700))).toBe(true)
    expect(isDeviceLost(failure(719))).toBe(true)
    expect(isDeviceLost(failure(2))).toBe(false)
    expect(isDeviceLost('Non-zero status code returned while running Add node')).toBe(false)
  })
})

describe('the C API on CUDA', cudaNeeded, () => {
  const open: Runtime[] = []
  const cuda = () => {
    open[0] ??= cApi({ provider: 'cuda' })
    return open[0]
  }
  afterAll(async () => {
    for (const runtime of open) await runtime.dispose()
  })

  it('device outputs > stay on the GPU and equal those of the CPU', async () => {
    const device = cuda().device!
    const host = node({ threads: 1, worker: false })
    const data = Float32Array.from({ length: 64 * 64 }, (_, i) => Math.sin(i))
    const x0 = tensor('float32', [64, 64], data)
    const there = await device.upload(x0)
    const program = await device.compile(heavy(2), () => true)
    const { device: kept } = await program.run({ x0: there })
    await program.release()
    const got = (await device.download(kept['y']!)).data as Float32Array
    const wanted = (await (await host.compile(heavy(2))).run({ x0 }))['y']!.data as Float32Array
    await host.dispose()
    const scale = Math.max(...wanted.map(Math.abs))
    for (const [i, y] of got.entries()) expect(Math.abs(y - wanted[i]!) / scale).toBeLessThan(1e-5)
  })

  it('a device index out of range > rejects', () => {
    expect(() => cApi({ provider: 'cuda', device: 99 })).toThrow(/there is no device 99; the driver has \d+/)
  })
})
