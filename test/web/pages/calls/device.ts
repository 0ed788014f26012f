import { webgpu } from '../../../../src/web/index.js'
import { taken } from '../exchange.js'
import { plainsOf } from '../tensors.js'

const codeAndMessage = ({ code, message }: { code: string; message: string }) => ({ code, message })
const floats = (...data: number[]) =>
  ({ dtype: 'float32', dims: [data.length], data: Float32Array.from(data) }) as const

/** Makes every call on a device while it is lost and afterwards, then on another device. */
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
  const errors = await Promise.all(pending.map((each) => each.then(() => 'done', codeAndMessage)))
  const later = await Promise.all(
    [keeping.run({ x }), plain.run({ x: floats(5) }), device.download(x), own.compile(bytes)].map((each) =>
      each.then(() => 'done', codeAndMessage),
    ),
  )
  const news = codeAndMessage(await lost)
  x.release()
  await Promise.all([device.recover(), device.recover()])
  const { gpu } = own
  await device.recover()
  const same = own.gpu === gpu
  const again = await own.compile(bytes)
  const { y } = await again.run({ x: floats(4) })
  const old = await keeping.run({ x: floats(1) }).catch(codeAndMessage)
  await keeping.release()
  await own.dispose()
  const disposed = await again.run({ x: floats(4) }).catch(codeAndMessage)
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
    const { device: kept } = await program.run({ x: floats(...Array(100).fill(i)) })
    await own.device.download(kept['y']!)
    kept['y']!.release()
    counts.push(count)
  }
  await own.dispose()
  return counts
}
