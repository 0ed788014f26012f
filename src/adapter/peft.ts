import { decodeSafetensors, encodeSafetensors } from '../ir/safetensors.js'
import { sizeOf, type Tensor } from '../ir/tensor.js'
import { isStringList } from '../util/check.js'
import { messageOf, type OnnxIreError, prefixError } from '../util/errors.js'
import { getOwn, isObject } from '../util/record.js'
import { decodeUtf8, encodeUtf8 } from '../util/utf8.js'
import type { Adapter, AdapterConfig, AdapterLayer, SavedModule, ScalingLayer } from './adapter.js'
import { readIa3Config, toIa3Config, toNamedFactors, toScaling } from './peft-ia3.js'
import { createPatterns, matchPattern } from './peft-patterns.js'
import {
  checkLayer,
  checkLayers,
  groupLayers,
  invalidAdapter,
  magnitudeSuffix,
  type StoredLayer,
  suffixes,
  toAdapterType,
} from './stored-layers.js'

/** Names of the files of a PEFT folder. */
export const peftFiles = {
  weights: 'adapter_model.safetensors',
  config: 'adapter_config.json',
  card: 'README.md',
} as const

/** Bytes of files by name. */
export type FilesByName = Readonly<Record<string, Uint8Array>>

/** An adapter as read from a PEFT folder. */
export interface PeftAdapter {
  readonly adapter: Adapter
  /** Entries of the folder that were ignored. */
  readonly warnings: readonly string[]
}

/** Options of `encodePeft`. */
export interface EncodePeftOptions {
  /** Text of the model card, README.md. Default: the settings of the adapter and how to load it. */
  readonly card?: string
}

const prefix = 'base_model.model.'
const checksumKey = 'onnx-ire.base'

/**
 * Encodes an adapter as the files of a PEFT folder: adapter_model.safetensors, adapter_config.json and README.md. PEFT,
 * vLLM, and the converters of llama.cpp and MLX read such folders.
 *
 * @throws OnnxIreError `invalid-data` if A and B of a layer do not fit, or if only some layers have magnitudes
 *
 * @example
 * ```ts
 * const files = encodePeft(adapterOf(model))
 * ```
 */
export function encodePeft(adapter: Adapter, { card }: EncodePeftOptions = {}): Record<string, Uint8Array> {
  const { layers, scalings = [] } = adapter
  if (scalings.length === 0) checkLayers(layers)
  else if (layers.length > 0) throw invalidAdapter('it has low-rank changes and factors')
  const config = scalings.length > 0 ? toIa3Config(adapter) : toPeftConfig(adapter)
  const factors = toNamedFactors(adapter).map(([name, tensor]) => [prefix + name, tensor] as const)
  const whole = (adapter.saved ?? []).flatMap(({ module, weight, bias }) => [
    [`${prefix}${module}.weight`, weight] as const,
    ...(bias ? [[`${prefix}${module}.bias`, bias] as const] : []),
  ])
  const tensors = Object.fromEntries([...layers.flatMap(toNamedTensors), ...factors, ...whole])
  const { baseChecksum } = adapter.config
  const metadata = { format: 'pt', ...(baseChecksum !== undefined && { [checksumKey]: baseChecksum }) }
  return {
    [peftFiles.weights]: encodeSafetensors({ tensors, metadata }),
    [peftFiles.config]: encodeUtf8(`${JSON.stringify(config, null, 2)}\n`),
    [peftFiles.card]: encodeUtf8(card ?? describeAdapter(adapter)),
  }
}

/**
 * Decodes the files of a PEFT folder, of which it reads adapter_config.json and adapter_model.safetensors: LoRA, DoRA
 * and (IA)^3, with modules that are trained as a whole. Folders whose adapter changes more (biases, other methods) are
 * refused, since the result would differ.
 *
 * @throws OnnxIreError `invalid-data` with file and field, `damaged` for a damaged safetensors file
 *
 * @example
 * ```ts
 * const { adapter } = decodePeft({ 'adapter_config.json': config, 'adapter_model.safetensors': weights })
 * ```
 */
