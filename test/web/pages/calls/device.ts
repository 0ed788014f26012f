import type { DeviceTensor } from '../../../../src/runtime/device.js'
import { type WebGpuRuntime, webgpu } from '../../../../src/web/index.js'
import { taken } from '../exchange.js'
import { type Plain, plainOf, plainsOf, tensorOf } from '../tensors.js'

let runtime: WebGpuRuntime | undefined
const started = async () => {
  runtime ??= await webgpu()
  return runtime
}

const told = ({ code, message }: { code: string; message: string }) => ({ code, message })
const floats = (...data: number[]) =>
  ({ dtype: 'float32', dims: [data.length], data: Float32Array.from(data) }) as const

export async function roundTrips(tensors: readonly Plain[]) {
  const { device } = await started()
  const results: Plain[] = []
  for (const each of tensors) {
    const there = await device.upload(tensorOf(each))
    results.push(plainOf(await device.download(there)))
    there.release()
  }
  return results
}

/** y = -x over and over, without leaving the device. */
export async function chained(model: string, times: number) {
  const { device } = await started()
  const program = await device.compile(await taken(model), (name) => name === 'y')
  let x: DeviceTensor = await device.upload(floats(1, 2, 3))
  for (let i = 0; i < times; i++) {
    const { kept, host } = await program.run({ x })
    if (Object.keys(host).length > 0) throw new Error('an output came back')
    x.release()
    x.release()
    x = kept['y']!
  }
  const result = plainOf(await device.download(x))
  x.release()
  const afterRelease = [
    await program.run({ x }).catch(told),
    await device.download(x).catch(told),
    await program.run({ x: await device.upload({ dtype: 'int32', dims: [1], data: new Int32Array(1) }) }).catch(told),
    await program.run({ x: floats(1), z: await device.upload(floats(1)) }).catch(told),
  ]
  await program.release()
  return { result, dims: x.dims, afterRelease }
}

/** Everything that is asked of a device that is lost, while it is lost and later; then on another one. */
export async function loss(model: string) {
  const own = await webgpu()
  const { device } = own
  const bytes = await taken(model)
  const keeping = await device.compile(bytes, () => true)
  const plain = await own.compile(bytes)
  const x = await device.upload(floats(1, 2, 3))
  await keeping.run({ x })
  const lost = own.lost
  const pending = [keeping.run({ x }), plain.run({ x: floats(5) }), device.download(x), device.upload(floats(1))]
  own.gpu.destroy()
  const errors = await Promise.all(pending.map((each) => each.then(() => 'done', told)))
  const later = await Promise.all(
    [keeping.run({ x }), plain.run({ x: floats(5) }), device.download(x), own.compile(bytes)].map((each) =>
      each.then(() => 'done', told),
    ),
  )
  const news = told(await lost)
  x.release()
  await Promise.all([device.renew(), device.renew()])
  const { gpu } = own
  await device.renew()
  const same = own.gpu === gpu
  const again = await own.compile(bytes)
  const { y } = await again.run({ x: floats(4) })
  const old = await keeping.run({ x: floats(1) }).catch(told)
  await keeping.release()
  await own.dispose()
  const disposed = await again.run({ x: floats(4) }).catch(told)
  return { errors, later, news, same, renewed: plainsOf({ y: y! }), old, disposed }
}

/** Buffers that are there after each of some runs whose outputs stay on the device. */
export async function buffersOver(model: string, runs: number) {
  const own = await webgpu()
  let count = 0
  const create = own.gpu.createBuffer.bind(own.gpu)
  own.gpu.createBuffer = (descriptor) => {
    const buffer = create(descriptor)
    const destroy = buffer.destroy.bind(buffer)
    let there = true
    count++
    buffer.destroy = () => {
      if (there) count--
      there = false
      destroy()
    }
    return buffer
  }
  const program = await own.device.compile(await taken(model), () => true)
  const counts: number[] = []
  for (let i = 0; i < runs; i++) {
    const { kept } = await program.run({ x: floats(...Array(100).fill(i)) })
    await own.device.download(kept['y']!)
    kept['y']!.release()
    counts.push(count)
  }
  await own.dispose()
  return counts
}
