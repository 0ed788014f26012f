import type { Graph } from '../ir/value.js'
import { exportGraph, type GraphSpec } from '../onnx/export/export-graph.js'
import { importGraph } from '../onnx/import/import-graph.js'
import { embedExternalData, type Model } from '../onnx/model.js'
import { encode } from '../onnx/proto/encode.js'
import type { Provider } from '../runtime/provider.js'
import type { Program, Runtime } from '../runtime/runtime.js'
import { OnnxIreError } from '../util/errors.js'
import type { Conversion } from './conversion.js'
import { conversionOf } from './conversion.js'
import { targets } from './targets.js'

/**
 * Compiles a graph in operators that the runtime's provider runs. The program takes and gives what `spec` says: where the
 * provider has int32 in the place of int64, it converts.
 */
export async function compileGraph(runtime: Runtime, spec: GraphSpec): Promise<Program> {
  const { bytes, conversion } = await written(runtime.provider, spec)
  const program = await runtime.compile(bytes)
  if (!conversion) return program
  return {
    inputNames: program.inputNames,
    outputNames: program.outputNames,
    run: async (given) => conversion.outputs(await program.run(conversion.feeds(given))),
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

/** A graph as bytes that the provider takes, and what has to be converted then. */
export async function written(
  provider: Provider,
  spec: GraphSpec,
): Promise<{ readonly bytes: Uint8Array; readonly conversion?: Conversion }> {
  const bytesOf = (graph: GraphSpec) => encode('ModelProto', exportGraph(graph))
  const target = await targets[provider]?.()
  if (!target) return { bytes: bytesOf(spec) }
  const { graph, conversion } = conversionOf(spec, target)
  return { bytes: bytesOf(graph), ...(conversion ? { conversion } : {}) }
}
