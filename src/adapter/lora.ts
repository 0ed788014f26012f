import { numbersOf, tensorFrom } from '../ir/leaf.js'
import { sizeOf, type Tensor } from '../ir/tensor.js'
import { type Model, namedTensors } from '../onnx/model.js'
import type { NodeProto } from '../onnx/proto/schema.js'
import { belowOne, checkBoolean, checkNames, checkNumber, count, invalidOption, positiveCount } from '../util/check.js'
import { closest } from '../util/closest.js'
import { OnnxIreError } from '../util/errors.js'
import { createMatcher } from '../util/pattern.js'
import { Random } from '../util/random.js'
import { getOwn } from '../util/record.js'
import type { AdapterConfig, AdapterLayer } from './adapter.js'
import { checkBase } from './apply-adapter.js'
import { insertAdapter } from './insert-adapter.js'
import { findLayers, type Layer, type LayerOptions, nameOf } from './layers.js'
import { outputNorms, readModuleWeight, readWeight } from './merged-weight.js'
import { isDefaultTarget, listRefused, type RefusedLayer } from './refused-layers.js'
import { findWholeLayers, readWhole } from './saved-modules.js'
import { computeSingularVectors } from './singular-vectors.js'

/** Initial values of a new adapter; see `LoraOptions.init`. */
export type AdapterInit = 'kaiming' | 'gaussian' | 'pissa'

const inits: readonly AdapterInit[] = ['kaiming', 'gaussian', 'pissa']

/** Options of `lora`. */
export interface LoraOptions extends LayerOptions {
  /** Rank of the change of a layer. Default 16. */
  readonly r?: number
  /** Numerator of the scale. Default: twice `r`. */
  readonly alpha?: number
  /** Probability of dropping an input element of A in training. Default 0. */
  readonly dropout?: number
  /**
   * Layers to change: `all-linear` (default: every linear layer except the output layer of a language model), names as
   * in PEFT (`q_proj`), whole module paths, or patterns with `*` of module paths, node names or weight names.
   */
  readonly targets?: string | readonly string[]
  /** Layers that are not changed although `targets` select them; the same names. */
  readonly exclude?: string | readonly string[]
  /** Modules that are trained as a whole instead, with their biases, such as a classifier; the same names. */
  readonly modulesToSave?: string | readonly string[]
  /** Whether the scale is alpha / sqrt(r) instead of alpha / r (Kalajdzievski 2023). Default false. */
  readonly rsLora?: boolean
  /** Whether to train the norms of the weight too, one for each output (DoRA, Liu et al. 2024). Default false. */
  readonly dora?: boolean
  /** Ranks of some layers, by the same names as `targets`; the first match is used. */
  readonly rankPattern?: Readonly<Record<string, number>>
  /** Alphas of some layers, by the same names as `targets`; the first match is used. */
  readonly alphaPattern?: Readonly<Record<string, number>>
  /**
   * Initial values of A: 'kaiming' (default) is uniform in +-1 / sqrt(inputs), 'gaussian' normal with standard
   * deviation 1 / r. B is 0. In embeddings A is 0 and B standard normal, as in PEFT. 'pissa' (Meng et al. 2024) trains
   * the largest singular values of the weight: s B A begins as their part W0 of it, over W - W0. The weight itself is
   * not changed; the layer subtracts W0, and `adapterOf` returns an ordinary adapter of twice the rank. For linear
   * layers.
   */
  readonly init?: AdapterInit
  /** Seed of the initial values. Default 0. */
  readonly seed?: number
  /** Name or path of the model, for `adapter_config.json`. */
  readonly baseModel?: string
  /** PEFT's task type, for instance `CAUSAL_LM`, for `adapter_config.json`. */
  readonly taskType?: string
}

const names: readonly (keyof LoraOptions)[] = [
  'r',
  'alpha',
  'dropout',
  'targets',
  'exclude',
  'modulesToSave',
  'rsLora',
  'dora',
  'rankPattern',
  'alphaPattern',
  'init',
  'seed',
  'baseModel',
  'taskType',
  'qkvSizes',
]

/**
 * Adds a new low-rank adapter to a model (LoRA, Hu et al. 2021): layers y become y + s B A x with trainable A and B.
 * The new model computes what the model computes, until it is trained; a `Trainer` trains exactly the adapter.
 *
 * @example
 * const model = lora(await readModel('model.onnx'), { r: 16, alpha: 32, targets: ['q_proj', 'v_proj'] })
 * const trainer = await Trainer.create(model, { loss: crossEntropy(), optimizer: adamw({ lr: 2e-4 }), runtime })
 *
 * @throws OnnxIreError `invalid-option` for an option out of range, a target without a layer, a layer that cannot have
 *   an option, or a model that already has an adapter; `invalid-model`
 */