export function decodePeft(files: FilesByName): PeftAdapter {
  const fields = parseConfig(requireFile(files, peftFiles.config))
  if (getOwn(fields, 'peft_type') === 'IA3') return decodeIa3(fields, requireFile(files, peftFiles.weights))
  const { config, warnings } = readConfig(fields)
  const { tensors, metadata } = readWeights(requireFile(files, peftFiles.weights))
  const named: (readonly [string, Tensor])[] = []
  const saved: SavedTensors = new Map()
  for (const [key, tensor] of Object.entries(tensors)) {
    const name = key.startsWith(prefix) ? key.slice(prefix.length) : key
    if (isEmbeddingCopy(name, tensors)) warnings.push(`${key} is ignored: it is the base model's own embedding`)
    else if (isOfSavedModule(name, config.modulesToSave)) addSaved(saved, name, tensor)
    else named.push([name.replace(/\.lora_magnitude_vector\.weight$/, magnitudeSuffix), tensor])
  }
  if (named.length === 0) throw inFile(peftFiles.weights, 'it contains no tensors')
  const stored = groupLayers(named, (name) => explainTensor(name))
  const layers = stored.map((layer) => toLayer(layer, config))
  if (layers.some(({ magnitude }) => (magnitude !== undefined) !== config.dora))
    throw inFile(peftFiles.config, `use_dora is ${config.dora}, but the tensors say otherwise`)
  const { modulesToSave: _, ...rest } = config
  const checksum = getOwn(metadata, checksumKey)
  return {
    adapter: {
      layers,
      ...(saved.size > 0 && { saved: [...saved].map(toSaved) }),
      config: { ...rest, ...(checksum !== undefined && { baseChecksum: checksum }) },
    },
    warnings,
  }
}

function requireFile(files: FilesByName, name: string): Uint8Array {
  const found = getOwn(files, name)
  if (found) return found
  const isPickle = name === peftFiles.weights && getOwn(files, 'adapter_model.bin')
  throw invalidAdapter(
    isPickle
      ? 'adapter_model.bin is a Python pickle, which is not read: save the adapter with safe_serialization=True in PEFT'
      : `${name} is missing: a PEFT folder has ${peftFiles.config} and ${peftFiles.weights}`,
  )
}

function readWeights(bytes: Uint8Array) {
  try {
    return decodeSafetensors(bytes, { checksum: false })
  } catch (error) {
    throw prefixError(error, peftFiles.weights)
  }
}

/** PEFT saves the base's embedding along with an adapter of it. */
const isEmbeddingCopy = (name: string, tensors: Readonly<Record<string, Tensor>>): boolean => {
  const module = /^(.+)\.base_layer\.weight$/.exec(name)?.[1]
  return (
    module !== undefined && [prefix, ''].some((start) => Object.hasOwn(tensors, `${start}${module}.lora_embedding_A`))
  )
}

/** Whether a name is that of a weight or bias of a module that is trained as a whole, or of one within it. */
const isOfSavedModule = (name: string, modulesToSave: readonly string[]): boolean =>
  /\.(weight|bias)$/.test(name) &&
  !/\.(lora_[AB]|lora_magnitude_vector|base_layer)\.\w+$/.test(name) &&
  modulesToSave.some((module) => `.${name}`.includes(`.${module}.`))

function toSaved([module, { weight, bias }]: readonly [string, { weight?: Tensor; bias?: Tensor }]): SavedModule {
  if (weight) return { module, weight, ...(bias && { bias }) }
  throw inFile(peftFiles.weights, `${prefix}${module}.weight is missing: the file is incomplete`)
}

function explainTensor(name: string): OnnxIreError {
  const reason = name.endsWith('.bias') ? 'a trained bias' : 'not a tensor of LoRA'
  return inFile(peftFiles.weights, `'${name}' is ${reason}: merge the adapter in PEFT and export the merged model`)
}

interface PeftConfig extends AdapterConfig {
  readonly rsLora: boolean
  readonly dora: boolean
  readonly rankPattern: Readonly<Record<string, number>>
  readonly alphaPattern: Readonly<Record<string, number>>
  readonly modulesToSave: readonly string[]
}

function toLayer({ module, kind, a, b, magnitude }: StoredLayer, config: PeftConfig): AdapterLayer {
  const { rankPattern, alphaPattern, rsLora } = config
  const [r] = a.dims
  const expected = matchPattern('rank_pattern', rankPattern, module) ?? config.r
  if (r !== expected)
    throw invalidAdapter(
      `module '${module}': A is [${a.dims.join(', ')}], but its rank in ${peftFiles.config} is ${expected}: the files belong to different adapters`,
    )
  const alpha = matchPattern('alpha_pattern', alphaPattern, module) ?? config.alpha
  const flat = magnitude && { ...magnitude, dims: [sizeOf(magnitude.dims)] }
  const { a: aName, b: bName } = suffixes(kind)
  const layer = {
    module,
    kind,
    a: toAdapterType(module + aName, a),
    b: toAdapterType(module + bName, b),
    scale: rsLora ? alpha / Math.sqrt(r) : alpha / r,
    ...(flat && { magnitude: toAdapterType(module + magnitudeSuffix, flat) }),
  }
  checkLayer(layer)
  return layer
}

