import { OnnxIreError } from '../errors.js'
import type { DType } from '../ir/dtype.js'
import type { Graph, Value } from '../ir/value.js'
import { encode } from '../onnx/encode.js'
import { exportGraph, type GraphSpec } from '../onnx/export.js'
import { importGraph } from '../onnx/import.js'
import { embedExternalData, type Model } from '../onnx/model.js'
import type { Device, DeviceProgram, DeviceTensor, Feeds } from '../runtime/device.js'
import type { Program, Runtime, Tensors } from '../runtime/runtime.js'
import { converted } from './convert.js'
import { targets } from './targets.js'

/**
 * Compiles a graph in operators that the runtime's provider runs. The program takes and gives what `spec` says: where the
 * provider has int32 in the place of int64, it converts.
 */
export async function compileGraph(runtime: Runtime, spec: GraphSpec): Promise<Program> {
  const { bytes, feeds, outputs } = await written(runtime, spec)
  const program = await runtime.compile(bytes)
  if (feeds.size === 0 && outputs.size === 0) return program
  return {
    inputNames: program.inputNames,
    outputNames: program.outputNames,
    run: async (given) => through(outputs, await program.run(through(feeds, given))),
    release: () => program.release(),
  }
}

/**
 * Compiles a model: the file itself where the provider runs everything, and where this library does not read it; else its graph,
 * lowered.
 */
export async function compileModel(runtime: Runtime, model: Model): Promise<Program> {
  const file = () => runtime.compile(encode('ModelProto', embedExternalData(model).proto))
  if (!targets[runtime.provider]) return file()
  let graph: Graph
  try {
    graph = importGraph(model)
  } catch (error) {
    if (error instanceof OnnxIreError && error.code === 'unsupported-operator') return file()
    throw error
  }
  const { name, inputs, outputs } = graph
  return compileGraph(runtime, { name, inputs, outputs })
}

/** `compileGraph` for a device of the runtime; tensors that stay there are in the provider's types. */
export async function compileOnDevice(
  runtime: Runtime,
  device: Device,
  spec: GraphSpec,
  keeps: (output: string) => boolean,
): Promise<DeviceProgram> {
  const { bytes, feeds, outputs } = await written(runtime, spec)
  const program = await device.compile(bytes, keeps)
  if (feeds.size === 0 && outputs.size === 0) return program
  return {
    inputNames: program.inputNames,
    outputNames: program.outputNames,
    run: async (given) => {
      const { host, kept } = await program.run(through(feeds, given))
      return { host: through(outputs, host), kept }
    },
    release: () => program.release(),
  }
}

async function written({ provider }: Runtime, spec: GraphSpec) {
  const target = await targets[provider]?.()
  const graph = target ? (await import('./lowered.js')).lowered(spec, target) : spec
  return {
    bytes: encode('ModelProto', exportGraph(graph)),
    feeds: changes(spec.inputs, graph.inputs),
    outputs: changes(graph.outputs, spec.outputs),
  }
}

/** The types to convert to, by name. */
function changes(from: ReadonlyMap<string, Value>, to: ReadonlyMap<string, Value>): ReadonlyMap<string, DType> {
  return new Map(
    [...to].flatMap(([name, { dtype }]) => (from.get(name)!.dtype === dtype ? [] : [[name, dtype] as const])),
  )
}

function through(types: ReadonlyMap<string, DType>, tensors: Tensors): Tensors
function through(types: ReadonlyMap<string, DType>, tensors: Feeds): Feeds
function through(types: ReadonlyMap<string, DType>, tensors: Feeds): Feeds {
  return Object.fromEntries(
    Object.entries(tensors).map(([name, tensor]) => {
      const to = types.get(name)
      return [name, to && isHost(tensor) ? converted(name, tensor, to) : tensor]
    }),
  )
}

const isHost = (tensor: Feeds[string]): tensor is Exclude<Feeds[string], DeviceTensor> => 'data' in tensor
