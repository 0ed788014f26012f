import { Tokenizer } from '../data/tokenize/tokenizer.js'
import { listInputs } from '../onnx/import/declarations.js'
import { walkNodes } from '../onnx/import/model-nodes.js'
import { collectTensorProtos, type Model } from '../onnx/model.js'
import { isExternal, readExternalRange } from '../onnx/proto/external-data.js'
import { checkNames, invalidOption } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { emptyRecord, getOwn } from '../util/record.js'
import { decodeUtf8 } from '../util/utf8.js'
import { type ModelFolder, readJson } from './model-folder.js'

/** Element type of the weights: the file of a transformers.js folder that is read. */
export type LanguageDtype = 'fp32' | 'fp16' | 'q4' | 'q4f16' | 'q2' | 'q2f16' | 'q1' | 'q1f16'

/** Suffixes of the files that can be trained, in the order in which they are tried. */
const suffixes: Readonly<Record<LanguageDtype, string>> = {
  fp32: '',
  q4: '_q4',
  fp16: '_fp16',
  q4f16: '_q4f16',
  q2: '_q2',
  q2f16: '_q2f16',
  q1: '_q1',
  q1f16: '_q1f16',
}

/** Suffixes of files whose matrix products have no gradient. */
const untrainableSuffixes: Readonly<Record<string, string>> = {
  q8: '_quantized',
  int8: '_int8',
  uint8: '_uint8',
  bnb4: '_bnb4',
}

/** Operators of those files. */
const untrainable = new Set(['MatMulInteger', 'DynamicQuantizeMatMul', 'MatMulIntegerToFloat', 'MatMulBnb4'])

/** A language model with its tokenizer and settings, as `readLanguageModel` reads it from a folder. */
export interface LanguageModel {
  readonly folder: ModelFolder
  /** Path of the model's file in the folder. */
  readonly file: string
  /** The model as it is in the file. */
  readonly model: Model
  readonly tokenizer: Tokenizer
  /** Chat template in Jinja; null if the folder has none. */
  readonly chatTemplate: string | null
  /** Special tokens that the chat template may read, by their name in tokenizer_config.json, such as `bos_token`. */
  readonly specialTokens: Readonly<Record<string, string>>
  /** Numbers of the tokens that end a generated text. */
  readonly endTokens: readonly number[]
  /** Number of the token that pads batches. */
  readonly padToken: number
  /** Content of config.json. */
  readonly config: Readonly<Record<string, unknown>>
}

/** Models like RoBERTa, whose positions begin after the number of the padding token: by `model_type` of config.json. */
const positionsAfterPadding: ReadonlySet<unknown> = new Set([
  'camembert',
  'data2vec-text',
  'esm',
  'ibert',
  'longformer',
  'mpnet',
  'roberta',
  'roberta-prelayernorm',
  'xlm-roberta',
  'xlm-roberta-xl',
  'xmod',
])

/**
 * Largest number of tokens that a model reads; infinite if config.json does not say. The factor of `rope_scaling` is
 * not part of it: tables of positions in an exported file have `max_position_embeddings` rows.
 */
export function contextLengthOf({ config }: Pick<LanguageModel, 'config'>): number {
  // GPT-2 and models after it name it n_positions.
  const positions = config['max_position_embeddings'] ?? config['n_positions']
  if (typeof positions !== 'number' || positions <= 0) return Number.POSITIVE_INFINITY
  if (!positionsAfterPadding.has(config['model_type'])) return positions
  const { pad_token_id: padding } = config
  return positions - (typeof padding === 'number' ? padding : 1) - 1
}

/** Options of `readLanguageModel`. */
export interface LanguageModelOptions {
  /** File of the folder to read. Default: that of config.json, or the first that exists of fp32, q4, fp16, q4f16. */
  readonly dtype?: LanguageDtype | undefined
}

/** Paths at which exporters write a model. */
const pathsOf = (suffix: string): readonly string[] => [
  `onnx/model${suffix}.onnx`,
  `onnx/decoder_model_merged${suffix}.onnx`,
  `model${suffix}.onnx`,
]

