import type { DeviceTensors } from '../../runtime/device.js'
import { OnnxIreError } from '../../util/errors.js'
import { GpuTensor } from '../gpu-tensor.js'
import type { Kernels } from './kernels.js'
import type { Normed } from './norms.js'
import type { Slot } from './slots.js'

/** Binds gradients, wherever their buffers lie, to the parameters they belong to. */
export class Gradients {
  readonly #kernels: Kernels
  readonly #slots: ReadonlyMap<string, Slot>
  /** Stands in for a tensor without elements, whose buffer nothing could bind. */
  readonly #nothing: GPUBindGroup

  constructor(kernels: Kernels, slots: readonly Slot[], nothing: GPUBuffer) {
    this.#kernels = kernels
    this.#slots = new Map(slots.map((slot) => [slot.name, slot]))
    this.#nothing = kernels.fed(nothing, 16)
  }

  /**
   * The gradients of these parameters.
   * @param what 'loss gradient', for messages
   * @throws 'invalid-data' naming the parameter whose gradient is missing, misshapen or of another device
   */
  of(names: readonly string[], tensors: DeviceTensors, what: string): Normed[] {
    return names.map((name) => {
      const slot = this.#slots.get(name)
      if (!slot) throw new OnnxIreError('invalid-data', `there is no parameter '${name}' on this device`)
      const tensor = Object.hasOwn(tensors, name) ? tensors[name] : undefined
      const buffer = bufferOf(name, tensor, slot.count, what)
      return { slot, fed: slot.count === 0 ? this.#nothing : this.#kernels.fed(buffer, 4 * slot.count) }
    })
  }
}

function bufferOf(name: string, tensor: DeviceTensors[string] | undefined, count: number, what: string): GPUBuffer {
  if (!tensor)
    throw new OnnxIreError(
      'invalid-data',
      `no ${what} for parameter '${name}': give one tensor per parameter, or leave '${name}' out of the parameters to freeze it`,
    )
  if (!(tensor instanceof GpuTensor))
    throw new OnnxIreError('invalid-data', `the ${what} of '${name}' is no tensor of a WebGPU runtime`)
  if (tensor.dtype !== 'float32')
    throw new OnnxIreError('invalid-data', `the ${what} of '${name}' is ${tensor.dtype}; it must be float32`)
  if (tensor.elements !== count)
    throw new OnnxIreError(
      'invalid-data',
      `the ${what} of '${name}' has ${tensor.elements} elements, the parameter has ${count}`,
    )
  return tensor.buffer
}
