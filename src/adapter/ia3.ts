import { tensorFrom } from '../ir/leaf.js'
import { sizeOf } from '../ir/tensor.js'
import type { Model } from '../onnx/model.js'
import { checkNames } from '../util/check.js'
import type { AdapterConfig } from './adapter.js'
import { checkBase } from './apply-adapter.js'
import { insertAdapter } from './insert-adapter.js'
import { findLayers, type LayerOptions } from './layers.js'
import { checkAmongTargets, isTarget, selectChanged } from './lora.js'
import { findWholeLayers, readWhole } from './saved-modules.js'
import { pairScalings, scalingDims } from './scalings.js'

/** Options of `ia3`. */
export interface Ia3Options extends LayerOptions {
  /** Layers with factors, by the same names as in `lora`. Default `['k_proj', 'v_proj', 'down_proj']`. */
  readonly targets?: string | readonly string[]
  /** Layers among them whose inputs are multiplied instead of their outputs. Default `['down_proj']`. */
  readonly feedforward?: string | readonly string[]
  /** Layers without factors although `targets` select them. */
  readonly exclude?: string | readonly string[]
  /** Modules that are trained as a whole beside the factors. */
  readonly modulesToSave?: string | readonly string[]
  /** Name or path of the model, for `adapter_config.json`. */
  readonly baseModel?: string
  /** PEFT's task type, for instance `CAUSAL_LM`, for `adapter_config.json`. */
  readonly taskType?: string
}

const names: readonly (keyof Ia3Options)[] = [
  'targets',
  'feedforward',
  'exclude',
  'modulesToSave',
  'baseModel',
  'taskType',
  'qkvSizes',
]

/**
 * Adds factors to a model that are trained in place of its weights ((IA)^3, Liu et al. 2022): one per output, or per
 * input, of a layer, all 1. They are the smallest adapter, with a thousandth of the parameters of LoRA.
 *
 * @example
 * const model = ia3(await readModel('model.onnx'))
 *
 * @throws OnnxIreError `invalid-option` for a target without a layer, a layer that cannot have factors, or a model that
 *   already has an adapter; `invalid-model`
 */
export function ia3(model: Model, options: Ia3Options = {}): Model {
  checkNames('adapter', options, names)
  checkBase(model)
  const { targets = ['k_proj', 'v_proj', 'down_proj'], exclude = [], modulesToSave = [] } = options
  const feedforward = [options.feedforward ?? (options.targets === undefined ? 'down_proj' : [])].flat()
  const { qkvSizes, baseModel, taskType } = options
  const all = findLayers(model, options)
  const { layers, saved } = selectChanged(model, all, { targets, exclude, modulesToSave })
  for (const name of feedforward) checkAmongTargets(model, 'feedforward', name, { all, layers })
  const found = layers.map((layer) => {
    const of = feedforward.some((name) => isTarget(name, layer)) ? ('inputs' as const) : ('outputs' as const)
    const dims = scalingDims(layer, of)
    const factors = tensorFrom(layer.sites[0]!.dtype, dims, new Float64Array(sizeOf(dims)).fill(1))
    return { layer, scaling: { module: layer.module, kind: layer.kind, of, factors } }
  })
  const config: AdapterConfig = {
    r: 0,
    alpha: 0,
    targets,
    ...(baseModel !== undefined && { baseModel }),
    ...(taskType !== undefined && { taskType }),
  }
  return insertAdapter(model, [], config, {
    ...(qkvSizes && { qkvSizes }),
    saved: findWholeLayers(model, saved).map((whole) => ({ whole, saved: readWhole(whole) })),
    scalings: pairScalings(model, found),
  })
}
