import type { TrainingDevice } from '../../../src/backend/backend.js'
import { OnnxBackend } from '../../../src/backend/onnx/onnx-backend.js'
import type { TypedArray } from '../../../src/ir/dtype.js'
import type { Tensor, Tensors } from '../../../src/ir/tensor.js'
import type { DeviceProgram, DeviceTensor } from '../../../src/runtime/device.js'
import type { Runtime } from '../../../src/runtime/runtime.js'
import { OnnxIreError } from '../../../src/util/errors.js'

/**
 * Any runtime as a device whose tensors are arrays of the host, to test without a GPU, by the same graphs, what keeps
 * its state on a device. Programs and tensors belong to `runtime`, which the caller disposes of.
 */
export function hostDevice(runtime: Pick<Runtime, 'compile'>): TrainingDevice {
  return {
    async compile(model, keepOnDevice) {
      const program = await runtime.compile(model)
      const run: DeviceProgram['run'] = async (feeds) => {
        const onHost = Object.entries(feeds).map(([name, fed]) => [name, 'release' in fed ? read(fed) : fed] as const)
        const outputs = Object.entries(await program.run(Object.fromEntries(onHost)))
        const host: Tensors = Object.fromEntries(outputs.filter(([name]) => !keepOnDevice(name)))
        const device = outputs
          .filter(([name]) => keepOnDevice(name))
          .map(([name, y]) => [name, new HostTensor(y)] as const)
        return { host, device: Object.fromEntries(device) }
      }
      return {
        inputNames: program.inputNames,
        outputNames: program.outputNames,
        run,
        release: () => program.release(),
      }
    },
    upload: async (tensor) => new HostTensor(copied(tensor)),
    download: async (tensor) => copied(read(tensor)),
    createBackend(own, spec) {
      return new OnnxBackend(own, this, spec)
    },
  }
}

class HostTensor implements DeviceTensor {
  #tensor: Tensor | undefined
  readonly dtype: Tensor['dtype']
  readonly dims: readonly number[]

  constructor(tensor: Tensor) {
    this.#tensor = tensor
    this.dtype = tensor.dtype
    this.dims = tensor.dims
  }

  get tensor(): Tensor {
    if (this.#tensor) return this.#tensor
    throw new OnnxIreError('runtime', `a released tensor ${this.dtype}[${this.dims.join(', ')}] was used`)
  }

  release(): void {
    this.#tensor = undefined
  }
}

function read(tensor: DeviceTensor): Tensor {
  if (tensor instanceof HostTensor) return tensor.tensor
  throw new OnnxIreError('invalid-data', 'a tensor of another device was used')
}

const copied = ({ dtype, dims, data }: Tensor): Tensor => ({
  dtype,
  dims,
  data: (data as TypedArray | readonly string[]).slice(),
})