/**
 * Reads a language model in the layout of transformers.js: config.json, tokenizer.json, tokenizer_config.json,
 * generation_config.json and onnx/model{,_fp16,_q4,_q4f16}.onnx with external data in any number of files. Folders of
 * onnxruntime-genai, with model.onnx next to config.json, are read too.
 * @throws OnnxIreError `io` naming a file that is missing; `invalid-option` for a dtype that the folder does not have
 *   or that cannot be trained, with those that it has; `invalid-model` for a file with operators that have no gradient,
 *   with fewer embeddings than the tokenizer has tokens, or of a model with an encoder
 * @example
 * ```ts
 * const chat = await readLanguageModel(modelFolder('SmolLM2-135M-Instruct'), { dtype: 'q4' })
 * ```
 */
export async function readLanguageModel(
  folder: ModelFolder,
  options: LanguageModelOptions = {},
): Promise<LanguageModel> {
  checkNames('readLanguageModel', options, ['dtype'])
  const [config, tokenizerConfig, generationConfig] = await Promise.all([
    readJson(folder, 'config.json'),
    readJson(folder, 'tokenizer_config.json'),
    readJson(folder, 'generation_config.json'),
  ])
  const missing = [
    ...(config ? [] : ['config.json']),
    ...((await folder.has('tokenizer.json')) ? [] : ['tokenizer.json']),
  ]
  if (!config || missing.length > 0)
    throw new OnnxIreError(
      'io',
      `${folder.name} is not the folder of a language model: it lacks ${missing.join(' and ')}; download the whole folder`,
    )
  const file = await findFile(folder, config, options.dtype)
  const tokenizer = new Tokenizer(await readJson(folder, 'tokenizer.json'))
  const model = await folder.readModel(file)
  await checkModel(folder, file, model)
  checkVocabulary(folder, config, tokenizer)
  const specialTokens = readSpecialTokens(tokenizerConfig)
  const endTokens = readEndTokens(config, generationConfig, tokenizer, specialTokens)
  return {
    folder,
    file,
    model,
    tokenizer,
    chatTemplate: await readChatTemplate(folder, tokenizerConfig),
    specialTokens,
    endTokens,
    padToken: tokenizer.numberOf(specialTokens['pad_token'] ?? '') ?? endTokens[0] ?? 0,
    config,
  }
}

/** The file of the wanted type of weights. */
async function findFile(
  folder: ModelFolder,
  config: Readonly<Record<string, unknown>>,
  wanted: LanguageDtype | undefined,
): Promise<string> {
  const find = async (suffix: string): Promise<string | undefined> => {
    for (const path of pathsOf(suffix)) if (await folder.has(path)) return path
    return undefined
  }
  const available = async (): Promise<string> => {
    const found = []
    for (const [dtype, suffix] of Object.entries(suffixes)) if (await find(suffix)) found.push(`'${dtype}'`)
    return found.length > 0
      ? `this folder has ${found.join(', ')}`
      : `this folder has none; it needs onnx/model.onnx, or onnx/model_q4.onnx and the like`
  }
  if (wanted !== undefined && Object.hasOwn(untrainableSuffixes, wanted))
    throw new OnnxIreError(
      'invalid-option',
      `readLanguageModel: option 'dtype' is '${wanted}', whose operators on quantized numbers have no gradient; take another file and quantize it again after training: ${await available()}`,
    )
  const preferred = wanted ?? preferredDtype(config)
  if (preferred !== undefined) {
    if (!Object.hasOwn(suffixes, preferred))
      throw invalidOption('readLanguageModel', 'dtype', preferred, `one of ${Object.keys(suffixes).join(', ')}`)
    const file = await find(suffixes[preferred])
    if (file !== undefined) return file
    if (wanted !== undefined)
      throw new OnnxIreError(
        'invalid-option',
        `readLanguageModel: option 'dtype' is '${wanted}', but ${folder.name} has no ${pathsOf(suffixes[wanted])[0]}: ${await available()}`,
      )
  }
  for (const suffix of Object.values(suffixes)) {
    const file = await find(suffix)
    if (file !== undefined) return file
  }
  throw new OnnxIreError('io', `${folder.name} has no model that can be trained: ${await available()}`)
}

