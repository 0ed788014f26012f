import { readdir, readFile } from 'node:fs/promises'
import { basename, extname } from 'node:path'
import { Ajv } from 'ajv'
import type { Architecture, Architectures, Preset } from 'onnx-ire/models'
import { readError } from '../../node/files.js'
import { assign } from '../../recipe/overrides.js'
import { parseJson } from '../../recipe/parse.js'
import { problems } from '../../recipe/problems.js'
import { closest } from '../../recipe/suggestion.js'
import { OnnxIreError } from '../../util/errors.js'
import { choice, flag, type JsonSchema, kind, kinds, list, real, text, whole } from '../../util/json-schema.js'

const folder = new URL('../../models/presets/', import.meta.url)

/** The presets of the package, families and sizes in order. */
export async function presetNames(): Promise<string[]> {
  const files = await readdir(folder)
  return files
    .filter((file) => file.endsWith('.json'))
    .map((file) => file.slice(0, -'.json'.length))
    .sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
}

/**
 * A preset of the package by its name, or one in a JSON file by its path. Throws `invalid-option` for a name that is not
 * there, `io`, and `invalid-recipe` naming every field that is wrong.
 * @param assignments `path=value` changes
 */
export async function readPreset(name: string, assignments: readonly string[] = []): Promise<Preset> {
  const own = name.toLowerCase().endsWith('.json')
  if (!own) await refuseUnknown(name)
  const source = own ? name : new URL(`${name}.json`, folder)
  const json = await readFile(source, 'utf8').catch((cause) => {
    throw readError('preset', String(source), cause)
  })
  try {
    return checkPreset(presetTitle(name), assign(parseJson(json), assignments))
  } catch (cause) {
    if (!own || !(cause instanceof OnnxIreError) || cause.code !== 'invalid-recipe') throw cause
    throw new OnnxIreError('invalid-recipe', `${name}: ${cause.message}`, { cause })
  }
}

/** What a preset is called: the name of its file without folder and ending. */
export const presetTitle = (name: string): string => basename(name, extname(name) === '.json' ? '.json' : '')

async function refuseUnknown(name: string): Promise<void> {
  const names = await presetNames()
  if (names.includes(name)) return
  const meant = closest(name, names)
  throw new OnnxIreError(
    'invalid-option',
    `there is no preset '${name}'${meant === undefined ? '' : `, did you mean '${meant}'?`}; onnx-ire init --list names them, and a preset of your own is a .json file`,
  )
}

/** Checks that a value is a preset. Throws `invalid-recipe`. */
export function checkPreset(title: string, value: unknown): Preset {
  // A field of an object, so that what is wrong is said of the preset by its name.
  const schema: JsonSchema = { type: 'object', properties: { [title]: presetSchema } }
  const validate = new Ajv({ allErrors: true, verbose: true, discriminator: true, strict: true }).compile(schema)
  if (validate({ [title]: value })) return value as Preset
  throw new OnnxIreError('invalid-recipe', `the preset is not valid: ${problems(validate.errors ?? []).join('\n  ')}`)
}

/** An object with exactly the options of an architecture. */
const preset = <A extends Architecture>(
  name: A,
  options: { readonly [K in keyof Architectures[A]]-?: JsonSchema },
): JsonSchema => ({
  type: 'object',
  properties: { kind: kind(name), about: text('what the model is'), ...options },
  required: ['kind'],
  additionalProperties: false,
})

const count = (description: string) => whole(1, description)
const counts = (description: string) => list(whole(1), { minItems: 1 }, description)
const classes = count('the number of classes')
const seed = whole(0, 'decides the first weights')
const dropout = real({ minimum: 0, exclusiveMaximum: 1 }, 'the share of elements that training drops')
const channels = count('the channels of an image')
const size = count('the side of a square image')
const stack = {
  width: count('features per position'),
  heads: count('attention heads; they divide the width'),
  layers: count('the number of blocks'),
  dropout,
}
const language = { vocabulary: count('the number of tokens'), context: count('tokens per example'), ...stack, seed }

/** JSON schema of a preset. */
export const presetSchema: JsonSchema = kinds(
  preset('mlp', { features: count('the numbers of an example'), hidden: counts('units of each layer'), classes, seed }),
  preset('lenet', { channels, classes, seed }),
  preset('convnet', { channels, stages: counts('channels of each stage'), classes, seed }),
  preset('resnet', {
    channels,
    size,
    stem: choice(['imagenet', 'cifar']),
    block: choice(['basic', 'bottleneck']),
    depths: counts('blocks of each stage'),
    stages: counts('channels of each stage'),
    shortcut: choice(['projection', 'padding']),
    zeroScale: flag('whether blocks begin as identities'),
    classes,
    seed,
  }),
  preset('wide-resnet', {
    channels,
    size,
    depth: whole(10, '6 n + 4 layers'),
    widen: count('the factor on the channels'),
    dropout,
    classes,
    seed,
  }),
  preset('vit', {
    channels,
    size,
    patch: count('the side of a square patch; it divides the size'),
    ...stack,
    hidden: count('units of the feed-forward layers'),
    classes,
    seed,
  }),
  preset('transformer', language),
  preset('llama', {
    ...language,
    hidden: count('units of the feed-forward layers'),
    tied: flag('whether the head is the embedding'),
  }),
)
