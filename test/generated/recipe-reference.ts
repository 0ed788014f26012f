import { ireOptions } from '../../src/optim/ire/ire.js'
import type { OptionSpec } from '../../src/optim/option-specs.js'
import { baseOptimizers } from '../../src/optim/registry.js'
import { samOptions } from '../../src/optim/sam.js'
import { describeAllowed } from '../../src/recipe/format-errors.js'
import { recipeSchema } from '../../src/recipe/schema.js'
import type { JsonSchema } from '../../src/util/json-schema.js'
import { getOwn } from '../../src/util/record.js'
import { type DeclaredOption, declaredInterfaces } from './declared-options.js'
import { describeOption, table } from './options.js'

/** Field of a recipe. */
interface RecipeField {
  readonly name: string
  /** Allowed values. */
  readonly takes: string
  /** 'required', or the default; 'none' if nothing happens without the field. */
  readonly default: string
  readonly meaning: string
}

/** Fields that stand together: those of the recipe, of one of its objects, or of one kind of an object. */
interface RecipeSection {
  /** Path of the object, with its kind: `optimizer (adamw)`. */
  readonly title: string
  readonly depth: number
  readonly fields: readonly RecipeField[]
}

/** Content of docs/recipe.md: every field of a recipe from the schema, with the doc comments of the options. */
export const recipeDocument = (): string =>
  `${[
    '# Recipes',
    introduction,
    ...recipeSections().flatMap(({ title, depth, fields }) => [
      `${'#'.repeat(Math.min(2 + depth, 4))} ${title}`,
      fields.length === 0
        ? 'No further fields.'
        : table(
            ['field', 'takes', 'default', 'meaning'],
            fields.map(({ name, takes, default: value, meaning }) => [`\`${name}\``, takes, value, meaning]),
          ),
    ]),
  ].join('\n\n')}\n`

const introduction = `A recipe is a training run as JSON, for \`onnx-ire train\`, \`sweep\`, \`lr\`, \`evaluate\` and \`predict\`:

\`\`\`json
{
  "model": "model.onnx",
  "data": { "train": { "kind": "image-folder", "folder": "photos" }, "split": { "validation": 0.2 } },
  "head": { "classes": "data" },
  "loss": { "kind": "cross-entropy" },
  "optimizer": { "kind": "adamw", "lr": 1e-3 },
  "schedule": { "kind": "cosine", "warmup": 20 },
  "epochs": 8
}
\`\`\`

Paths are relative to the recipe. \`--set optimizer.lr=3e-3\` changes a field on the command line. A field that does not
exist is an error that names the nearest one.

This page is made by \`npm run generate\` from the schema of recipes. \`onnx-ire train --schema > recipe.schema.json\` writes
that, and an editor completes and checks a recipe with \`"$schema": "./recipe.schema.json"\`. "None" is the default of a field
that does nothing unless it is given.`

/** Sections in the order of the schema. An object that several fields have is described at the first of them. */
export function recipeSections(): RecipeSection[] {
  const described = new Set<JsonSchema>()
  const sections: RecipeSection[] = []

  function add(path: string, kind: string | undefined, schema: JsonSchema, depth: number): void {
    const { properties = {}, required = [] } = schema
    const fields = Object.entries(properties).filter(([, { const: fixed }]) => fixed === undefined)
    sections.push({
      title: path === '' ? 'Fields' : kind === undefined ? path : `${path}: ${kind}`,
      depth,
      fields: fields.map(([name, field]) => describeField(path, kind, name, field, required.includes(name))),
    })
    for (const [name, field] of fields) addNested(path === '' ? name : `${path}.${name}`, field, depth + 1)
  }

  /** Adds the objects in a field: the value itself, its alternatives, or the elements of a list. */
  function addNested(path: string, schema: JsonSchema, depth: number): void {
    if (described.has(schema)) return
    described.add(schema)
    for (const each of schema.oneOf ?? []) {
      if (described.has(each)) continue
      described.add(each)
      add(path, each.properties?.['kind']?.const, each, depth)
    }
    for (const each of schema.anyOf ?? []) addNested(path, each, depth)
    if (schema.items) addNested(`${path}[]`, schema.items, depth)
    if (typeof schema.additionalProperties === 'object') addNested(`${path}.*`, schema.additionalProperties, depth)
    if (schema.properties) add(path, undefined, schema, depth)
  }

  add('', undefined, recipeSchema, 0)
  return sections
}

