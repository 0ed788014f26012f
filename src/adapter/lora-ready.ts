import { dtypeOf } from '../ir/dtype.js'
import { tensorFrom } from '../ir/leaf.js'
import { sizeOf } from '../ir/tensor.js'
import { walkNodes } from '../onnx/import/model-nodes.js'
import { checkModel, type Model } from '../onnx/model.js'
import { create, edit } from '../onnx/proto/message.js'
import type { GraphProto, NodeProto, ValueInfoProto } from '../onnx/proto/schema.js'
import { toTensorProto } from '../onnx/proto/tensor.js'
import { checkBoolean, checkNames } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import type { Adapter, AdapterLayer } from './adapter.js'
import { findPairs } from './apply-adapter.js'
import { insertAdapter, type LayerPair } from './insert-adapter.js'
import { findLayers, type Layer, type LayerOptions } from './layers.js'
import { selectLayers } from './lora.js'
import { adapterOf, removeAdapter } from './read-adapter.js'
import { findRecord, removeRecord } from './record.js'
import { replaceNodes } from './scopes.js'
import { chooseAbsentRank, suffixes } from './stored-layers.js'

/** Options of `makeLoraReady`. */
export interface LoraReadyOptions extends LayerOptions {
  /**
   * Layers that adapters may change, as in `lora`. Default: those of the model's adapter, or `all-linear` if it has
   * none.
   */
  readonly targets?: string | readonly string[]
  /**
   * Whether the inputs may be left out, so that the model runs alone. Default true, for the C, C# and Python packages
   * of onnxruntime and for onnxruntime-genai. onnxruntime-node and onnxruntime-web cannot feed optional inputs: set
   * false for them, and feed the result of `adapterFeeds`.
   */
  readonly optional?: boolean
}

/** Name of the dimension of the rank. */
const rank = 'lora_r'

/**
 * Converts a model to one whose adapter is an input: every chosen layer gets inputs for A and B, named and laid out as
 * Olive's ExtractAdapters does, with the symbolic rank `lora_r`. Adapters of any rank can then be swapped over one
 * session. The weights of the model keep their bytes; an adapter that the model has is removed.
 *
 * @throws OnnxIreError `invalid-option` for a target without a layer, or a model whose adapter cannot be an input
 *
 * @example
 * ```ts
 * await writeModel('base.onnx', makeLoraReady(trained))
 * await writeOnnxAdapter('support.onnx_adapter', adapterOf(trained))
 * ```
 */
export function makeLoraReady(model: Model, options: LoraReadyOptions = {}): Model {
  checkNames('makeLoraReady', options, ['targets', 'optional', 'qkvSizes'])
  const { optional = true, targets } = options
  checkBoolean('makeLoraReady', 'optional', optional)
  checkModel(model)
  const record = findRecord(model.proto)
  if (record?.saved)
    throw new OnnxIreError(
      'invalid-option',
      `makeLoraReady: module '${record.saved[0]!.module}' of the model's adapter is trained as a whole, which cannot be an input: give the base of the adapter`,
    )
  if (record?.scalings)
    throw new OnnxIreError(
      'invalid-option',
      'makeLoraReady: the adapter of the model multiplies by factors ((IA)^3), which cannot be inputs of low rank: give the base of the adapter',
    )
  const qkvSizes = options.qkvSizes ?? record?.qkvSizes
  const layerOptions = qkvSizes ? { qkvSizes } : {}
  const base = record ? removeAdapter(model) : model
  const layers = findLayers(base, layerOptions)
  const pairs =
    record && targets === undefined
      ? findPairs(base, adapterOf(model), layerOptions).map(({ layer, adapter }) => createPair(layer, adapter.module))
      : selectLayers(base, layers, targets ?? 'all-linear').map((layer) => createPair(layer))
  const config: Adapter['config'] = { r: 1, alpha: 1 }
  const withAdapter = insertAdapter(base, addParts(pairs, layers), config, layerOptions)
  return convertToInputs(withAdapter, optional)
}

