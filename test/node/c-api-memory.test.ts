import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { needs } from '../requirements.js'
import { heavy } from '../runtime/models.js'

/**
 * CUDA needs an NVIDIA GPU. The WebGPU provider in the same library also keeps tensors outside of the host's memory,
 * and runs on a software GPU, which is part of Debian's chromium. It replaces CUDA here: the engine must not read the
 * memory of a device, must copy where this is necessary, and must free in an order that does not crash the provider.
 */
const gpuNeeded = await needs('webgpu')

const dist = fileURLToPath(new URL('../../dist/', import.meta.url))

/**
 * Runs a program in a separate process, with `device` a WebGPU device whose calls are checked, and returns its output.
 */
async function child(program: string) {
  const source = `const { CApiEngine } = await import(${JSON.stringify(`${dist}node/c-api/engine.js`)})
    const { library } = await import(${JSON.stringify(`${dist}node/c-api/library.js`)})
    const { nativeDevice } = await import(${JSON.stringify(`${dist}node/c-api/device.js`)})
    const { ort } = await import(${JSON.stringify(`${dist}node/c-api/ort.js`)})
    const { koffi, api } = library()
    const at = (slot, result, takes) => koffi.decode(koffi.decode(api + BigInt(8 * slot), 'void *'), koffi.proto(result, takes))
    const append = at(216, 'void *', ['void *', 'str', 'const char **', 'const char **', 'int64'])
    const provider = {
      name: 'webgpu',
      memory: { name: 'WebGPU_Buffer', device: 0 },
      append(_, options) {
        const status = append(options, 'WebGPU', ['validationMode'], ['basic'], 1)
        if (status !== null) throw new Error(at(2, 'str', ['void *'])(status))
      },
    }
    const engine = new CApiEngine(ort(), provider, { threads: 1, blocking: false })
    const device = nativeDevice(engine, () => {})
    const model = Uint8Array.from(${JSON.stringify(Array.from(heavy(3)))})
    const square = (n, value) => ({ dtype: 'float32', dims: [n, n], data: new Float32Array(n * n).fill(value) })
    ${program}`
  const env = { ...process.env, ORT_DISABLE_TELEMETRY: '1' }
  const run = promisify(execFile)(process.execPath, ['--input-type=module', '--eval', source], {
    env,
    timeout: 110_000,
  })
  return run.then(
    ({ stdout }) => ({ code: 0, stdout }),
    ({ code, signal, stdout, stderr }) => ({ code: code ?? signal, stdout: `${stdout}${stderr}` }),
  )
}

describe('the C API on a device with its own memory', gpuNeeded, () => {
  it('device outputs > are fed to programs, copied in both directions and released', async () => {
    const program = `const x0 = await device.upload(square(10, 0.25))
      const program = await device.compile(model, (name) => name === 'y')
      const first = (await program.run({ x0 })).device.y
      const second = (await program.run({ x0: first })).device.y
      const onHost = await device.compile(model, () => false)
      const { host } = await onHost.run({ x0 })
      await program.release()
      x0.release()
      // Their program is gone, its session is not: their memory is its provider's.
      for (const y of [await device.download(first), await device.download(second), host.y]) console.log(y.dims.join(), y.data[0])
      first.release()
      second.release()
      await engine.close()`
    // Each of the 3 products of 10 x 10 matrices multiplies by 10 times the element.
    const once = 0.25 * 2.5 ** 3
    const twice = once * (once * 10) ** 3
    const { code, stdout } = await child(program)
    const rows = stdout.trimEnd().split('\n')
    expect([code, rows.map((row) => row.split(' ')[0])]).toEqual([0, ['10,10', '10,10', '10,10']])
    const values = rows.map((row) => Number(row.split(' ')[1]))
    for (const [i, value] of [once, twice, once].entries()) expect(values[i]! / value).toBeCloseTo(1, 4)
  })

  it('every dtype that a device can store > is uploaded and downloaded unchanged', async () => {
    const program = `const arrays = { float32: Float32Array, float64: Float64Array, float16: Uint16Array, int8: Int8Array,
        int16: Int16Array, int32: Int32Array, int64: BigInt64Array, uint8: Uint8Array, uint16: Uint16Array,
        uint32: Uint32Array, uint64: BigUint64Array, bfloat16: Uint16Array, bool: Uint8Array }
      for (const [dtype, array] of Object.entries(arrays)) {
        for (const dims of [[], [5], [0, 3]]) {
          const length = dims.reduce((a, b) => a * b, 1)
          const big = array === BigInt64Array || array === BigUint64Array
          const data = array.from({ length }, (_, i) => (big ? BigInt(i + 1) : dtype === 'bool' ? i % 2 : i + 1))
          const there = await device.upload({ dtype, dims, data })
          const back = await device.download(there)
          there.release()
          if (String(back.data) !== String(data) || back.dtype !== dtype || String(back.dims) !== String(dims))
            throw new Error(dtype + ' ' + dims + ': ' + back.data)
        }
      }
      console.log('all')
      await engine.close()`
    expect(await child(program)).toEqual({ code: 0, stdout: 'all\n' })
  })

  const begun = `const x0 = await device.upload(square(100, 1 / 100))
    const program = await device.compile(model, () => true)
    const { device: kept } = await program.run({ x0 })`

  it('undisposed runtime > the process ends', async () => {
    expect(await child(`${begun}; console.log('over')`)).toEqual({ code: 0, stdout: 'over\n' })
  })

  it('process.exit during a run > the process ends', async () => {
    const left = `${begun}; program.run({ x0 }).then(() => console.log('ran')); setTimeout(() => process.exit(3), 1)`
    expect((await child(left)).code).toBe(3)
  })
})