/** Fields of adapter_config.json that this library reads or writes. */
const readFields = [
  'peft_type',
  'task_type',
  'base_model_name_or_path',
  'r',
  'lora_alpha',
  'lora_dropout',
  'target_modules',
  'bias',
  'use_rslora',
  'use_dora',
  'rank_pattern',
  'alpha_pattern',
  'modules_to_save',
  'init_lora_weights',
]

/** Fields that do not change the result of a trained adapter. */
const ignoredFields = [
  'auto_mapping',
  'corda_config',
  'ensure_weight_tying',
  'eva_config',
  'exclude_modules',
  'fan_in_fan_out',
  'inference_mode',
  'layers_pattern',
  'layers_to_transform',
  'loftq_config',
  'lora_ga_config',
  'megatron_core',
  'peft_version',
  'qalora_group_size',
  'revision',
  'runtime_config',
]

/** Fields that leave out some of the layers with a name in `target_modules`. */
const narrowingFields = ['exclude_modules', 'layers_to_transform']

/** Fields of methods other than LoRA and DoRA. */
const refusedFields = [
  'alora_invocation_tokens',
  'arrow_config',
  'kasa_config',
  'layer_replication',
  'lora_bias',
  'megatron_config',
  'monteclora_config',
  'target_parameters',
  'trainable_token_indices',
  'use_bdlora',
  'use_qalora',
  'velora_config',
]

/** Initializations that also change the base model. */
const changesBase = /^(pissa|olora|corda|loftq|lora_ga)/i

const failIn =
  (fields: Readonly<Record<string, unknown>>) =>
  (field: string, expected: string): OnnxIreError =>
    inFile(peftFiles.config, `${field} is ${JSON.stringify(getOwn(fields, field))}; it must be ${expected}`)

/** Decodes the factors of (IA)^3. */
function decodeIa3(fields: Readonly<Record<string, unknown>>, weights: Uint8Array): PeftAdapter {
  const { config, modulesToSave, feedforward } = readIa3Config(fields, failIn(fields))
  const { tensors, metadata } = readWeights(weights)
  const saved: SavedTensors = new Map()
  const scalings: ScalingLayer[] = []
  for (const [key, tensor] of Object.entries(tensors)) {
    const name = key.startsWith(prefix) ? key.slice(prefix.length) : key
    if (isOfSavedModule(name, modulesToSave)) addSaved(saved, name, tensor)
    else {
      const scaling = toScaling(name, tensor, feedforward)
      if (!scaling) throw explainTensor(name)
      scalings.push(scaling)
    }
  }
  if (scalings.length === 0) throw inFile(peftFiles.weights, 'it contains no tensors')
  const checksum = getOwn(metadata, checksumKey)
  return {
    adapter: {
      layers: [],
      scalings,
      ...(saved.size > 0 && { saved: [...saved].map(toSaved) }),
      config: { ...config, ...(checksum !== undefined && { baseChecksum: checksum }) },
    },
    warnings: [],
  }
}

/** Weights and biases of modules that are trained as a whole. */
type SavedTensors = Map<string, { weight?: Tensor; bias?: Tensor }>

function addSaved(saved: SavedTensors, name: string, tensor: Tensor): void {
  const [, module = '', role] = /^(.+)\.(weight|bias)$/.exec(name)!
  saved.set(module, { ...saved.get(module), [role!]: toAdapterType(name, tensor) })
}

