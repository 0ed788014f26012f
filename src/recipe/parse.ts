import { Ajv, type ValidateFunction } from 'ajv'
import { OnnxIreError } from '../util/errors.js'
import type { JsonSchema } from '../util/json-schema.js'
import { formatErrors } from './format-errors.js'
import { taskLosses } from './loss.js'
import { createRecipeMetric, type MetricRecipe, needsClassNames } from './metric.js'
import { applyOverrides } from './overrides.js'
import type { DataSource, EvaluationRecipe, LossRecipe, Recipe } from './recipe.js'
import { evaluationSchema, recipeSchema } from './schema.js'
import { findSourceProblems, findTextProblems, sourceSchema } from './sources/source.js'

/**
 * Parses and checks the text of a recipe file.
 * @param assignments changes applied before the check, each `path=value`, as in `onnx-ire train --set`
 * @throws OnnxIreError `invalid-recipe` with every invalid field, its value and the allowed values
 * @example
 * ```ts
 * const recipe = parseRecipe(await readFile('recipe.json', 'utf8'), ['optimizer.lr=0.001'])
 * const trainer = await Trainer.create(model, { runtime, ...trainerOptions(recipe) })
 * for await (const metrics of trainer.fit(data, fitOptions(recipe))) console.log(metrics)
 * ```
 */
export function parseRecipe(text: string, assignments: readonly string[] = []): Recipe {
  return checkRecipe(applyOverrides(parseJson(text), assignments))
}

/**
 * Checks that a value is a recipe.
 * @throws OnnxIreError `invalid-recipe` with every invalid field, its value and the allowed values
 */
export const checkRecipe = (value: unknown): Recipe =>
  checkAgainst<Recipe>('recipe', recipeSchema, value, findRecipeProblems)

/** Checks that a value is an evaluation recipe. Throws `invalid-recipe`. */
export const checkEvaluation = (value: unknown): EvaluationRecipe =>
  checkAgainst<EvaluationRecipe>('evaluation', evaluationSchema, value, findEvaluationProblems)

/** Checks that a value is a data source, possibly without labels. Throws `invalid-recipe`. */
export const checkSource = (value: unknown): DataSource =>
  checkAgainst<DataSource>('data source', sourceSchema, value, (source) =>
    source.kind === 'text' ? findTextProblems('the source', source) : [],
  )

/** Parses JSON, after a byte order mark too. Throws `invalid-recipe` with the line and the column of the error. */
export function parseJson(given: string): unknown {
  const text = given.replace(/^\uFEFF/, '')
  try {
    return JSON.parse(text)
  } catch (cause) {
    const before = text.slice(0, jsonErrorPosition(text)).split('\n')
    const position = `line ${before.length}, column ${before.at(-1)!.length + 1}`
    throw new OnnxIreError('invalid-recipe', `not valid JSON: ${position}: ${(cause as Error).message}`, { cause })
  }
}

/** Deepest nesting of lists and objects that is read. */
const maxDepth = 64

/** Whether lists and objects are nested deeper than `depth`. */
const isNested = (value: unknown, depth: number): boolean =>
  typeof value === 'object' &&
  value !== null &&
  (depth === 0 || Object.values(value).some((inner) => isNested(inner, depth - 1)))

const validators = new Map<JsonSchema, ValidateFunction>()

/**
 * Checks a value against a schema.
 * @param findProblems finds problems across the fields of a value that is valid by the schema
 */
function checkAgainst<T>(
  what: string,
  schema: JsonSchema,
  value: unknown,
  findProblems: (value: T) => readonly string[],
): T {
  if (isNested(value, maxDepth))
    throw new OnnxIreError(
      'invalid-recipe',
      `the ${what} is not valid: its lists and objects are nested more than ${maxDepth} deep`,
    )
  let validate = validators.get(schema)
  if (!validate) {
    validate = new Ajv({ allErrors: true, verbose: true, discriminator: true, strict: true }).compile(schema)
    validators.set(schema, validate)
  }
  const found = validate(value) ? findProblems(value as T) : formatErrors(validate.errors ?? [])
  if (found.length === 0) return value as T
  const lines = found.length === 1 ? ` ${found[0]}` : `\n${found.map((problem) => `  ${problem}`).join('\n')}`
  throw new OnnxIreError('invalid-recipe', `the ${what} is not valid:${lines}`)
}

/** Finds problems across the fields of a recipe whose single fields are valid, one sentence each. */
function findRecipeProblems(recipe: Recipe): string[] {
  const { data, schedule, best, earlyStopping, weights, ema } = recipe
  const dependents = [
    ...(best ? ['best'] : []),
    ...(earlyStopping ? ['earlyStopping'] : []),
    ...(schedule?.kind === 'plateau' ? ['a plateau schedule'] : []),
  ]
  const withoutValidation = dependents.length > 0 && data.validation === undefined && data.split === undefined
  return [
    ...findLengthProblems(recipe),
    ...findSourceProblems('data.train', data.train),
    ...(data.validation ? findSourceProblems('data.validation', data.validation) : []),
    ...(data.validation && data.split
      ? ['data has both validation and split: give either a validation source, or a share of the training data']
      : []),
    ...(withoutValidation
      ? [
          `${dependents.join(' and ')} ${dependents.length > 1 ? 'need' : 'needs'} validation data: ` +
            'add data.validation, or hold out a share: "split": { "validation": 0.1 }',
        ]
      : []),
    ...(weights === 'best' && !best
      ? ['weights is \'best\', but the best weights are not stored: add "best": true']
      : []),
    ...(weights === 'ema' && ema === undefined
      ? ['weights is \'ema\', but no average is computed: add "ema": 0.999']
      : []),
    ...findLossProblems(recipe),
    ...findMetricProblems(recipe.metrics),
  ]
}

