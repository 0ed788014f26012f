import { basename, extname } from 'node:path'
import { Ajv } from 'ajv'
import type { Architecture, Architectures, Preset } from 'onnx-ire/models'
import { readRegularFile } from '../../node/files/files.js'
import { formatErrors } from '../../recipe/format-errors.js'
import { isPresetFile } from '../../recipe/model.js'
import { applyOverrides } from '../../recipe/overrides.js'
import { parseJson } from '../../recipe/parse.js'
import { OnnxIreError, prefixError } from '../../util/errors.js'
import {
  choice,
  flag,
  type JsonSchema,
  kind,
  kinds,
  list,
  real,
  seed as seedSchema,
  text,
  whole,
} from '../../util/json-schema.js'
import { checkShippedName, shippedNames } from './shipped-files.js'

const folder = new URL('../../models/presets/', import.meta.url)

/** Names of the presets in the package, numbers in names in numeric order. */
export const presetNames = (): Promise<string[]> => shippedNames(folder)

/**
 * Reads a preset of the package by its name, or a JSON file by its path. Throws `invalid-option` for an unknown name,
 * `io`, and `invalid-recipe` naming every invalid field.
 * @param assignments `path=value` changes
 */
export async function readPreset(name: string, assignments: readonly string[] = []): Promise<Preset> {
  const isFile = isPresetFile(name)
  if (!isFile) {
    const hint = 'onnx-ire init --list prints the presets; a preset of your own is a .json file'
    checkShippedName(name, await presetNames(), 'preset', hint)
  }
  const source = isFile ? name : new URL(`${name}.json`, folder)
  const json = (await readRegularFile('preset', source)).toString()
  try {
    return checkPreset(presetTitle(name), applyOverrides(parseJson(json), assignments))
  } catch (cause) {
    throw isFile ? prefixError(cause, name, 'invalid-recipe') : cause
  }
}

/** Title of a preset: the name of its file without folder and extension. */
export const presetTitle = (name: string): string => basename(name, extname(name) === '.json' ? '.json' : '')

/** Checks that a value is a preset. Throws `invalid-recipe` naming every invalid field. */
function checkPreset(title: string, value: unknown): Preset {
  // The preset is a field of an object, so that paths in messages begin with its name.
  const schema: JsonSchema = { type: 'object', properties: { [title]: presetSchema } }
  const validate = new Ajv({ allErrors: true, verbose: true, discriminator: true, strict: true }).compile(schema)
  if (validate({ [title]: value })) return value as Preset
  throw new OnnxIreError(
    'invalid-recipe',
    `the preset is not valid: ${formatErrors(validate.errors ?? []).join('\n  ')}`,
  )
}

/** Schema of an object with exactly the options of one architecture. */
const preset = <A extends Architecture>(
  name: A,
  options: { readonly [K in keyof Architectures[A]]-?: JsonSchema },
): JsonSchema => ({
  type: 'object',
  properties: { kind: kind(name), about: text('description of the model'), ...options },
  required: ['kind'],
  additionalProperties: false,
})

/** Largest width of a layer; `Weights` limits the elements of all tensors. */
const maxWidth = 2 ** 20
/** Largest number of layers: each is a few nodes of the graph. */
const maxLayers = 1024

const count = (description: string, maximum: number) => whole(1, description, maximum)
const counts = (description: string, maximum: number) =>
  list(whole(1, undefined, maximum), { minItems: 1, maxItems: maxLayers }, description)
const classes = count('number of classes', maxWidth)
const seed = seedSchema('seed of the initial weights')
const dropout = real({ minimum: 0, exclusiveMaximum: 1 }, 'fraction of elements that training drops')
const channels = count('number of image channels', maxWidth)
const size = count('side of a square image', 2 ** 14)
const stack = {
  width: count('features per position', maxWidth),
  heads: count('attention heads; a divisor of the width', maxWidth),
  layers: count('number of blocks', maxLayers),
  dropout,
}
const language = {
  vocabulary: count('number of tokens', 2 ** 24),
  context: count('tokens per example', maxWidth),
  ...stack,
  seed,
}

/** JSON schema of a preset. */
const presetSchema: JsonSchema = kinds(
  preset('mlp', {
    features: count('numbers per example', 2 ** 24),
    hidden: counts('units per layer', maxWidth),
    classes,
    seed,
  }),
  preset('lenet', { channels, classes, seed }),
  preset('convnet', { channels, stages: counts('channels per stage', maxWidth), classes, seed }),
  preset('resnet', {
    channels,
    size,
    stem: choice(['imagenet', 'cifar']),
    block: choice(['basic', 'bottleneck']),
    depths: counts('blocks per stage', maxLayers),
    stages: counts('channels per stage', maxWidth),
    shortcut: choice(['projection', 'padding']),
    zeroScale: flag('whether blocks are initialized as identities'),
    classes,
    seed,
  }),
  preset('wide-resnet', {
    channels,
    size,
    depth: whole(10, '6 n + 4 layers', maxLayers),
    widen: count('factor of the number of channels', 1024),
    dropout,
    classes,
    seed,
  }),
  preset('vit', {
    channels,
    size,
    patch: count('side of a square patch; a divisor of the size', 2 ** 14),
    ...stack,
    hidden: count('units of the feed-forward layers', maxWidth),
    classes,
    seed,
  }),
  preset('transformer', language),
  preset('llama', {
    ...language,
    keyHeads: count('heads of keys and values; a divisor of heads', maxWidth),
    qkvBias: flag('whether query, key and value have biases'),
    theta: real({ exclusiveMinimum: 1 }, 'base of the wavelengths of rotary positions'),
    epsilon: real({ minimum: 0 }, 'added to the mean square in RMS norms'),
    hidden: count('units of the feed-forward layers', maxWidth),
    tied: flag('whether head and embedding share their weights'),
  }),
)
