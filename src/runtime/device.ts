/**
 * A device stores tensors between runs of a runtime: a GPU, or memory of a native library. To implement one: `compile`
 * models so that some outputs remain on the device, copy tensors with `upload` and `download`, and free them with
 * `DeviceTensor.release`. Carry out calls in the order in which they are made, and throw `device-lost` from every call
 * after the loss of the device; a device that can be replaced implements `recover`. Training state on a device needs
 * nothing more: see src/backend.
 */
import type { DType } from '../ir/dtype.js'
import type { Tensor, Tensors } from '../ir/tensor.js'
import type { CompileHints } from './compile-hints.js'

/** A tensor in device memory. Only its own device can use it. */
export interface DeviceTensor {
  readonly dtype: DType
  readonly dims: readonly number[]
  /**
   * Frees the memory after all calls made before. Using the tensor afterwards is an error; releasing it twice is not.
   */
  release(): void
}

/** Device tensors by name. */
export type DeviceTensors = Readonly<Record<string, DeviceTensor>>

/** Feeds of a device program: host tensors, or tensors of its device. */
export type Feeds = Readonly<Record<string, Tensor | DeviceTensor>>

/** Outputs of a device program. The caller releases the device tensors, which share no memory with the feeds. */
export interface DeviceOutputs {
  /** Outputs that were copied to the host. */
  readonly host: Tensors
  /** Outputs that stayed on the device. */
  readonly device: DeviceTensors
}

/** A compiled model some of whose outputs stay on the device. */
export interface DeviceProgram {
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
  /** Runs the model once. Feeds, order and errors are those of `Program.run`. */
  run(feeds: Feeds): Promise<DeviceOutputs>
  /** Frees the session after all runs requested before. */
  release(): Promise<void>
}

/**
 * The memory of a runtime between runs. Throws what `Runtime` throws, and `device-lost` after the loss of the device.
 */
export interface Device {
  /**
   * Compiles serialized ONNX. Outputs for which `keepOnDevice` returns true stay on the device. `hints.externalData` is
   * given if the runtime `readsBytes`.
   */
  compile(
    model: Uint8Array,
    keepOnDevice: (output: string) => boolean,
    hints?: Pick<CompileHints, 'externalData'>,
  ): Promise<DeviceProgram>
  /**
   * Copies a tensor to the device; the caller releases it. Throws `invalid-data` for dtypes that the device cannot
   * store.
   */
  upload(tensor: Tensor): Promise<DeviceTensor>
  /**
   * Copies a device tensor to the host. Throws `invalid-data` for a tensor of another device, `runtime` for a released
   * one.
   */
  download(tensor: DeviceTensor): Promise<Tensor>
  /**
   * After `device-lost`: opens a new device. Tensors and programs of the old one are lost; a trainer compiles again and
   * continues from its last snapshot. Absent if a loss is final.
   */
  recover?(): Promise<void>
}