const interfaces = declaredInterfaces()

/** Interfaces whose doc comments describe the fields at a path. */
const owners: Readonly<Record<string, readonly string[]>> = {
  '': [
    'Recipe',
    'FitOptions',
    'TrainerOptions',
    'TrainingOptions',
    'PreparationOptions',
    'GroupOptions',
    'PassOptions',
  ],
  model: ['PresetModel'],
  data: ['DataRecipe'],
  'data.split': ['SplitRecipe', 'SplitOptions'],
  'data.train.image': ['ImageOptions'],
  'data.train.mask': ['MaskOptions'],
  'data.train.tensors.*': ['CsvColumns', 'JsonField'],
  'data.train.tensors.*[]': ['CsvColumns'],
  'data.train.augment[].scale': ['`[0.08, 1]`'],
  'data.train.augment[].ratio': ['`[3 / 4, 4 / 3]`'],
  'data.train.missing': ["`'error'`"],
  'data.train.padding': ['PadOptions'],
  'data.train.padding.*': ['PadOptions'],
  'data.train.statistics.*.*': ['FeatureStatistics'],
  mixup: ['MixupRecipe', 'MixupOptions'],
  teacher: ['TeacherRecipe'],
  head: ['HeadOptions'],
  adapter: ['AdapterOptions', 'LoraOptions', 'LayerOptions', 'Ia3Options'],
  'groups[]': ['ParameterGroup'],
  freeze: ['FreezeOptions'],
  best: ['MonitorOptions'],
  earlyStopping: ['MonitorOptions'],
  localSteps: ['LocalStepsOptions'],
  checkpoints: ['CheckpointsRecipe'],
  'optimizer.sam': ['SamOptions'],
  'optimizer.ire': ['IreRecipe', 'IreOptions'],
  dice: ['OverlapOptions'],
  jaccard: ['OverlapOptions'],
  adamw: ['AdamOptions'],
  'cifar-10': ['CifarOf'],
  'cifar-100': ['CifarOf'],
  cosine: ['DecaySchedule'],
  linear: ['DecaySchedule'],
  precision: ['ClassAverageOptions'],
  recall: ['ClassAverageOptions'],
  f1: ['ClassAverageOptions'],
  iou: ['ClassAverageOptions'],
}

