import type { Tensor } from '../ir/tensor.js'
import { readOperatorSets } from '../onnx/import/declarations.js'
import { checkModel, type Model } from '../onnx/model.js'
import { OnnxIreError } from '../util/errors.js'
import type { Adapter, AdapterLayer } from './adapter.js'
import { groupsOf, splitLayerGroups } from './convolution-groups.js'
import { insertAdapter, type LayerPair, type SavedPair } from './insert-adapter.js'
import { findLayers, type Layer, type LayerOptions } from './layers.js'
import { findRecord } from './record.js'
import { findWholeLayers } from './saved-modules.js'
import { pairScalings, type ScalingPair } from './scalings.js'

/**
 * Inserts an adapter into a model, for training it further or for one file with the adapter beside the weights. Every
 * layer y becomes y + s B A x in nodes of their own: the weights of the model are unchanged. Tensors are named
 * `<module>.lora_A.weight` and `<module>.lora_B.weight`, and have the type of the layer's activations.
 *
 * @example
 * const { adapter } = await readPeftFolder('my-lora')
 * const model = applyAdapter(base, adapter)
 *
 * @throws OnnxIreError `invalid-data` if the model has no such module, or one of another shape; `invalid-option` if the
 *   model already has an adapter
 */
export function applyAdapter(model: Model, adapter: Adapter, options: LayerOptions = {}): Model {
  checkBase(model)
  return insertAdapter(model, findPairs(model, adapter, options), adapter.config, {
    ...options,
    saved: findSaved(model, adapter, options),
    scalings: findScalings(model, adapter, options),
  })
}

/** Finds the layers of a model that factors of an adapter multiply. Throws `invalid-data` and `invalid-option`. */
export function findScalings(model: Model, { scalings = [] }: Adapter, options: LayerOptions): readonly ScalingPair[] {
  if (scalings.length === 0) return []
  const layers = findLayers(model, options)
  return pairScalings(
    model,
    scalings.map((scaling) => ({ layer: findModule(layers, scaling.module), scaling })),
  )
}

/** Finds the layers of a model that the layers of an adapter change. Throws `invalid-data` and `invalid-option`. */
export function findPairs(model: Model, adapter: Adapter, options: LayerOptions): readonly LayerPair[] {
  const layers = findLayers(model, options)
  const pairs = adapter.layers.map((each) => {
    const layer = findModule(layers, each.module)
    return { layer, adapter: withGroups(each, layer) }
  })
  for (const { layer, adapter } of pairs) checkShapes(layer, adapter)
  return pairs
}

/** Finds the layers of a model that an adapter saves as a whole. Throws `invalid-data` and `invalid-option`. */
export function findSaved(model: Model, { saved = [] }: Adapter, options: LayerOptions): readonly SavedPair[] {
  if (saved.length === 0) return []
  const layers = findLayers(model, options)
  const vector = saved.find(
    ({ module, weight }) => weight.dims.length === 1 && modulesLike(layers, module).length === 0,
  )
  if (vector)
    throw new OnnxIreError(
      'invalid-data',
      `adapter: module '${vector.module}' of modules_to_save has the weight [${vector.weight.dims}], that of a norm; only linear layers, convolutions and embeddings can be replaced as a whole: merge the adapter in PEFT (merge_and_unload) and export that model`,
    )
  const whole = findWholeLayers(
    model,
    saved.map(({ module }) => findModule(layers, module)),
  )
  return saved.map((each, i) => ({ whole: whole[i]!, saved: each }))
}

/** Throws if a model cannot get an adapter. */
export function checkBase(model: Model): void {
  checkModel(model)
  if (findRecord(model.proto))
    throw new OnnxIreError(
      'invalid-option',
      'adapter: the model already has an adapter: remove it with removeAdapter, or merge it with mergeAdapter first',
    )
  const version = readOperatorSets(model.proto.opsetImport).get('') ?? 1
  if (version < 7)
    throw new OnnxIreError(
      'invalid-model',
      `adapter: the model uses operator set ${version}, whose sums do not broadcast: convert it to operator set 7 or later`,
    )
}

/** The module of a path, or those whose paths have more or fewer outer modules. */
function modulesLike(layers: readonly Layer[], module: string): readonly Layer[] {
  const exact = layers.find((layer) => layer.module === module)
  if (exact) return [exact]
  return layers.filter((layer) => layer.module.endsWith(`.${module}`) || module.endsWith(`.${layer.module}`))
}

/** Finds a module by its path. Paths may have more or fewer outer modules than those of the model. */
function findModule(layers: readonly Layer[], module: string): Layer {
  const similar = modulesLike(layers, module)
  if (similar.length === 1) return similar[0]!
  const first = layers.slice(0, 4).map((layer) => layer.module)
  throw new OnnxIreError(
    'invalid-data',
    similar.length === 0
      ? `adapter: the model has no module '${module}' (it has ${first.join(', ')}${layers.length > 4 ? `, ... (${layers.length})` : ''}): is it the base of this adapter?`
      : `adapter: '${module}' could be ${similar.map((layer) => layer.module).join(' or ')}: rename it to one of these`,
  )
}

/** An adapter layer with the groups of its convolution, also if it is from a file in which B has one group. */
const withGroups = (adapter: AdapterLayer, { groups = 1 }: Layer): AdapterLayer =>
  (groups > 1 && groupsOf(adapter) === 1 && splitLayerGroups(adapter, groups)) || adapter

/** Throws `invalid-data` if an adapter layer does not fit a layer of the model. */
function checkShapes(layer: Layer, { module, kind, a, b, magnitude, scale }: AdapterLayer): void {
  const r = a.dims[0] ?? 0
  const { kernel: window = [], groups = 1 } = layer
  const expected: readonly (readonly [string, Tensor | undefined, readonly number[]])[] = [
    ['A', a, [r, layer.in, ...window]],
    ['B', b, [layer.out, r / groups, ...window.map(() => 1)]],
    ['the magnitudes', magnitude, [layer.out]],
  ]
  const refuse = (reason: string) =>
    new OnnxIreError('invalid-data', `adapter: module '${module}': ${reason}: the adapter belongs to another model`)
  if (kind !== layer.kind) throw refuse(`its kind is ${kind}, the layer of the model is ${layer.kind}`)
  for (const [name, tensor, dims] of expected)
    if (tensor && (tensor.dims.join() !== dims.join() || r === 0))
      throw refuse(`${name} is [${tensor.dims.join(', ')}], the layer needs [${dims.join(', ')}]`)
  if (!Number.isFinite(scale)) throw refuse(`its scale is ${scale}`)
}