export function lora(model: Model, options: LoraOptions = {}): Model {
  checkLoraOptions(options)
  checkBase(model)
  const { init = 'kaiming', seed = 0, qkvSizes, exclude = [], modulesToSave = [], ...settings } = options
  const { r = 16, alpha = 2 * r, targets = 'all-linear', dora, rsLora, rankPattern = {}, alphaPattern = {} } = settings
  const all = findLayers(model, options)
  const { layers, saved } = selectChanged(model, all, { targets, exclude, modulesToSave })
  for (const [option, pattern] of Object.entries({ rankPattern, alphaPattern }))
    for (const key of Object.keys(pattern)) checkAmongTargets(model, option, key, { all, layers })
  const random = new Random(seed).stream('lora')
  const tensors = init === 'pissa' || dora ? namedTensors(model) : new Map<string, Tensor>()
  const pairs = layers.map((layer) => {
    const rank = find(rankPattern, layer) ?? r
    checkGroups(layer, rank)
    const scale = (find(alphaPattern, layer) ?? alpha) / (rsLora ? Math.sqrt(rank) : rank)
    const magnitude = dora ? { magnitude: readNorms(layer, tensors) } : {}
    const matrices =
      init === 'pissa'
        ? findPrincipal(layer, rank, scale, tensors)
        : initialize(layer, rank, init, random.stream(layer.module))
    const { module, kind } = layer
    const adapter: AdapterLayer = { module, kind, ...matrices, scale, ...magnitude }
    return { layer, adapter, ...(init === 'pissa' && { start: matrices }) }
  })
  const others = [...all.filter((layer) => !layers.includes(layer)), ...listRefused(model)]
  const config: AdapterConfig = { ...settings, r, alpha, targets: preciseTargets(targets, layers, others) }
  return insertAdapter(model, pairs, config, {
    ...(qkvSizes && { qkvSizes }),
    saved: findWholeLayers(model, saved).map((whole) => ({ whole, saved: readWhole(whole) })),
  })
}

/**
 * The targets for `adapter_config.json`: those given, or the module paths if PEFT would find other layers by these
 * names, or for `all-linear` by the last names of the paths.
 */
function preciseTargets(
  targets: string | readonly string[],
  layers: readonly Layer[],
  others: readonly (Layer | RefusedLayer)[],
): string | readonly string[] {
  const modules = layers.map(({ module }) => module)
  const names = targets === 'all-linear' ? modules.map((module) => module.split('.').at(-1)!) : [targets].flat()
  return others.some((layer) => names.some((name) => isTarget(name, layer))) ? modules : targets
}

/** Throws `invalid-option` for options out of range. */
function checkLoraOptions(options: LoraOptions): void {
  const owner = 'adapter'
  checkNames(owner, options, names)
  const { r, alpha, dropout, seed, init, rsLora, dora, targets } = options
  const { rankPattern = {}, alphaPattern = {} } = options
  const positive = { min: Number.MIN_VALUE, max: Number.MAX_VALUE }
  if (r !== undefined) checkNumber(owner, 'r', r, positiveCount)
  if (alpha !== undefined) checkNumber(owner, 'alpha', alpha, positive)
  if (dropout !== undefined) checkNumber(owner, 'dropout', dropout, belowOne)
  if (seed !== undefined) checkNumber(owner, 'seed', seed, count)
  if (rsLora !== undefined) checkBoolean(owner, 'rsLora', rsLora)
  if (dora !== undefined) checkBoolean(owner, 'dora', dora)
  for (const [key, value] of Object.entries(rankPattern)) checkNumber(owner, `rankPattern.${key}`, value, positiveCount)
  for (const [key, value] of Object.entries(alphaPattern)) checkNumber(owner, `alphaPattern.${key}`, value, positive)
  if (init !== undefined && !inits.includes(init))
    throw invalidOption(owner, 'init', init, `one of '${inits.join("', '")}'`)
  if (targets !== undefined && [targets].flat().length === 0)
    throw invalidOption(owner, 'targets', '[]', "'all-linear' or at least one name")
  if (init === 'pissa' && (dora || dropout))
    throw new OnnxIreError(
      'invalid-option',
      `adapter: option 'init' is 'pissa'; then ${dora ? 'dora must be false' : 'dropout must be 0'}`,
    )
  if (dora && dropout)
    throw new OnnxIreError('invalid-option', `adapter: option 'dropout' is ${dropout}; with dora it must be 0`)
}

const find = (pattern: Readonly<Record<string, number>>, layer: Layer): number | undefined => {
  const key = Object.keys(pattern).find((each) => isTarget(each, layer))
  return key === undefined ? undefined : getOwn(pattern, key)
}