const findEvaluationProblems = ({ data, metrics }: EvaluationRecipe): string[] => [
  ...findSourceProblems('data', data),
  ...findMetricProblems(metrics),
]

function findLengthProblems({ epochs, steps }: Recipe): string[] {
  if ((epochs === undefined) !== (steps === undefined)) return []
  const both = epochs !== undefined
  return [
    `the recipe has ${both ? 'both epochs and steps' : 'neither epochs nor steps'}: give one of them, ` +
      `for instance ${both ? '--set steps=null to use epochs' : '"epochs": 3'}`,
  ]
}

function findLossProblems({ loss, mixup, teacher }: Recipe): string[] {
  const problems = taskLosses(loss).flatMap(([place, task]) =>
    task.kind === 'cross-entropy' && task.probabilities && task.classWeights === 'balanced'
      ? [`${place}.classWeights: 'balanced' needs class numbers, but labels are probabilities; give numbers`]
      : [],
  )
  if (loss.kind === 'combine' && Object.keys(loss.tasks).length === 0) problems.push('loss.tasks has no task')
  if (teacher) problems.push(...findTeacherProblems(loss, mixup))
  if (!mixup) return problems
  if (loss.kind !== 'cross-entropy' && loss.kind !== 'kl')
    problems.push(`mixup requires the loss 'cross-entropy' or 'kl', not '${loss.kind}'`)
  else if (loss.kind === 'cross-entropy' && loss.ignoreIndex !== undefined)
    problems.push(
      'mixup converts labels to probabilities, to which loss.ignoreIndex does not apply; remove one of them',
    )
  return problems
}

/** Problems of a loss to which a teacher is added. */
function findTeacherProblems(loss: LossRecipe, mixup: Recipe['mixup']): string[] {
  if (loss.kind !== 'cross-entropy') return [`teacher requires the loss 'cross-entropy', not '${loss.kind}'`]
  const given = (['probabilities', 'labelSmoothing', 'classWeights'] as const).filter((name) => loss[name])
  return [
    ...given.map((name) => `loss.${name} does not apply with a teacher; remove one of them`),
    ...(mixup ? ['mixup does not apply with a teacher; remove one of them'] : []),
  ]
}

function findMetricProblems(metrics: readonly MetricRecipe[] = []): string[] {
  return metrics.flatMap((metric, i) => {
    if (needsClassNames(metric)) return []
    try {
      createRecipeMetric(metric)
      return []
    } catch (error) {
      if (!(error instanceof OnnxIreError)) throw error
      return [`metrics[${i}]: ${error.message}`]
    }
  })
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: JSON strings must not contain control characters.
const stringEnd = /["\\\u0000-\u001f]/g

const escapeSequence = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y

const scalar = /true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y

/** Characters of a number that are examined: a regular expression over millions of digits exhausts the stack. */
const maxScalar = 1024

/**
 * Offset of the first character at which a text is not valid JSON (RFC 8259). Lists and objects may be of any depth.
 */
function jsonErrorPosition(text: string): number {
  let at = 0
  const skipSpace = (): void => {
    while (text[at] !== undefined && ' \t\n\r'.includes(text[at]!)) at++
  }
  const take = (character: string): boolean => {
    skipSpace()
    if (text[at] !== character) return false
    at++
    return true
  }
  const takeString = (): boolean => {
    if (text[at] !== '"') return false
    stringEnd.lastIndex = at + 1
    let found = stringEnd.exec(text)
    while (found?.[0] === '\\') {
      escapeSequence.lastIndex = found.index
      if (!escapeSequence.test(text)) return false
      stringEnd.lastIndex = escapeSequence.lastIndex
      found = stringEnd.exec(text)
    }
    if (found?.[0] !== '"') return false
    at = stringEnd.lastIndex
    return true
  }
  const takeScalar = (): boolean => {
    scalar.lastIndex = 0
    if (!scalar.test(text.slice(at, at + maxScalar))) return false
    at += scalar.lastIndex
    return true
  }
  const takeKey = (): boolean => {
    skipSpace()
    return takeString() && take(':')
  }
  /** Closing brackets of the lists and objects that are open. */
  const open: string[] = []
  for (;;) {
    const end = take('{') ? '}' : take('[') ? ']' : undefined
    if (end !== undefined && !take(end)) {
      open.push(end)
      if (end === '}' && !takeKey()) return at
      continue
    }
    if (end === undefined && !takeString() && !takeScalar()) return at
    while (open.length > 0 && take(open.at(-1)!)) open.pop()
    skipSpace()
    if (open.length === 0 || !take(',') || (open.at(-1) === '}' && !takeKey())) return at
  }
}
