import type { DType } from '../../ir/dtype.js'
import type { Tensor, Tensors } from '../../ir/tensor.js'
import type { DeviceOutputs, DeviceTensor } from '../../runtime/device.js'
import type { ShaderProgram } from '../../shader/program.js'
import { dimsOf } from '../../shader/types.js'
import type { ShaderKernel, Slot } from '../../shader/writer.js'
import { OnnxIreError } from '../../util/errors.js'
import { GpuTensor } from '../runtime/webgpu-sessions.js'
import { bufferUsage, mapModeRead } from './constants.js'
import { dispatchRows } from './dispatch-list.js'
import type { Access, Kernel, KernelCache } from './kernel-cache.js'
import { BufferAllocator } from './parameter-buffers.js'

/** A kernel, compiled, and the bind group of its last run. */
interface Step {
  readonly shader: ShaderKernel
  readonly kernel: Kernel
  readonly accesses: readonly Access[]
  buffers: readonly GPUBuffer[]
  group: GPUBindGroup | undefined
}

/** An output that stays on the device. Its buffers return to `free` when they are released. */
interface DeviceOutput {
  readonly name: string
  readonly slot: Slot
  readonly dtype: DType
  readonly dims: readonly number[]
  /** Whether a kernel writes to the buffer of the output; otherwise it is copied. */
  readonly written: boolean
  readonly free: GPUBuffer[]
}

interface HostOutput {
  readonly name: string
  readonly slot: Slot
  readonly dtype: DType
  readonly dims: readonly number[]
  /** Its first byte in the buffer that is read back. */
  readonly offset: number
}

/** The 32-bit elements of a tensor, as shaders store them. */
function words(
  type: Slot['type'],
  { data }: Tensor,
): Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer> | Uint32Array<ArrayBuffer> {
  if (type === 'f32')
    return data instanceof Float32Array
      ? (data as Float32Array<ArrayBuffer>)
      : Float32Array.from(data as ArrayLike<number>, Number)
  const numbers = data as ArrayLike<number>
  return type === 'i32' ? Int32Array.from(numbers, Number) : Uint32Array.from(numbers, Number)
}

/** The tensor of 32-bit elements. */
function tensorOfWords(dtype: DType, dims: readonly number[], bytes: ArrayBuffer): Tensor {
  if (dtype === 'float32') return { dtype, dims, data: new Float32Array(bytes) }
  if (dtype === 'int32') return { dtype, dims, data: new Int32Array(bytes) }
  if (dtype === 'bool') return { dtype, dims, data: Uint8Array.from(new Uint32Array(bytes)) }
  return { dtype, dims, data: BigInt64Array.from(new Int32Array(bytes), BigInt) }
}

/** Buffers and pipelines of a program, and its outputs. */
interface Parts {
  readonly allocator: BufferAllocator
  readonly steps: readonly Step[]
  readonly buffers: Map<Slot, GPUBuffer>
  readonly device: readonly DeviceOutput[]
  readonly host: readonly HostOutput[]
  /** The buffer through which outputs are read back. */
  readonly staging: GPUBuffer
}

/**
 * A program of shaders in GPU memory: pipelines and buffers are created once, and a run is one submit. Arrays that are
 * not needed at the same time share a buffer.
 */
export class LoadedShaders {
  readonly #gpu: GPUDevice
  readonly #kernels: KernelCache
  readonly #program: ShaderProgram
  readonly #allocator: BufferAllocator
  readonly #steps: readonly Step[]
  /** The buffers of slots; those of parameters and of outputs on the device change from run to run. */
  readonly #buffers: Map<Slot, GPUBuffer>
  readonly #device: readonly DeviceOutput[]
  readonly #host: readonly HostOutput[]
  readonly #staging: GPUBuffer
  /** Creates the buffers of outputs, which their tensors free. */
  readonly #outputs: BufferAllocator
  /** The number of this program that random numbers depend on. */
  readonly #number = Math.floor(2 ** 31 * Math.random())
  #runs = 0
  /** The buffers of inputs that are on the host. */
  readonly #inputs = new Map<Slot, GPUBuffer>()
  /** Whether the buffers of inputs exist. */
  #hasInputs = false
  #released = false

  private constructor(gpu: GPUDevice, kernels: KernelCache, program: ShaderProgram, parts: Parts) {
    this.#gpu = gpu
    this.#kernels = kernels
    this.#program = program
    this.#allocator = parts.allocator
    this.#steps = parts.steps
    this.#buffers = parts.buffers
    this.#device = parts.device
    this.#host = parts.host
    this.#staging = parts.staging
    this.#outputs = new BufferAllocator(gpu)
  }