/** Defaults, and meanings, that are not in the doc comment of the field. */
const facts: Readonly<Record<string, readonly [value: string, meaning?: string]>> = {
  data: ['', 'Training and validation data.'],
  freeBatch: ['`false`'],
  untie: ['`false`'],
  dropout: ["`'off'`"],
  curvatureBatch: ['the batch of the step'],
  curvatureShare: [
    "`0.25` for 'sampled' curvature of the step's batch, with `batchNorm: 'trained'` at least 8 examples; otherwise `1`",
  ],
  checkpoints: [
    'one every minute and after every evaluation',
    'How often checkpoints are saved, and how many are kept.',
  ],
  schedule: ['constant'],
  epochs: ['', 'Length of the run in passes over the training data. Give either this or `steps`.'],
  steps: ['', 'Length of the run in optimizer steps. Give either this or `epochs`.'],
  'adapter.kind': ["`'lora'`"],
  'data.train': ['', 'Source of the training data.'],
  'data.train.end': ['all examples'],
  'data.train.augment[].padding': ['`4`'],
  'data.train.augment[].fill': ['`0`'],
  'data.train.augment[].size': ['the size of the image'],
  'data.train.augment[].probability': ['`0.5`', 'Probability of flipping an image from left to right.'],
  'data.train.tensors.*.as': ["`'number'`"],
  'data.train.tensors.*.parts': ['year, month, day and weekday'],
  'data.train.tensors.*.dims': ['one axis for several columns'],
  'data.train.augment[].scale': ['`[0.08, 1]`'],
  'data.train.augment[].ratio': ['`[3 / 4, 4 / 3]`'],
  'data.train.missing': ["`'error'`"],
  'data.train.padding': ['texts of different length are an error'],
  'groups[].frozen.untilStep': ['', 'Step from which the tensors are trained.'],
  'groups[].frozen.untilEpoch': ['', 'Epoch from which the tensors are trained.'],
  'groups[].lr': ['`lr` of the optimizer'],
  'groups[].weightDecay': ['`weightDecay` of the optimizer'],
  'groups[].ire': ['`true`'],
  'groups[].frozen': ['`false`'],
  'loss.tasks.*.loss': ['', "The task's loss, of any kind but `combine`, with the output that it reads."],
  'loss.tasks.*.weight': ['`1`'],
  'metrics[].bins': ['`8192`'],
  'optimizer.sam': ['', 'Options of SAM around the optimizer; `{}` for its defaults.'],
  'optimizer.ire': ['', 'Options of IRE around the optimizer and SAM; `{}` for its defaults.'],
  'optimizer.ire.warmup.epochs': ['', 'Epochs before IRE starts.'],
}

const ownersOf = (path: string, kind: string | undefined): readonly string[] => {
  if (kind === undefined) return owners[path] ?? []
  const name = kind.replace(/(?:^|-)(.)/g, (_, letter: string) => letter.toUpperCase())
  return owners[kind] ?? [`${name}Options`, `${name}Schedule`, `${name}Source`]
}

/** Finds an option in an interface or those that it extends, with the interface. */
function findOption(owner: string, name: string): readonly [owner: string, option: DeclaredOption] | undefined {
  const declared = interfaces.get(owner)
  const option = declared?.options.find((each) => each.name === name)
  if (option && option.comment !== '') return [owner, option]
  for (const parent of declared?.parents ?? []) {
    const found = findOption(parent, name)
    if (found) return found
  }
  return undefined
}

function describeField(
  path: string,
  kind: string | undefined,
  name: string,
  schema: JsonSchema,
  isRequired: boolean,
): RecipeField {
  const { description, ...bare } = schema
  const takes = describeAllowed(schema.anyOf ? schema : bare)
  const [found] = ownersOf(path, kind).flatMap((owner) => {
    const option = findOption(owner, name)
    return option ? [option] : []
  })
  const [given, meaning] = found ? describeOption(...found) : ['', capitalize(description ?? '')]
  const known = facts[`${path === '' ? '' : `${path}.`}${name}`]
  const value = isRequired ? 'required' : (optionDefault(path, kind, name) ?? (given === 'required' ? '' : given))
  return {
    name,
    takes,
    default: value || known?.[0] || 'none',
    meaning: known?.[1] || meaning || capitalize(description ?? ''),
  }
}

/** Default of an option of an optimizer. */
function optionDefault(path: string, kind: string | undefined, name: string): string | undefined {
  const tables: Readonly<Record<string, object>> = { 'optimizer.sam': samOptions, 'optimizer.ire': ireOptions }
  const specs = path === 'optimizer' ? getOwn(baseOptimizers, kind!)?.options : tables[path]
  const value = getOwn((specs ?? {}) as Record<string, OptionSpec>, name)?.default
  return value === undefined ? undefined : `\`${JSON.stringify(value)}\``
}

const capitalize = (text: string) => (text === '' ? '' : `${text[0]!.toUpperCase()}${text.slice(1)}.`)
