import { callHeadBytes } from '../../optim/expr/wgsl.js'
import { OnnxIreError } from '../../util/errors.js'
import { computeStage } from './constants.js'

/**
 * The use of a binding: 'call' is the uniform of dispatch arguments, with a dynamic offset; 'uniform' a whole uniform
 * buffer; 'read' and 'write' are storage buffers.
 */
export type Access = 'call' | 'uniform' | 'read' | 'write'

/** A pipeline and the accesses of its bind groups. */
export interface Kernel {
  readonly pipeline: GPUComputePipeline
  readonly groups: readonly (readonly Access[])[]
}

/** Bytes of the arguments of one dispatch: an offset that every device can bind. */
export const callBytes = 256

/** Largest number of scalars of a dispatch. */
export const maxScalars = (callBytes - callHeadBytes) / 4

const cacheByDevice = new WeakMap<GPUDevice, KernelCache>()

/**
 * Pipelines and bind groups of one device. Pipelines are cached for the lifetime of the device. Groups of the same
 * accesses fit every pipeline that has such a group.
 */
export class KernelCache {
  readonly device: GPUDevice
  readonly #kernels = new Map<string, Promise<Kernel>>()
  readonly #layouts = new Map<string, GPUBindGroupLayout>()
  readonly #inputGroups = new WeakMap<GPUBuffer, Map<number, GPUBindGroup>>()

  private constructor(device: GPUDevice) {
    this.device = device
  }

  static of(device: GPUDevice): KernelCache {
    const kernels = cacheByDevice.get(device) ?? new KernelCache(device)
    cacheByDevice.set(device, kernels)
    return kernels
  }

  /**
   * Returns the kernel of this WGSL code.
   * @throws OnnxIreError `runtime` with the compiler's message, or with the number of buffers if they are too many
   */
  kernel(label: string, code: string, groups: readonly (readonly Access[])[]): Promise<Kernel> {
    const key = `${groups.join(';')} ${code}`
    const made = this.#kernels.get(key) ?? this.#compile(label, code, groups)
    this.#kernels.set(key, made)
    made.catch(() => this.#kernels.delete(key))
    return made
  }

  async #compile(label: string, code: string, groups: readonly (readonly Access[])[]): Promise<Kernel> {
    const { device } = this
    const storage = groups.flat().filter((access) => access === 'read' || access === 'write').length
    const most = device.limits.maxStorageBuffersPerShaderStage
    if (storage > most)
      throw new OnnxIreError(
        'runtime',
        `${label}: the shader needs ${storage} arrays at once and this WebGPU device binds at most ${most}; use an optimizer with fewer moments`,
      )
    const module = device.createShaderModule({ label, code })
    const layout = device.createPipelineLayout({ bindGroupLayouts: groups.map((group) => this.#layout(group)) })
    try {
      const pipeline = await device.createComputePipelineAsync({
        label,
        layout,
        compute: { module, entryPoint: 'main' },
      })
      return { pipeline, groups }
    } catch (cause) {
      const { messages } = await module.getCompilationInfo()
      const text = messages.map(({ message, lineNum }) => `line ${lineNum}: ${message}`).join('; ')
      throw new OnnxIreError('runtime', `WebGPU rejected the shader of ${label}: ${text || (cause as Error).message}`, {
        cause,
      })
    }
  }

  /** Creates a bind group of whole buffers or of parts of them. */
  group(accesses: readonly Access[], resources: readonly (GPUBuffer | GPUBufferBinding)[]): GPUBindGroup {
    return this.device.createBindGroup({
      layout: this.#layout(accesses),
      entries: resources.map((resource, binding) => ({
        binding,
        resource: 'buffer' in resource ? resource : { buffer: resource },
      })),
    })
  }

  /**
   * Returns the group of one read-only array of `bytes` bytes. Cached per buffer, because onnxruntime reuses its
   * buffers.
   */
  inputGroup(buffer: GPUBuffer, bytes: number): GPUBindGroup {
    const groups = this.#inputGroups.get(buffer) ?? new Map<number, GPUBindGroup>()
    this.#inputGroups.set(buffer, groups)
    const group = groups.get(bytes) ?? this.group(['read'], [{ buffer, size: bytes }])
    groups.set(bytes, group)
    return group
  }

  #layout(accesses: readonly Access[]): GPUBindGroupLayout {
    const key = accesses.join()
    const made = this.#layouts.get(key)
    if (made) return made
    const layout = this.device.createBindGroupLayout({
      label: key,
      entries: accesses.map((access, binding) => ({
        binding,
        visibility: computeStage,
        buffer: bindings[access],
      })),
    })
    this.#layouts.set(key, layout)
    return layout
  }
}

const bindings: Readonly<Record<Access, GPUBufferBindingLayout>> = {
  call: { type: 'uniform', hasDynamicOffset: true },
  uniform: { type: 'uniform' },
  read: { type: 'read-only-storage' },
  write: { type: 'storage' },
}
