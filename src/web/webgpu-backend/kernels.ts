import { CALL_HEAD } from '../../optim/expr/wgsl.js'
import { OnnxIreError } from '../../util/errors.js'
import { COMPUTE } from './flags.js'

/**
 * How a binding is used: 'call' is the uniform that every dispatch has its own part of, 'uniform' a whole one, 'read' and
 * 'write' are storage.
 */
export type Access = 'call' | 'uniform' | 'read' | 'write'

/** A pipeline and what its groups bind. */
export interface Kernel {
  readonly pipeline: GPUComputePipeline
  readonly groups: readonly (readonly Access[])[]
}

/** Bytes of one dispatch's part of the uniform of calls; every device can bind at multiples of it. */
export const CALL_BYTES = 256

/** The most numbers a call can carry. */
export const MOST_SCALARS = (CALL_BYTES - CALL_HEAD) / 4

const known = new WeakMap<GPUDevice, Kernels>()

/**
 * Makes pipelines and bind groups on one device, and keeps the pipelines as long as it is there. Groups of the same
 * accesses fit every pipeline that has such a group.
 */
export class Kernels {
  readonly device: GPUDevice
  readonly #kernels = new Map<string, Promise<Kernel>>()
  readonly #layouts = new Map<string, GPUBindGroupLayout>()
  readonly #fed = new WeakMap<GPUBuffer, Map<number, GPUBindGroup>>()

  private constructor(device: GPUDevice) {
    this.device = device
  }

  static of(device: GPUDevice): Kernels {
    const kernels = known.get(device) ?? new Kernels(device)
    known.set(device, kernels)
    return kernels
  }

  /** @throws 'runtime' with the compiler's message, or saying how many buffers it would need */
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
        `${label}: it works on ${storage} arrays at once and this WebGPU device binds at most ${most}; use an optimizer with fewer moments`,
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
      throw new OnnxIreError('runtime', `WebGPU refused the shader of ${label}: ${text || (cause as Error).message}`, {
        cause,
      })
    }
  }

  /** Binds whole buffers, or parts of them. */
  group(accesses: readonly Access[], resources: readonly (GPUBuffer | GPUBufferBinding)[]): GPUBindGroup {
    return this.device.createBindGroup({
      layout: this.#layout(accesses),
      entries: resources.map((resource, binding) => ({
        binding,
        resource: 'buffer' in resource ? resource : { buffer: resource },
      })),
    })
  }

  /** The group of one array that is only read, `bytes` long: made once per buffer, for onnxruntime uses its own again. */
  fed(buffer: GPUBuffer, bytes: number): GPUBindGroup {
    const groups = this.#fed.get(buffer) ?? new Map<number, GPUBindGroup>()
    this.#fed.set(buffer, groups)
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
        visibility: COMPUTE,
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
