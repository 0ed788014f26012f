import { missingError } from '../../optim/arrays.js'
import type { DeviceTensors } from '../../runtime/device.js'
import { OnnxIreError } from '../../util/errors.js'
import { getOwn } from '../../util/record.js'
import { GpuTensor } from '../runtime/webgpu-sessions.js'
import type { KernelCache } from './kernel-cache.js'
import type { ParameterBuffers } from './parameter-buffers.js'
import type { BoundGradient } from './shader-gradient-norms.js'

/** Binds gradient buffers to the buffers of their parameters. */
export class GradientBindings {
  readonly #kernels: KernelCache
  readonly #parameters: ReadonlyMap<string, ParameterBuffers>
  /** The group of tensors without elements, because an empty buffer cannot be bound. */
  readonly #emptyGroup: GPUBindGroup

  constructor(kernels: KernelCache, parameters: readonly ParameterBuffers[], placeholder: GPUBuffer) {
    this.#kernels = kernels
    this.#parameters = new Map(parameters.map((buffers) => [buffers.name, buffers]))
    this.#emptyGroup = kernels.inputGroup(placeholder, 16)
  }

  /**
   * Binds the gradients of these parameters.
   * @param what 'loss gradient', for messages
   * @throws OnnxIreError `invalid-data` naming the parameter if a gradient is missing, misshapen or on another device
   */
  bind(names: readonly string[], tensors: DeviceTensors, what: string): BoundGradient[] {
    return names.map((name) => {
      const buffers = this.#parameters.get(name)
      if (!buffers) throw new OnnxIreError('invalid-data', `there is no parameter '${name}' on this device`)
      const tensor = getOwn(tensors, name)
      const buffer = bufferOf(name, tensor, buffers.count, what)
      return {
        buffers,
        group: buffers.count === 0 ? this.#emptyGroup : this.#kernels.inputGroup(buffer, 4 * buffers.count),
      }
    })
  }
}

function bufferOf(name: string, tensor: DeviceTensors[string] | undefined, count: number, what: string): GPUBuffer {
  if (!tensor) throw missingError(name, 'tensor', what)
  if (!(tensor instanceof GpuTensor))
    throw new OnnxIreError('invalid-data', `the ${what} of '${name}' is not a tensor of a WebGPU runtime`)
  if (tensor.dtype !== 'float32')
    throw new OnnxIreError('invalid-data', `the ${what} of '${name}' is ${tensor.dtype}; it must be float32`)
  if (tensor.elements !== count)
    throw new OnnxIreError(
      'invalid-data',
      `the ${what} of '${name}' has ${tensor.elements} elements, the parameter has ${count}`,
    )
  return tensor.buffer
}