/** Initial tensors of a layer, in the layout of PEFT. */
function initialize(
  { kind, in: inputs, out, kernel = [], groups = 1, sites }: Layer,
  r: number,
  init: 'kaiming' | 'gaussian',
  random: Random,
): Pick<AdapterLayer, 'a' | 'b'> {
  const { dtype } = sites[0]!
  const create = (dims: readonly number[], sample: () => number): Tensor =>
    tensorFrom(dtype, dims, Float64Array.from({ length: sizeOf(dims) }, sample))
  const zero = () => 0
  if (kind === 'embedding') return { a: create([r, inputs], zero), b: create([out, r], () => random.normal()) }
  const bound = 1 / Math.sqrt(inputs * sizeOf(kernel))
  const sample = init === 'kaiming' ? () => bound * (2 * random.uniform() - 1) : () => random.normal() / r
  return { a: create([r, inputs, ...kernel], sample), b: create([out, r / groups, ...kernel.map(() => 1)], zero) }
}

/** Throws `invalid-option` for a rank that the groups of a convolution do not divide, as PEFT does. */
function checkGroups({ module, groups = 1 }: Layer, rank: number): void {
  if (rank % groups !== 0)
    throw new OnnxIreError(
      'invalid-option',
      `adapter: module '${module}' is a convolution of ${groups} groups, which do not divide its rank ${rank}`,
    )
}

/** The largest singular values of a layer's weight: s B A is their part of it. */
function findPrincipal(
  layer: Layer,
  rank: number,
  scale: number,
  tensors: ReadonlyMap<string, Tensor>,
): Pick<AdapterLayer, 'a' | 'b'> {
  const { module, kind, in: inputs, out, sites } = layer
  const reason =
    kind !== 'linear'
      ? `it is ${kind === 'conv' ? 'a convolution' : 'an embedding'}, not a linear layer: name '${module}' in 'exclude', or set 'init' to 'kaiming'`
      : rank > Math.min(inputs, out)
        ? `its rank is ${rank}, and its weight [${out}, ${inputs}] has ${Math.min(inputs, out)} singular values: set 'r', or 'rankPattern' of '${module}', to at most ${Math.min(inputs, out)}`
        : undefined
  if (reason)
    throw new OnnxIreError(
      'invalid-option',
      `adapter: option 'init' is 'pissa', which module '${module}' cannot have: ${reason}`,
    )
  const { values, left, right } = computeSingularVectors(readModuleWeight(layer, tensors), out, inputs, rank)
  const roots = values.map((value) => Math.sqrt(value / scale))
  const { dtype } = sites[0]!
  return {
    a: tensorFrom(
      dtype,
      [rank, inputs],
      right.flatMap((v, k) => Array.from(v, (x) => roots[k]! * x)),
    ),
    b: tensorFrom(
      dtype,
      [out, rank],
      Array.from({ length: out * rank }, (_, i) => roots[i % rank]! * left[i % rank]![Math.floor(i / rank)]!),
    ),
  }
}

/**
 * The norms of a layer's weight by output, with which DoRA begins. Throws `invalid-option` if one is 0, since the layer
 * divides by them.
 */
function readNorms(layer: Layer, tensors: ReadonlyMap<string, Tensor>): Tensor {
  const { module, sites, out } = layer
  const norms = tensorFrom(sites[0]!.dtype, [out], outputNorms(layer, readWeight(layer, tensors)))
  const at = numbersOf(norms).indexOf(0)
  if (at >= 0)
    throw new OnnxIreError(
      'invalid-option',
      `adapter: option 'dora' is true, which module '${module}' cannot have: the weight of its output ${at} is 0, and has no direction: name '${module}' in 'exclude', or set 'dora' to false`,
    )
  return norms
}

/**
 * Whether a target names a layer: by its module path or the end of it (`q_proj`, `self_attn.q_proj`), by the name of a
 * node or weight, or by a pattern with `*` of one of these.
 */
export function isTarget(
  target: string,
  {
    module,
    sites,
    weight,
  }: Pick<Layer, 'module'> & {
    readonly weight: { readonly tensor: string }
    readonly sites: readonly { readonly node: NodeProto }[]
  },
): boolean {
  const names = [module, weight.tensor, ...sites.map(({ node }) => nameOf(node))]
  return target.includes('*')
    ? names.some(createMatcher(target))
    : names.includes(target) || module.endsWith(`.${target}`)
}

/**
 * Selects the layers that targets name. `all-linear` is every linear layer except the output layer of a language model.
 * @param exclude names of layers that are left out
 * @param option name of the option with the targets, for messages
 * @throws OnnxIreError `invalid-option` for a target without a layer, with the closest names, or the reason why the
 *   layer cannot be changed
 */