function readConfig(fields: Readonly<Record<string, unknown>>): { config: PeftConfig; warnings: string[] } {
  const fail = failIn(fields)
  const read = <T>(field: string, fallback: T, expected: string, isValid: (value: unknown) => boolean): T => {
    const value = getOwn(fields, field) ?? fallback
    if (!isValid(value)) throw fail(field, expected)
    return value as T
  }
  const isText = (value: unknown) => typeof value === 'string' || value === null
  const isFlag = (value: unknown) => typeof value === 'boolean'
  const isRank = (value: unknown) => Number.isSafeInteger(value) && (value as number) > 0
  const isAlpha = (value: unknown) => typeof value === 'number' && Number.isFinite(value)
  const areAll = (is: (value: unknown) => boolean) => (value: unknown) =>
    isObject(value) && Object.values(value).every(is)

  read('peft_type', null, '"LORA" or "IA3": other methods are not supported', (value) => value === 'LORA')
  for (const field of refusedFields)
    read(field, false, 'absent: it is not supported; merge the adapter in PEFT', (value) => !isSet(value))
  read(
    'bias',
    'none',
    '"none": trained biases are not supported; merge the adapter in PEFT',
    (value) => value === 'none',
  )
  read(
    'init_lora_weights',
    true,
    'one that leaves the base model unchanged: convert the adapter to plain LoRA in PEFT, with path_initial_model_for_weight_conversion',
    (value) => !changesBase.test(String(value)),
  )
  const modulesToSave = read<readonly string[]>('modules_to_save', [], 'a list of names', isStringList)
  const targets = read<string | readonly string[] | null>(
    'target_modules',
    null,
    'a name or a list of names',
    (value) => isText(value) || isStringList(value),
  )
  const isNarrowed = narrowingFields.some((field) => (getOwn(fields, field) ?? null) !== null)
  const baseModel = read<string | null>('base_model_name_or_path', null, 'a name', isText)
  const taskType = read<string | null>('task_type', null, 'a name', isText)
  const positive = 'an integer above 0'
  const config: PeftConfig = {
    r: read('r', 8, positive, isRank),
    alpha: read('lora_alpha', 8, 'a number', isAlpha),
    dropout: read('lora_dropout', 0, 'a number from 0 to below 1', (p) => typeof p === 'number' && p >= 0 && p < 1),
    rsLora: read('use_rslora', false, 'true or false', isFlag),
    dora: read('use_dora', false, 'true or false', isFlag),
    rankPattern: read('rank_pattern', {}, `an object, every value ${positive}`, areAll(isRank)),
    alphaPattern: read('alpha_pattern', {}, 'an object, every value a number', areAll(isAlpha)),
    modulesToSave,
    ...(targets !== null && !isNarrowed && { targets }),
    ...(baseModel !== null && { baseModel }),
    ...(taskType !== null && { taskType }),
  }
  const known = new Set([...readFields, ...ignoredFields, ...refusedFields])
  const unknown = Object.keys(fields).filter((field) => !known.has(field) && isSet(getOwn(fields, field)))
  return { config, warnings: unknown.map((field) => `${peftFiles.config}: the unknown field '${field}' is ignored`) }
}

/** Whether a field of an unknown or refused feature is in use. */
const isSet = (value: unknown): boolean =>
  Array.isArray(value) || isObject(value) ? Object.keys(value).length > 0 : Boolean(value)

function parseConfig(bytes: Uint8Array): Readonly<Record<string, unknown>> {
  let fields: unknown
  try {
    fields = JSON.parse(decodeUtf8(bytes))
  } catch (cause) {
    throw inFile(peftFiles.config, `it is not JSON (${messageOf(cause)})`)
  }
  if (isObject(fields)) return fields
  throw inFile(peftFiles.config, 'it is not a JSON object')
}

const inFile = (file: string, reason: string): OnnxIreError => invalidAdapter(`${file}: ${reason}`)

/** The tensors of a layer by PEFT's names. */
function toNamedTensors({ module, kind, a, b, magnitude }: AdapterLayer): (readonly [string, Tensor])[] {
  const names = suffixes(kind)
  const width = b.dims[0]!
  const shaped = magnitude && {
    ...magnitude,
    dims: kind === 'conv' ? [1, width, ...b.dims.slice(2)] : [width],
  }
  return [
    [`${prefix}${module}${names.a}`, a],
    [`${prefix}${module}${names.b}`, b],
    ...(shaped ? [[`${prefix}${module}${magnitudeSuffix}`, shaped] as const] : []),
  ]
}

