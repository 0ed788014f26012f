import type { ParameterArrays } from '../../src/optim/arrays.js'
import type { Device, DeviceTensors } from '../../src/runtime/device.js'
import type { Optimizer } from '../../src/step/optimizer.js'
import type { DeviceResidence } from '../../src/step/residence.js'
import type { StepContext, StepReport } from '../../src/step/step.js'
import { type GradientFunction, takeStepIn } from '../../src/step/take-step.js'

const dimsOf: Readonly<Record<string, readonly number[]>> = { scale: [], embedding: [4, 3], nothing: [0, 5] }

/** Some dims for the arrays of a test's problem. */
export const shapesOf = (parameters: ParameterArrays) =>
  Object.fromEntries(Object.entries(parameters).map(([name, { length }]) => [name, dimsOf[name] ?? [length]]))

/** Arrays as tensors of a device. */
export async function uploaded(device: Device, arrays: ParameterArrays): Promise<DeviceTensors> {
  const shapes = shapesOf(arrays)
  const tensors: Record<string, DeviceTensors[string]> = {}
  for (const [name, data] of Object.entries(arrays))
    tensors[name] = await device.upload({ dtype: 'float32', dims: shapes[name]!, data })
  return tensors
}

/** The reverse. */
export async function downloaded(device: Device, tensors: DeviceTensors): Promise<Record<string, Float32Array>> {
  const arrays: Record<string, Float32Array> = {}
  for (const [name, tensor] of Object.entries(tensors))
    arrays[name] = (await device.download(tensor)).data as Float32Array
  return arrays
}

/** One step on a device, of gradients that are computed on the host. */
export async function deviceStep(
  device: Device,
  residence: DeviceResidence<DeviceTensors>,
  optimizer: Optimizer,
  step: number,
  gradient: GradientFunction,
  context: StepContext,
): Promise<StepReport> {
  const asked: DeviceTensors[] = []
  const answer: GradientFunction<DeviceTensors, DeviceTensors> = async (kind, at) => {
    const reply = await gradient(kind, await downloaded(device, at))
    const gradients = await uploaded(device, reply.gradients)
    asked.push(gradients)
    return { ...reply, gradients }
  }
  try {
    return await takeStepIn(residence, optimizer, step, answer, context)
  } finally {
    for (const gradients of asked) for (const tensor of Object.values(gradients)) tensor.release()
  }
}
