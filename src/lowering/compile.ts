import type { DType } from '../ir/dtype.js'
import type { Tensor } from '../ir/tensor.js'
import { leavesOf } from '../ir/topology.js'
import type { Graph, Value } from '../ir/value.js'
import type { GraphSpec } from '../onnx/export/export-graph.js'
import { exportBesideFiles, exportGraph } from '../onnx/export/export-graph.js'
import { importGraph } from '../onnx/import/import-graph.js'
import { walkNodes } from '../onnx/import/model-nodes.js'
import { checkModel, embedBesideFiles, embedExternalData, type Model, separateWeights } from '../onnx/model.js'
import { encode } from '../onnx/proto/encode.js'
import type { Device, DeviceProgram } from '../runtime/device.js'
import { type CompileHints, checkRuntime, type Program, type Provider, type Runtime } from '../runtime/runtime.js'
import { checkArguments } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { convertTensor } from './convert.js'
import { cpuTargetOf } from './cpu/block.js'
import { lower } from './lower.js'
import type { Target } from './lowering.js'
import { toFloat32 } from './precision.js'

/**
 * Loads the lowerings of a provider; a provider without an entry runs every operator. A page that trains on the CPU does
 * not load those for WebGPU.
 */
export const targets: { readonly [P in Provider]?: () => Promise<Target> } = {
  webgpu: async () => (await import('./webgpu/target.js')).webgpu,
}

/** The target of a graph: on the CPU it depends on the processor. */
const targetOf = async (runtime: Runtime, spec: GraphSpec): Promise<Target | undefined> =>
  runtime.provider === 'cpu' ? cpuTargetOf(runtime, spec) : targets[runtime.provider]?.()

/**
 * Compiles a graph, rewritten in operators that the runtime's provider runs. The program has the inputs and outputs of
 * `spec`: if the provider computes in int32 instead of int64, or in float32 instead of float16, feeds and results are
 * converted.
 */
export async function compileGraph(runtime: Runtime, spec: GraphSpec): Promise<Program> {
  const target = await targetOf(runtime, spec)
  const { bytes, conversion, hints } = encodeGraph(target, spec, runtime)
  const program = await runtime.compile(bytes, { ...hints, transfer: true })
  if (!conversion) return program
  return {
    inputNames: program.inputNames,
    outputNames: program.outputNames,
    run: async (given) => conversion.outputs(await program.run(conversion.feeds(given))),
    release: () => program.release(),
  }
}

/**
 * Compiles a model so that a runtime computes it correctly: as it is, or rewritten for WebGPU, whose provider returns
 * wrong values for some operators. `runtime.compile` compiles bytes as they are.
 *
 * The program takes and returns tensors of the model's types. A model with an operator that this library does not
 * support is compiled as it is. `await using` releases it at the end of a block.
 *
 * @throws OnnxIreError `runtime` with onnxruntime's own message; `invalid-option`, `invalid-model` for other arguments
 *
 * @example
 * ```ts
 * const program = await compileModel(await webgpu(), model)
 * const { logits } = await program.run({ x: { dtype: 'float32', dims: [1, 784], data } })
 * await program.release()
 * ```
 */
export async function compileModel(runtime: Runtime, model: Model): Promise<Program & AsyncDisposable> {
  const program = await compileAny(runtime, model)
  return Object.assign(program, { [Symbol.asyncDispose]: () => program.release() })
}