export function selectLayers(
  model: Model,
  layers: readonly Layer[],
  targets: string | readonly string[],
  exclude: string | readonly string[] = [],
  option = 'targets',
): readonly Layer[] {
  const selected = new Set<Layer>()
  const refused = listRefused(model)
  const excluded = refused.filter((layer) => [exclude].flat().some((name) => isTarget(name, layer)))
  for (const target of [targets].flat()) {
    const matches =
      target === 'all-linear'
        ? layers.filter(({ isDefault }) => isDefault)
        : layers.filter((layer) => isTarget(target, layer))
    if (matches.length === 0) throw noTarget(model, option, target, layers)
    for (const layer of matches) selected.add(layer)
    const left = refused.filter((layer) => isRefusedTarget(target, layer) && !excluded.includes(layer))
    if (left.length > 0) throw leavesOut(option, target, left)
  }
  for (const name of [exclude].flat()) {
    const matches = layers.filter((layer) => isTarget(name, layer))
    if (matches.length === 0 && !excluded.some((layer) => isTarget(name, layer)))
      throw noTarget(model, 'exclude', name, layers)
    for (const layer of matches) selected.delete(layer)
  }
  if (selected.size === 0)
    throw invalidOption('adapter', 'exclude', [exclude].flat().join(', '), 'fewer layers than targets')
  return layers.filter((layer) => selected.has(layer))
}

const isRefusedTarget = (target: string, layer: RefusedLayer): boolean =>
  target === 'all-linear' ? isDefaultTarget(layer) : isTarget(target, layer)

/** The error of a target with layers that an adapter cannot change, beside others. */
function leavesOut(option: string, target: string, refused: readonly RefusedLayer[]): OnnxIreError {
  const names = [...new Set(refused.map(({ module }) => module))]
  const listed = names.slice(0, 3).map((name) => `'${name}'`)
  const more = names.length > 3 ? ` and ${names.length - 3} more` : ''
  const exclude = option === 'targets' ? ", or name the layers in 'exclude' to go without them" : ''
  return new OnnxIreError(
    'invalid-option',
    `adapter: option '${option}' has '${target}', which selects layers that cannot have an adapter, ${listed.join(', ')}${more}: ${refused[0]!.reason}${exclude}`,
  )
}

/**
 * Selects the layers that a new adapter changes, and those that are trained as a whole.
 * @throws OnnxIreError `invalid-option` as `selectLayers`, or if no layer is left to change
 */
export function selectChanged(
  model: Model,
  all: readonly Layer[],
  { targets, exclude, modulesToSave }: Required<Pick<LoraOptions, 'targets' | 'exclude' | 'modulesToSave'>>,
): { readonly layers: readonly Layer[]; readonly saved: readonly Layer[] } {
  const saved = [modulesToSave].flat().length > 0 ? selectLayers(model, all, modulesToSave, [], 'modulesToSave') : []
  const layers = selectLayers(model, all, targets, exclude).filter((layer) => !saved.includes(layer))
  if (layers.length === 0)
    throw invalidOption('adapter', 'modulesToSave', [modulesToSave].flat().join(', '), 'fewer layers than targets')
  return { layers, saved }
}

/** Throws `invalid-option` for a name that none of the selected layers has. */
export function checkAmongTargets(
  model: Model,
  option: string,
  name: string,
  { all, layers }: { readonly all: readonly Layer[]; readonly layers: readonly Layer[] },
): void {
  if (layers.some((layer) => isTarget(name, layer))) return
  const other = all.find((layer) => isTarget(name, layer))
  if (!other) throw noTarget(model, option, name, layers)
  throw new OnnxIreError(
    'invalid-option',
    `adapter: option '${option}' has '${name}', but '${other.module}' is not among the layers of the adapter: add it to 'targets', or remove '${name}' from '${option}'`,
  )
}

/** The error of a name that no layer has. */
function noTarget(model: Model, option: string, target: string, layers: readonly Layer[]): OnnxIreError {
  const refused = listRefused(model).find((layer) => isRefusedTarget(target, layer))
  if (refused)
    return new OnnxIreError(
      'invalid-option',
      `adapter: option '${option}' has '${target}', but the layer '${refused.module}' cannot have an adapter: ${refused.reason}`,
    )
  const modules = layers.map(({ module }) => module)
  const names = [...new Set(modules.map((module) => module.split('.').at(-1)!))]
  const similar = closest(target, [...names, ...modules])
  const available = [...(option === 'targets' ? ['all-linear'] : []), ...names.slice(0, 12)]
  if (names.length > 12) available.push(`... (${names.length} names)`)
  const advice =
    names.length === 0
      ? 'the model has no layer that an adapter can change'
      : `it must be a layer: ${available.join(', ')}; \`onnx-ire inspect --adapter-targets\` lists all`
  return new OnnxIreError(
    'invalid-option',
    `adapter: option '${option}' has '${target}', which no layer is named${similar ? `; did you mean '${similar}'?` : ''}; ${advice}`,
  )
}