  /**
   * Compiles the shaders and allocates their buffers.
   * @param keepOnDevice whether an output stays on the device
   * @throws 'unsupported-operator' if the device binds too few arrays, 'runtime' if its memory is too small
   */
  static async load(
    gpu: GPUDevice,
    kernels: KernelCache,
    program: ShaderProgram,
    keepOnDevice: (output: string) => boolean,
  ): Promise<LoadedShaders> {
    const most = gpu.limits.maxStorageBuffersPerShaderStage
    const large = program.kernels.find(({ reads }) => reads.length + 1 > most)
    if (large) throw new OnnxIreError('unsupported-operator', `${large.label} with ${large.reads.length + 1} arrays`)
    const { device, host, hostBytes } = planOutputs(program, keepOnDevice)
    const allocator = new BufferAllocator(gpu)
    try {
      const [buffers, staging] = await allocator.allocate(() => {
        const buffers = new Map<Slot, GPUBuffer>()
        for (const [slot, tensor] of program.constants) {
          const buffer = allocator.buffer('constant', 4 * slot.elements)
          gpu.queue.writeBuffer(buffer, 0, words(slot.type, tensor))
          buffers.set(slot, buffer)
        }
        const outside = new Set(device.filter(({ written }) => written).map(({ slot }) => slot))
        const kept = new Set([...program.outputs.values()].map(({ slot }) => slot))
        planBuffers(program.kernels, outside, kept, buffers, allocator)
        const usage = bufferUsage.mapRead | bufferUsage.copyTo
        return [buffers, gpu.createBuffer({ label: 'outputs', size: Math.max(4, hostBytes), usage })] as const
      })
      const steps = await Promise.all(
        program.kernels.map(async (shader): Promise<Step> => {
          const accesses: Access[] = [...shader.reads.map(() => 'read' as const), 'write']
          const kernel = await kernels.kernel(shader.label, shader.code, [accesses])
          return { shader, kernel, accesses, buffers: [], group: undefined }
        }),
      )
      return new LoadedShaders(gpu, kernels, program, { allocator, steps, buffers, device, host, staging })
    } catch (error) {
      allocator.release()
      throw error
    }
  }

