import { buildTensorUpdate, GraphUpdates } from '../../../../src/backend/graph-updates.js'
import { tensorFrom } from '../../../../src/ir/leaf.js'
import { sizeOf, tensor } from '../../../../src/ir/tensor.js'
import { compileOnDevice } from '../../../../src/lowering/compile.js'
import { adamw8bit } from '../../../../src/optim/adamw8bit.js'
import type { MomentArray } from '../../../../src/optim/arrays.js'
import { createMoment, type GraphRule, momentTypeOf } from '../../../../src/optim/base-optimizer.js'
import { wasm, webgpu } from '../../../../src/web/index.js'
import { GpuTensor } from '../../../../src/web/runtime/webgpu-sessions.js'
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

/** Starts two runtimes, whose device is lost and replaced, and disposes of one before the other. */
export async function sharing(model: string) {
  const [a, b] = [await webgpu(), await webgpu()]
  const bytes = await taken(model)
  const negate = async (runtime: typeof a) => {
    const program = await runtime.compile(bytes)
    return plainsOf({ y: (await program.run({ x: floats(2) })).y! })
  }
  const isShared = () => a.gpu === b.gpu
  const before = isShared()
  const refusal = await webgpu({ powerPreference: 'low-power' }).catch(codeAndMessage)
  a.gpu.destroy()
  await Promise.all([a.lost, b.lost])
  await a.device.recover()
  const first = await negate(a)
  const unrecovered = await b.compile(bytes).catch(codeAndMessage)
  await b.device.recover()
  const after = isShared()
  const second = await negate(b)
  await a.dispose()
  const alone = await negate(b)
  await b.dispose()
  const other = await webgpu({ powerPreference: 'low-power' })
  const preferred = await negate(other)
  await other.dispose()
  return { before, refusal, first, unrecovered, after, results: [second, alone, preferred] }
}

/** Disposes of a runtime while its lost device is replaced. Returns whether every device was destroyed. */
export async function disposalDuringRecovery(): Promise<boolean> {
  const { requestDevice } = GPUAdapter.prototype
  const devices: GPUDevice[] = []
  GPUAdapter.prototype.requestDevice = async function (...options) {
    const device = await requestDevice.apply(this, options)
    devices.push(device)
    return device
  }
  try {
    const own = await webgpu()
    own.gpu.destroy()
    await own.lost
    const recovery = own.device.recover()
    await own.dispose()
    await recovery
    const ends = Promise.all(devices.map(({ lost }) => lost)).then(() => true)
    return await Promise.race([ends, new Promise<boolean>((resolve) => setTimeout(resolve, 60_000, false))])
  } finally {
    GPUAdapter.prototype.requestDevice = requestDevice
  }
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

/**
 * Updates a tensor by AdamW with 8 bits on the GPU and in WebAssembly. Returns the sizes of the GPU buffers of the
 * moments, the number of bytes that differ at the end and by how much, and the largest difference of the tensors.
 */
export async function updateInBytes(dims: readonly number[], steps: number) {
  const [gpu, cpu] = [await webgpu({ cpuNodes: 'forbidden' }), await wasm({ threads: 1 })]
  const rule = adamw8bit({ lr: 0.01 }).ruleOf!({ dims, matrix: null }) as GraphRule
  const update = buildTensorUpdate(rule, dims, { clipped: false, enhanced: false })
  const program = await compileOnDevice(gpu, gpu.device, update, () => true)
  const onHost = new GraphUpdates(cpu)
  const theta = Float32Array.from({ length: sizeOf(dims) }, (_, i) => Math.cos(i))
  let host: Record<string, MomentArray> = { theta }
  for (const moment of rule.moments) host[moment] = createMoment(rule, moment, theta)
  const typeOf = (name: string) => momentTypeOf(rule, name, dims)
  const uploaded = Object.entries(host).map(async ([name, data]) => {
    const { dtype, dims } = typeOf(name)
    return [name, await gpu.device.upload(tensor(dtype, dims, data))] as const
  })
  let device = Object.fromEntries(await Promise.all(uploaded))
  for (let t = 0; t < steps; t++) {
    const g = theta.map((_, i) => Math.sin(i * (t + 1)) * Math.exp(4 * Math.sin(i)))
    const scalars: Readonly<Record<string, number>> = {
      ...rule.coefficients(t, 0.01, 0.01, {}),
      scale: 1,
      limit: Infinity,
    }
    const arrays = { ...host, g }
    host = { ...(await onHost.compute({ name: 'w', rule, arrays, mask: undefined, scalars }, dims)) }
    const feeds = [
      ...Object.entries(device).map(([name, array]) => [`array/${name}`, array] as const),
      ['array/g', tensor('float32', dims, g)] as const,
      ...[...rule.scalars, 'scale'].map(
        (name) => [`scalar/${name}`, tensorFrom('float32', [], [scalars[name]!])] as const,
      ),
    ]
    device = (await program.run(Object.fromEntries(feeds))).device
  }
  const sizes = Object.fromEntries(
    Object.entries(device).map(([name, array]) => [name, array instanceof GpuTensor ? array.buffer.size : 0]),
  )
  const apart = async (name: string) => {
    const { data } = await gpu.device.download(device[name]!)
    return Array.from(host[name]!, (x, i) => Math.abs(x - Number(data[i])))
  }
  const bytes = await apart('firstMomentBytes')
  const result = {
    sizes,
    different: bytes.filter((difference) => difference > 0).length,
    furthest: Math.max(...bytes),
    theta: Math.max(...(await apart('theta'))),
    distinct: new Set(host['firstMomentBytes']!).size,
  }
  await onHost.release()
  await Promise.all([gpu.dispose(), cpu.dispose()])
  return result
}
