import type { GraphSpec } from '../onnx/export/export-graph.js'
import type { Device, DeviceProgram } from '../runtime/device.js'
import type { Provider } from '../runtime/provider.js'
import { written } from './compile.js'

/** `compileGraph` for a device of the provider's runtime; tensors that stay there are in the provider's types. */
export async function compileOnDevice(
  provider: Provider,
  device: Device,
  spec: GraphSpec,
  keeps: (output: string) => boolean,
): Promise<DeviceProgram> {
  const { bytes, conversion } = await written(provider, spec)
  const program = await device.compile(bytes, keeps)
  if (!conversion) return program
  return {
    inputNames: program.inputNames,
    outputNames: program.outputNames,
    run: async (given) => {
      const { host, kept } = await program.run(conversion.feeds(given))
      return { host: conversion.outputs(host), kept }
    },
    release: () => program.release(),
  }
}