async function compileAny(runtime: Runtime, model: Model): Promise<Program> {
  checkArguments('compileModel(runtime, model)', { runtime, model })
  checkRuntime('compileModel', runtime)
  checkModel(model)
  const file = () => {
    const { proto, ...hints }: Prepared = runtime.readsFiles
      ? embedBesideFiles(model)
      : runtime.readsBytes
        ? separateWeights(model)
        : embedExternalData(model)
    return runtime.compile(encode('ModelProto', proto), { ...hints, transfer: true })
  }
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

/** A model's message, and where the weights are that it does not contain. */
type Prepared = Pick<Model, 'proto'> & Pick<CompileHints, 'externalData' | 'folder'>

/** Encodes a graph for a target, with its operators, and the conversion of feeds and results if types change. */
function encodeGraph(
  target: Target | undefined,
  spec: GraphSpec,
  runtime: RuntimeFacts,
): { readonly bytes: Uint8Array; readonly conversion?: Conversion; readonly hints: CompileHints } {
  if (target?.provider === 'webgpu') refuseFloat64(spec)
  const { graph, conversion } = target ? createConversion(spec, target, runtime.lacksFloat16 === true) : { graph: spec }
  const { proto, ...data }: Prepared = runtime.readsFiles
    ? exportBesideFiles(graph)
    : runtime.readsBytes
      ? separateWeights({ proto: exportGraph(graph), external: null })
      : { proto: exportGraph(graph) }
  const operators = new Set(Array.from(walkNodes(proto.graph!), ({ opType = '' }) => opType))
  return { bytes: encode('ModelProto', proto), ...(conversion && { conversion }), hints: { ...data, operators } }
}

/** Throws `runtime` for a graph in float64, for which onnxruntime's own message names an internal node. */
function refuseFloat64({ name, inputs, outputs }: GraphSpec): void {
  const wide = [...inputs.values(), ...leavesOf(outputs.values())].find(
    ({ dtype, source }) => dtype === 'float64' && source.kind !== 'constant',
  )
  if (wide)
    throw new OnnxIreError(
      'runtime',
      `'${name}' computes in float64: '${wide.name ?? '?'}'. WebGPU has no float64: use a CPU runtime, such as node() or wasm(), or a model in float32`,
    )
}

type RuntimeFacts = Pick<Runtime, 'lacksFloat16' | 'readsFiles' | 'readsBytes'>

/** `compileGraph` for a device of a runtime. Tensors that stay on the device have the provider's types. */
export async function compileOnDevice(
  { provider, readsBytes = false }: Pick<Runtime, 'provider' | 'readsBytes'>,
  device: Device,
  spec: GraphSpec,
  keepOnDevice: (output: string) => boolean,
): Promise<DeviceProgram> {
  const { bytes, conversion, hints } = encodeGraph(await targets[provider]?.(), spec, { readsBytes })
  const program = await device.compile(bytes, keepOnDevice, hints)
  if (!conversion) return program
  return {
    inputNames: program.inputNames,
    outputNames: program.outputNames,
    run: async (given) => {
      const { host, device: onDevice } = await program.run(conversion.feeds(given))
      return { host: conversion.outputs(host), device: onDevice }
    },
    release: () => program.release(),
  }
}

/**
 * Converts feeds and results between a graph and its lowered form. Tensors in device memory are passed on unchanged.
 */
export interface Conversion {
  feeds<T extends object>(given: Readonly<Record<string, T>>): Readonly<Record<string, T>>
  outputs<T extends object>(given: Readonly<Record<string, T>>): Readonly<Record<string, T>>
}

const isHost = <T extends object>(tensor: T): tensor is T & Tensor => 'data' in tensor

function convertAll<T extends object>(types: ReadonlyMap<string, DType>, tensors: Readonly<Record<string, T>>) {
  return Object.fromEntries(
    Object.entries(tensors).map(([name, tensor]) => {
      const to = types.get(name)
      return [name, to && isHost(tensor) ? (convertTensor(name, tensor, to) as T & Tensor) : tensor]
    }),
  )
}

/** The types to convert to, by name of input or output. */
function changedTypes(from: ReadonlyMap<string, Value>, to: ReadonlyMap<string, Value>): ReadonlyMap<string, DType> {
  return new Map(
    [...to].flatMap(([name, { dtype }]) => (from.get(name)!.dtype === dtype ? [] : [[name, dtype] as const])),
  )
}

/** Lowers a graph; returns it with the conversion of its feeds and results, if any type changes. */
function createConversion(
  spec: GraphSpec,
  target: Target,
  lacksFloat16: boolean,
): { readonly graph: GraphSpec; readonly conversion?: Conversion } {
  const graph = lower(lacksFloat16 ? toFloat32(spec) : spec, target)
  const feeds = changedTypes(spec.inputs, graph.inputs)
  const outputs = changedTypes(graph.outputs, spec.outputs)
  if (feeds.size === 0 && outputs.size === 0) return { graph }
  return {
    graph,
    conversion: { feeds: (given) => convertAll(feeds, given), outputs: (given) => convertAll(outputs, given) },
  }
}
