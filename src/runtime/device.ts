import type { DeviceResidence, ResidenceSpec } from '../backend/backend.js'
import type { DType } from '../ir/dtype.js'
import type { Tensor, Tensors } from '../ir/tensor.js'

/** A tensor that stays where a runtime computes. Only the device that made it can use it. */
export interface DeviceTensor {
  readonly dtype: DType
  readonly dims: readonly number[]
  /** Frees its memory once the calls already made are over. Using it afterwards is an error; releasing twice is not. */
  release(): void
}

/** Device tensors by name. */
export type DeviceTensors = Readonly<Record<string, DeviceTensor>>

/** What a device program is fed: tensors of the host or of its device. */
export type Feeds = Readonly<Record<string, Tensor | DeviceTensor>>

/** What a run gives. Every device tensor of it is the caller's to release, and shares memory with none that it was fed. */
export interface DeviceOutputs {
  /** Outputs that came back to the host. */
  readonly host: Tensors
  /** Outputs that stayed on the device. */
  readonly kept: DeviceTensors
}

/** A compiled model some of whose outputs stay on the device. */
export interface DeviceProgram {
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
  /** Runs the model once; what `Program.run` says of feeds, order and errors holds here too. */
  run(feeds: Feeds): Promise<DeviceOutputs>
  /** Frees the session once the runs already asked for are over. */
  release(): Promise<void>
}

/**
 * The part of a runtime that keeps tensors between runs. Calls are carried out in the order they were made.
 * What it throws is what `Runtime` throws, and `device-lost` once the device is gone.
 */
export interface Device {
  /** Compiles serialized ONNX; the outputs that `keeps` names stay on the device. */
  compile(model: Uint8Array, keeps: (output: string) => boolean): Promise<DeviceProgram>
  /** A copy of a tensor on the device, the caller's to release. Throws `invalid-data` for dtypes that cannot lie there. */
  upload(tensor: Tensor): Promise<DeviceTensor>
  /** A copy of a device tensor on the host. Throws `invalid-data` for one of another device, `runtime` for one released. */
  download(tensor: DeviceTensor): Promise<Tensor>
  /**
   * After a 'device-lost': starts over on a new device; tensors, programs and residences of the old one are gone. A trainer
   * calls it, compiles again and goes on from its last snapshot. Absent where a loss is final.
   */
  renew?(): Promise<void>
  /**
   * Where such updates rank for IRE's mask: on the device (default), by some three hundred small operations, or on the 'host',
   * which copies estimates there and the mask back.
   */
  readonly ranking?: 'device' | 'host'
  /** Where training state lives on this device. Without it, updates are ONNX graphs run on the device (`graphResidence`). */
  reside?(spec: ResidenceSpec): Promise<DeviceResidence<DeviceTensors>>
}