/** The type that config.json recommends, if it can be trained. */
function preferredDtype(config: Readonly<Record<string, unknown>>): LanguageDtype | undefined {
  const settings = config['transformers.js_config']
  const dtype = typeof settings === 'object' && settings !== null ? (settings as { dtype?: unknown }).dtype : undefined
  return typeof dtype === 'string' && Object.hasOwn(suffixes, dtype) ? (dtype as LanguageDtype) : undefined
}

/**
 * Throws unless the model reads a text and continues it, its operators have gradients, and the files of its external
 * data exist.
 */
async function checkModel(folder: ModelFolder, file: string, model: Model): Promise<void> {
  const ofEncoder = listInputs(model.proto).find(({ name = '' }) => /^encoder_|^decoder_input_ids$/.test(name))
  if (ofEncoder)
    throw new OnnxIreError(
      'invalid-model',
      `${file} of ${folder.name} belongs to a model with encoder and decoder, such as T5 or BART, as its input '${ofEncoder.name}' shows: take the folder of a model in one file. Encoder and decoder in one file, with the inputs input_ids and decoder_input_ids, are trained by Trainer with crossEntropy`,
    )
  for (const { opType = '', name = '' } of walkNodes(model.proto.graph!))
    if (untrainable.has(opType))
      throw new OnnxIreError(
        'invalid-model',
        `${file} of ${folder.name} has the operator ${opType} ('${name}'), which has no gradient: read another file, with the option dtype 'q4', 'q4f16', 'fp16' or 'fp32', and quantize it again after training`,
      )
  const parent = file.slice(0, file.lastIndexOf('/') + 1)
  const outside = collectTensorProtos(model.proto).filter(isExternal)
  for (const location of new Set(outside.map((tensor) => readExternalRange(tensor).location)))
    if (!(await folder.has(parent + location)))
      throw new OnnxIreError(
        'external-data',
        `${folder.name} lacks ${parent}${location}, which has weights of ${file}: download it too`,
      )
}

/** Throws if the tokenizer has more tokens than the model has embeddings. */
function checkVocabulary(folder: ModelFolder, config: Readonly<Record<string, unknown>>, tokenizer: Tokenizer): void {
  const size = config['vocab_size']
  if (typeof size === 'number' && tokenizer.vocabulary > size)
    throw new OnnxIreError(
      'invalid-model',
      `${folder.name}: tokenizer.json has ${tokenizer.vocabulary} tokens, but vocab_size of config.json is ${size}: the files are of different models`,
    )
}

/** Special tokens, which tokenizer_config.json holds as text or as an object with the field `content`. */
function readSpecialTokens(config: Readonly<Record<string, unknown>> | null): Readonly<Record<string, string>> {
  const tokens: Record<string, string> = emptyRecord()
  for (const [name, value] of Object.entries(config ?? {})) {
    if (!name.endsWith('_token')) continue
    const text = typeof value === 'object' && value !== null ? (value as { content?: unknown }).content : value
    if (typeof text === 'string') tokens[name] = text
  }
  return tokens
}

function readEndTokens(
  config: Readonly<Record<string, unknown>>,
  generation: Readonly<Record<string, unknown>> | null,
  tokenizer: Tokenizer,
  special: Readonly<Record<string, string>>,
): number[] {
  const numbers = [generation?.['eos_token_id'] ?? config['eos_token_id'] ?? []]
    .flat()
    .filter((value): value is number => typeof value === 'number')
  const named = tokenizer.numberOf(special['eos_token'] ?? '')
  return [...new Set([...numbers, ...(named === undefined ? [] : [named])])]
}

/** The template of chat_template.jinja, or of tokenizer_config.json, which may have several by name. */
async function readChatTemplate(
  folder: ModelFolder,
  config: Readonly<Record<string, unknown>> | null,
): Promise<string | null> {
  if (await folder.has('chat_template.jinja')) return decodeUtf8(await folder.read('chat_template.jinja'))
  const template = config?.['chat_template']
  if (typeof template === 'string') return template
  if (!Array.isArray(template)) return null
  const named = template.find((each: unknown) => getOwn(each as Record<string, unknown>, 'name') === 'default')
  const text = getOwn(named as Record<string, unknown> | undefined, 'template')
  return typeof text === 'string' ? text : null
}