/** A layer with an adapter of rank 1 and scale 1. B has one group, since all inputs share one rank. */
function createPair(layer: Layer, module = layer.module): LayerPair {
  const window = layer.kernel ?? []
  const zeros = (...dims: number[]) =>
    tensorFrom('float32', dims, new Float32Array(dims.reduce((product, dim) => product * dim, 1)))
  const adapter: AdapterLayer = {
    module,
    kind: layer.kind,
    a: zeros(1, layer.in, ...window),
    b: zeros(layer.out, 1, ...window.map(() => 1)),
    scale: 1,
  }
  return { layer, adapter }
}

/** Adds the other parts of packed layers: zeros in their place would have a fixed rank. */
function addParts(pairs: readonly LayerPair[], layers: readonly Layer[]): readonly LayerPair[] {
  const chosen = new Set(pairs.map(({ layer }) => layer.module))
  const packed = new Set(pairs.flatMap(({ layer }) => (layer.part ? [layer.part.of] : [])))
  const missing = layers.filter(({ module, part }) => part && packed.has(part.of) && !chosen.has(module))
  return [...pairs, ...missing.map((layer) => createPair(layer))]
}

/** Turns the tensors of a model's adapter into inputs and removes the scales. */
function convertToInputs(model: Model, optional: boolean): Model {
  const record = findRecord(model.proto)!
  const graph = model.proto.graph!
  const inputs: ValueInfoProto[] = []
  const defaults: GraphProto['initializer'][number][] = []
  const renamed = new Map<string, string>()
  const scales = new Set(record.layers.map(({ module }) => `${module}.lora_scale`))
  const tensors = new Map(graph.initializer.map((tensor) => [tensor.name ?? '', tensor]))
  const defaultRank = chooseAbsentRank(record.layers.some(({ kind }) => kind === 'conv'))
  for (const { module, kind, a, b } of record.layers) {
    const names = suffixes(kind)
    const places = [
      { from: a, to: `${module}${names.a}`, axis: kind === 'conv' ? 0 : 1 },
      { from: b, to: `${module}${names.b}`, axis: kind === 'conv' ? 1 : 0 },
    ]
    for (const { from, to, axis } of places) {
      const { dims, dataType } = tensors.get(from)!
      renamed.set(from, to)
      const lengths = Array.from(dims, Number)
      inputs.push(declareInput(to, dataType ?? 0, lengths, axis))
      const dtype = dtypeOf(dataType ?? 0)!
      const absent = lengths.with(axis, defaultRank)
      if (optional) defaults.push(toTensorProto(to, tensorFrom(dtype, absent, new Float32Array(sizeOf(absent)))))
    }
  }
  // A factor of 1 between A and B.
  const isScale = ({ opType, input }: NodeProto) => opType === 'Mul' && scales.has(input[1] ?? '')
  for (const node of walkNodes(graph)) if (isScale(node)) renamed.set(node.output[0]!, node.input[0]!)
  const edited = edit(graph, {
    node: replaceNodes(graph, (node) => {
      if (isScale(node)) return []
      const reads = node.input.some((name) => renamed.has(name))
      return [reads ? edit(node, { input: node.input.map((name) => renamed.get(name) ?? name) }) : node]
    }),
    initializer: [...graph.initializer.filter(({ name = '' }) => !renamed.has(name) && !scales.has(name)), ...defaults],
    input: [...graph.input.filter(({ name = '' }) => !renamed.has(name) && !scales.has(name)), ...inputs],
  })
  return { ...model, proto: edit(removeRecord(model.proto), { graph: edited }) }
}

const declareInput = (name: string, elemType: number, dims: readonly number[], rankAxis: number): ValueInfoProto =>
  create('ValueInfoProto', {
    name,
    type: create('TypeProto', {
      tensorType: create('TensorType', {
        elemType,
        shape: create('TensorShapeProto', {
          dim: dims.map((dim, axis) =>
            create('Dimension', axis === rankAxis ? { dimParam: rank } : { dimValue: BigInt(dim) }),
          ),
        }),
      }),
    }),
  })
