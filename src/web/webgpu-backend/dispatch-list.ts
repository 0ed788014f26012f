import { callHeadBytes } from '../../optim/expr/wgsl.js'
import { bufferUsage } from './constants.js'
import { type Access, callBytes, type Kernel, type KernelCache } from './kernel-cache.js'

/** Arguments of one dispatch; see `callStruct`. */
interface DispatchArguments {
  readonly count: number
  readonly offset?: number
  readonly stage?: number
  readonly rest?: number
  readonly scalars?: readonly number[]
}

/** One dispatch; `groups` are the bind groups from group 1 on. */
interface Dispatch {
  readonly kernel: Kernel
  readonly groups: readonly GPUBindGroup[]
  readonly workgroups: number
}

/** Commands around the dispatches: copies and clears. */
interface OtherCommands {
  readonly before?: (encoder: GPUCommandEncoder) => void
  readonly after?: (encoder: GPUCommandEncoder) => void
}

/** Largest number of workgroups in one dimension, by WebGPU's default limits. */
const maxWorkgroups = 65535

/** Dispatches workgroups in as few rows as possible; kernels skip those after the last one. */
export function dispatchRows(pass: GPUComputePassEncoder, workgroups: number): void {
  const rows = Math.ceil(workgroups / maxWorkgroups)
  pass.dispatchWorkgroups(Math.ceil(workgroups / rows), rows)
}

/**
 * Dispatches of one compute pass, submitted together, in order. The list and its uniform buffer are reused for every
 * submit.
 */
export class DispatchList {
  readonly #kernels: KernelCache
  readonly #state: GPUBuffer
  #dispatches: Dispatch[] = []
  #calls = new ArrayBuffer(64 * callBytes)
  #uniform: GPUBuffer | undefined
  #groups = new Map<string, GPUBindGroup>()

  /** @param state the buffer of binding 1 of group 0, for kernels that have this binding */
  constructor(kernels: KernelCache, state: GPUBuffer) {
    this.#kernels = kernels
    this.#state = state
  }

  /** Adds a dispatch, unless it has no workgroups. */
  add(kernel: Kernel, groups: readonly GPUBindGroup[], workgroups: number, call: DispatchArguments): void {
    if (workgroups === 0) return
    const from = this.#dispatches.length * callBytes
    if (from === this.#calls.byteLength) {
      const grown = new Uint8Array(2 * from)
      grown.set(new Uint8Array(this.#calls))
      this.#calls = grown.buffer
    }
    new Uint32Array(this.#calls, from, 4).set([call.count, call.offset ?? 0, call.stage ?? 0, call.rest ?? 0])
    new Float32Array(this.#calls, from + callHeadBytes, call.scalars?.length ?? 0).set(call.scalars ?? [])
    this.#dispatches.push({ kernel, groups, workgroups })
  }

  /** Removes all dispatches. */
  clear(): void {
    this.#dispatches = []
  }

  /** Submits all dispatches, with commands before and after them, and clears the list. */
  submit({ before, after }: OtherCommands = {}): void {
    const { device } = this.#kernels
    const dispatches = this.#dispatches
    this.clear()
    const bytes = dispatches.length * callBytes
    if (!this.#uniform || this.#uniform.size < bytes) this.#enlarge()
    if (bytes > 0) device.queue.writeBuffer(this.#uniform!, 0, this.#calls, 0, bytes)

    const encoder = device.createCommandEncoder()
    before?.(encoder)
    const pass = encoder.beginComputePass()
    let current: Kernel | undefined
    for (const [i, { kernel, groups, workgroups }] of dispatches.entries()) {
      if (kernel !== current) pass.setPipeline(kernel.pipeline)
      current = kernel
      pass.setBindGroup(0, this.#group(kernel.groups[0]!), [i * callBytes])
      for (const [g, group] of groups.entries()) pass.setBindGroup(g + 1, group)
      dispatchRows(pass, workgroups)
    }
    pass.end()
    after?.(encoder)
    device.queue.submit([encoder.finish()])
  }

  release(): void {
    this.#uniform?.destroy()
  }

  #enlarge(): void {
    this.#uniform?.destroy()
    this.#groups.clear()
    this.#uniform = this.#kernels.device.createBuffer({
      label: 'calls',
      size: this.#calls.byteLength,
      usage: bufferUsage.uniform | bufferUsage.copyTo,
    })
  }

  #group(accesses: readonly Access[]): GPUBindGroup {
    const key = accesses.join()
    const known = this.#groups.get(key)
    if (known) return known
    const all: GPUBufferBinding[] = [{ buffer: this.#uniform!, size: callBytes }, { buffer: this.#state }]
    const group = this.#kernels.group(accesses, all.slice(0, accesses.length))
    this.#groups.set(key, group)
    return group
  }
}
