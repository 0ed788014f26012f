import { expect, it } from 'vitest'
import type { DType } from '../../src/ir/dtype.js'
import { tensor } from '../../src/ir/tensor.js'
import type { Device, DeviceTensor } from '../../src/runtime/device.js'
import { type Place, starting } from './every-runtime.js'
import { modelBytes, oneNode, type Port } from './models.js'
import { byBytes, floats, sample, someDims, vector } from './samples.js'

interface DevicePlace extends Pick<Place, 'start' | 'patience'> {
  /** Dtypes that can lie there. */
  readonly keeps: readonly DType[]
  /** Whether all runtimes of a page or process have one device. */
  readonly isShared?: boolean
}

const ports = (port: Omit<Port, 'name'>, ...names: string[]): Port[] => names.map((name) => ({ name, ...port }))

/** Test cases for the device of a runtime, added to the calling suite. */
export function everyDevice({ start: begin, keeps, isShared = false, patience = 60_000 }: DevicePlace): void {
  const start = starting(begin)
  const device = async (): Promise<Device> => (await start()).device!
  const limit = { timeout: patience }

  it.each(keeps)('uploads and downloads %s', limit, async (dtype) => {
    const on = await device()
    for (const dims of someDims) {
      const x = sample(dtype, dims)
      const there = await on.upload(x)
      expect([there.dtype, there.dims]).toEqual([dtype, dims])
      expect(await on.download(there)).toEqual(x)
      there.release()
    }
  })

  it('dtypes that the device cannot store > upload > rejects', limit, async () => {
    const on = await device()
    const others = byBytes.filter((dtype) => !keeps.includes(dtype))
    expect(others).toContain('string')
    for (const dtype of others)
      await expect(on.upload(sample(dtype, [2])), dtype).rejects.toMatchObject({ code: 'invalid-data' })
  })

  it('upload and download > copy the data, so later changes of either side have no effect', limit, async () => {
    const on = await device()
    const data = Float32Array.of(1, 2)
    const there = await on.upload(tensor('float32', [2], data))
    data.fill(9)
    const back = await on.download(there)
    expect(back).toEqual(floats(1, 2))
    ;(back.data as Float32Array).fill(9)
    expect(await on.download(there)).toEqual(floats(1, 2))
  })

  it('device outputs > are stored on the device and fed to any of its programs', limit, async () => {
    const on = await device()
    const bytes = modelBytes(
      [
        { op: 'Add', inputs: ['a', 'b'], outputs: ['sum'] },
        { op: 'Sub', inputs: ['a', 'b'], outputs: ['difference'] },
      ],
      ports(vector, 'a', 'b'),
      ports(vector, 'sum', 'difference'),
    )
    const program = await on.compile(bytes, (name) => name === 'sum')
    expect([program.inputNames, program.outputNames]).toEqual([
      ['a', 'b'],
      ['sum', 'difference'],
    ])
    const negate = await on.compile(oneNode('Neg', ['x'], vector), () => false)
    const first = await program.run({ a: floats(1, 2), b: await on.upload(floats(3, 4)) })
    expect(first.host).toEqual({ difference: floats(-2, -2) })
    expect(Object.keys(first.device)).toEqual(['sum'])
    const refused = { code: 'runtime', message: expect.stringMatching(/^onnxruntime rejected the model: /) }
    await expect(on.compile(Uint8Array.of(1, 2, 3), () => true)).rejects.toMatchObject(refused)
    const sum = first.device['sum']!
    const second = await program.run({ a: sum, b: sum })
    expect(await on.download(second.device['sum']!)).toEqual(floats(8, 12))
    expect((await negate.run({ x: sum })).host).toEqual({ y: floats(-4, -6) })
    // Its own memory: the first is as it was, and may go.
    expect(await on.download(sum)).toEqual(floats(4, 6))
    sum.release()
    expect(await on.download(second.device['sum']!)).toEqual(floats(8, 12))
  })

  it('device outputs > never share memory with feeds', limit, async () => {
    const on = await device()
    const program = await on.compile(oneNode('Identity', ['x'], { dtype: 'float32', dims: [2] }), () => true)
    const x = await on.upload(floats(1, 2))
    const { device: kept } = await program.run({ x })
    x.release()
    const other = await on.upload(floats(8, 9))
    expect(await on.download(kept['y']!)).toEqual(floats(1, 2))
    kept['y']!.release()
    expect(await on.download(other)).toEqual(floats(8, 9))
  })

  it('outputs of several runs > are separate, and outlive their program', limit, async () => {
    const on = await device()
    const program = await on.compile(oneNode('Neg', ['x'], vector), () => true)
    const runs: DeviceTensor[] = []
    for (let i = 0; i < 5; i++) runs.push((await program.run({ x: floats(i + 1, 0.5) })).device['y']!)
    await program.release()
    for (const [i, y] of runs.entries()) expect(await on.download(y)).toEqual(floats(-i - 1, -0.5))
    const refused = { code: 'runtime', message: expect.stringMatching(/this program was released/) }
    await expect(program.run({ x: floats(1) })).rejects.toMatchObject(refused)
  })

  it('release > takes effect after pending calls, and released tensors are rejected', limit, async () => {
    const on = await device()
    const program = await on.compile(oneNode('Neg', ['x'], vector), () => false)
    const x = await on.upload(floats(1, 2))
    const [running, reading] = [program.run({ x }), on.download(x)]
    x.release()
    x.release()
    expect((await running).host).toEqual({ y: floats(-1, -2) })
    expect(await reading).toEqual(floats(1, 2))
    const refused = (message: RegExp) => ({ code: 'runtime', message: expect.stringMatching(message) })
    await expect(on.download(x)).rejects.toMatchObject(refused(/this device tensor was released$/))
    await expect(program.run({ x })).rejects.toMatchObject(refused(/^input 'x': this device tensor was released$/))
  })

  it(
    'tensors of other devices, unknown names and other dtypes > run > rejects and names the input',
    limit,
    async () => {
      const [on, other] = [await device(), await device()]
      const program = await on.compile(oneNode('Neg', ['x'], vector), () => false)
      const refused = (message: RegExp) => ({ code: 'invalid-data', message: expect.stringMatching(message) })
      const foreign = await other.upload(floats(1))
      if (isShared) {
        expect((await program.run({ x: foreign })).host).toEqual({ y: floats(-1) })
        expect(await on.download(foreign)).toEqual(floats(1))
      } else {
        await expect(program.run({ x: foreign })).rejects.toMatchObject(
          refused(/^input 'x': the tensor belongs to another device$/),
        )
        await expect(on.download(foreign)).rejects.toMatchObject(refused(/the tensor belongs to another device$/))
      }
      const fake: DeviceTensor = { dtype: 'float32', dims: [1], release() {} }
      await expect(on.download(fake)).rejects.toMatchObject(refused(/the tensor belongs to another device$/))
      const x = await on.upload(floats(1))
      await expect(program.run({ x, z: x })).rejects.toMatchObject(refused(/ z$/))
      await expect(program.run({})).rejects.toMatchObject(refused(/ x$/))
      const whole = await on.upload(tensor('int32', [1], Int32Array.of(1)))
      await expect(program.run({ x: whole })).rejects.toMatchObject(refused(/^input 'x': .*float32.*int32$/))
      expect((await program.run({ x })).host).toEqual({ y: floats(-1) })
    },
  )

  it('disposed runtime > every call rejects', limit, async () => {
    const runtime = await start()
    const on = runtime.device!
    const program = await on.compile(oneNode('Neg', ['x'], vector), () => false)
    const x = await on.upload(floats(1))
    const running = program.run({ x })
    await runtime.dispose()
    expect((await running).host).toEqual({ y: floats(-1) })
    const disposed = { code: 'runtime', message: expect.stringMatching(/this runtime was disposed/) }
    await expect(on.download(x)).rejects.toMatchObject(disposed)
    await expect(on.upload(floats(1))).rejects.toMatchObject(disposed)
    await expect(program.run({ x })).rejects.toMatchObject(disposed)
    x.release()
    await program.release()
  })
}