  /**
   * Runs the program once. The feeds have the dims that it was made for.
   * @throws 'runtime' if the device's memory is too small
   */
  async run(feeds: Readonly<Record<string, Tensor | DeviceTensor>>): Promise<DeviceOutputs> {
    const { queue } = this.#gpu
    const needsMemory = !this.#hasInputs || this.#device.some(({ free }) => free.length === 0)
    const results: (readonly [DeviceOutput, GPUBuffer])[] = []
    const prepare = () => this.#prepare(feeds, results)
    try {
      if (needsMemory) await this.#outputs.allocate(prepare)
      else prepare()
    } catch (error) {
      this.#discard(results)
      throw error
    }
    this.#hasInputs = true
    const encoder = this.#gpu.createCommandEncoder()
    const pass = encoder.beginComputePass()
    let current: GPUComputePipeline | undefined
    for (const step of this.#steps) {
      const { pipeline } = step.kernel
      if (pipeline !== current) pass.setPipeline(pipeline)
      current = pipeline
      pass.setBindGroup(0, this.#group(step))
      dispatchRows(pass, step.shader.workgroups)
    }
    pass.end()
    for (const [{ slot, written }, buffer] of results)
      if (!written) encoder.copyBufferToBuffer(this.#buffers.get(slot)!, 0, buffer, 0, 4 * slot.elements)
    for (const { slot, offset } of this.#host)
      encoder.copyBufferToBuffer(this.#buffers.get(slot)!, 0, this.#staging, offset, 4 * slot.elements)
    queue.submit([encoder.finish()])
    return {
      host: await this.#read(),
      device: Object.fromEntries(results.map(([output, buffer]) => [output.name, this.#tensor(output, buffer)])),
    }
  }

  /** Writes the feeds to their buffers, and adds the buffers of the outputs on the device to `results`. */
  #prepare(
    feeds: Readonly<Record<string, Tensor | DeviceTensor>>,
    results: (readonly [DeviceOutput, GPUBuffer])[],
  ): void {
    const { queue } = this.#gpu
    for (const [name, slot] of this.#program.inputs) {
      const feed = feeds[name]!
      if (feed instanceof GpuTensor) this.#buffers.set(slot, feed.buffer)
      else if ('data' in feed) queue.writeBuffer(this.#inputBuffer(slot), 0, words(slot.type, feed))
      else throw new OnnxIreError('invalid-data', `input '${name}': the tensor belongs to another device`)
    }
    const { state } = this.#program
    if (state) queue.writeBuffer(this.#inputBuffer(state), 0, Int32Array.of(this.#number, this.#runs++))
    for (const output of this.#device) {
      const buffer = output.free.pop() ?? this.#outputs.buffer(output.name, 4 * output.slot.elements)
      if (output.written) this.#buffers.set(output.slot, buffer)
      results.push([output, buffer])
    }
  }

  /** Frees the buffers of a run that failed: those that did not fit into the memory must not be used again. */
  #discard(results: readonly (readonly [DeviceOutput, GPUBuffer])[]): void {
    for (const [, buffer] of results) buffer.destroy()
    if (this.#hasInputs) return
    for (const buffer of this.#inputs.values()) buffer.destroy()
    this.#inputs.clear()
  }

  /** Frees the buffers, those of outputs that are still in use when they are released. */
  release(): void {
    this.#released = true
    for (const { free } of this.#device) for (const buffer of free) buffer.destroy()
    this.#allocator.release()
    this.#staging.destroy()
  }

  async #read(): Promise<Tensors> {
    await this.#staging.mapAsync(mapModeRead)
    try {
      const all = this.#staging.getMappedRange()
      return Object.fromEntries(
        this.#host.map(({ name, slot, dtype, dims, offset }) => [
          name,
          tensorOfWords(dtype, dims, all.slice(offset, offset + 4 * slot.elements)),
        ]),
      )
    } finally {
      this.#staging.unmap()
    }
  }

  #tensor({ dtype, dims, free }: DeviceOutput, buffer: GPUBuffer): GpuTensor {
    return new GpuTensor(this.#gpu, dtype, dims, buffer, () => {
      if (this.#released) buffer.destroy()
      else free.push(buffer)
    })
  }

  #inputBuffer(slot: Slot): GPUBuffer {
    const buffer = this.#inputs.get(slot) ?? this.#allocator.buffer('input', 4 * slot.elements)
    this.#inputs.set(slot, buffer)
    this.#buffers.set(slot, buffer)
    return buffer
  }

  #group(step: Step): GPUBindGroup {
    const buffers = [...step.shader.reads, step.shader.write].map((slot) => this.#buffers.get(slot)!)
    if (!step.group || buffers.some((buffer, i) => buffer !== step.buffers[i])) {
      step.buffers = buffers
      step.group = this.#kernels.group(step.accesses, buffers)
    }
    return step.group
  }
}

/** Divides outputs into those that stay on the device and those that are read back, one after the other. */
function planOutputs({ kernels, outputs }: ShaderProgram, keepOnDevice: (output: string) => boolean) {
  const written = new Set(kernels.map(({ write }) => write))
  const claimed = new Set<Slot>()
  const device: DeviceOutput[] = []
  const host: HostOutput[] = []
  let hostBytes = 0
  for (const [name, { value, slot }] of outputs) {
    const output = { name, slot, dtype: value.dtype, dims: dimsOf(value) }
    if (keepOnDevice(name)) {
      device.push({ ...output, written: written.has(slot) && !claimed.has(slot), free: [] })
      claimed.add(slot)
    } else {
      host.push({ ...output, offset: hostBytes })
      hostBytes += 4 * slot.elements
    }
  }
  return { device, host, hostBytes }
}

/**
 * Allocates the buffers of the arrays that kernels write, except those in `outside`. An array returns its buffer after
 * the last kernel that reads it, except those in `kept`.
 */
function planBuffers(
  kernels: readonly ShaderKernel[],
  outside: ReadonlySet<Slot>,
  kept: ReadonlySet<Slot>,
  buffers: Map<Slot, GPUBuffer>,
  allocator: BufferAllocator,
): void {
  const lastRead = new Map<Slot, number>()
  for (const [i, { reads }] of kernels.entries()) for (const slot of reads) lastRead.set(slot, i)
  const written = new Set<Slot>()
  const free: GPUBuffer[] = []
  for (const [i, { reads, write }] of kernels.entries()) {
    if (!outside.has(write)) {
      buffers.set(write, takeBuffer(free, 4 * write.elements) ?? allocator.buffer('intermediate', 4 * write.elements))
      written.add(write)
    }
    for (const slot of new Set(reads))
      if (written.has(slot) && !kept.has(slot) && lastRead.get(slot) === i) free.push(buffers.get(slot)!)
  }
}

/** Takes the smallest buffer that is large enough, unless it is much too large. */
function takeBuffer(free: GPUBuffer[], bytes: number): GPUBuffer | undefined {
  const [best] = free.filter(({ size }) => size >= bytes && size <= 4 * bytes + 1024).sort((a, b) => a.size - b.size)
  if (best) free.splice(free.indexOf(best), 1)
  return best
}