/** The fields that PEFT has had since its first versions, so that all of them read the file without a warning. */
function toPeftConfig({ layers, saved = [], config }: Adapter): Record<string, unknown> {
  const dora = layers.some(({ magnitude }) => magnitude)
  if (dora && !layers.every(({ magnitude }) => magnitude))
    throw invalidAdapter('some layers have DoRA magnitudes and some do not, which PEFT has no setting for')
  const rsLora = config.rsLora ?? false
  const ranks = new Map(layers.map(({ module, a }) => [module, a.dims[0]!]))
  const alphas = new Map(
    layers.map(({ module, a, scale }) => [module, round(scale * (rsLora ? Math.sqrt(a.dims[0]!) : a.dims[0]!))]),
  )
  const [r, alpha] = [chooseUsual(ranks, config.r), chooseUsual(alphas, config.alpha)]
  return {
    peft_type: 'LORA',
    task_type: config.taskType ?? null,
    base_model_name_or_path: config.baseModel ?? null,
    revision: null,
    inference_mode: true,
    r,
    lora_alpha: alpha,
    lora_dropout: config.dropout ?? 0,
    target_modules: chooseTargets(layers, config.targets),
    bias: 'none',
    fan_in_fan_out: false,
    use_rslora: rsLora,
    use_dora: dora,
    modules_to_save: saved.length > 0 ? saved.map(({ module }) => module) : null,
    init_lora_weights: true,
    layers_to_transform: null,
    layers_pattern: null,
    rank_pattern: createPatterns(ranks, r),
    alpha_pattern: createPatterns(alphas, alpha),
  }
}

/** Removes the rounding errors of a product, such as 5.999999999999999. */
const round = (value: number): number => Number(value.toPrecision(12))

/** The preferred value if a layer has it, otherwise the most frequent one. */
function chooseUsual(values: ReadonlyMap<string, number>, preferred: number): number {
  const counts = new Map<number, number>()
  for (const value of values.values()) counts.set(value, (counts.get(value) ?? 0) + 1)
  return counts.has(preferred) ? preferred : [...counts].reduce((best, each) => (each[1] > best[1] ? each : best))[0]
}

/**
 * PEFT's `target_modules`: the names of the configuration if they name exactly these layers, the last names of the
 * paths for `all-linear`, otherwise the whole paths.
 */
function chooseTargets(layers: readonly AdapterLayer[], targets: AdapterConfig['targets']): readonly string[] {
  const modules = layers.map(({ module }) => module)
  const names =
    targets === 'all-linear' ? [...new Set(modules.map((module) => module.split('.').at(-1)!))] : [targets ?? []].flat()
  const isNamed = (module: string) => names.some((name) => module === name || module.endsWith(`.${name}`))
  const isUsed = (name: string) => modules.some((module) => module === name || module.endsWith(`.${name}`))
  const fits = names.length > 0 && modules.every(isNamed) && names.every((name) => isUsed(name) && !/^\d+$/.test(name))
  return fits ? names : modules
}

/** The text of a model card. */
function describeAdapter({ layers, scalings = [], config }: Adapter): string {
  const { baseModel, taskType } = config
  const parameters = layers.reduce(
    (sum, { a, b, magnitude }) => sum + sizeOf(a.dims) + sizeOf(b.dims) + sizeOf(magnitude?.dims ?? [0]),
    scalings.reduce((sum, { factors }) => sum + sizeOf(factors.dims), 0),
  )
  const [method, settings] =
    scalings.length > 0
      ? ['(IA)^3', '']
      : ['LoRA', `, r ${config.r}, alpha ${config.alpha}${config.rsLora ? ', rsLoRA' : ''}`]
  const kinds = [...new Set([...layers, ...scalings].map(({ module }) => module.split('.').at(-1)!))]
  const model = baseModel === undefined ? 'the base model' : JSON.stringify(baseModel)
  const Class =
    taskType === 'SEQ_CLS'
      ? 'AutoModelForSequenceClassification'
      : taskType === 'CAUSAL_LM'
        ? 'AutoModelForCausalLM'
        : 'AutoModel'
  return `---
${baseModel === undefined ? '' : `base_model: ${JSON.stringify(baseModel)}\n`}library_name: peft
tags:
- ${scalings.length > 0 ? 'ia3' : 'lora'}
- onnx-ire
---

# ${method} adapter of ${baseModel === undefined ? model : `\`${baseModel.replace(/[`\s]+/g, ' ')}\``}

${layers.length + scalings.length} layers (${kinds.slice(0, 12).join(', ')}${kinds.length > 12 ? ', ...' : ''}), ${parameters} parameters${settings}.
Written by [onnx-ire](https://www.npmjs.com/package/onnx-ire).

\`\`\`python
from peft import PeftModel
from transformers import ${Class}

base = ${Class}.from_pretrained(${baseModel === undefined ? '"BASE_MODEL"' : model})
model = PeftModel.from_pretrained(base, "PATH_OF_THIS_FOLDER")
\`\`\`
`
}
