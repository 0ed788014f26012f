import { Ajv, type ValidateFunction } from 'ajv'
import { OnnxIreError } from '../util/errors.js'
import type { JsonSchema } from '../util/json-schema.js'
import { jsonFault } from './json-fault.js'
import { assign } from './overrides.js'
import { problems } from './problems.js'
import type { DataSource, EvaluationRecipe, Recipe } from './recipe.js'
import { evaluationFaults, recipeFaults } from './rules.js'
import { evaluationSchema, recipeSchema } from './schema.js'
import { sourceSchema, textFaults } from './sources/source.js'

/**
 * A recipe from the text of its file. Throws `invalid-recipe` naming every field that is wrong, what it is, and what is
 * allowed.
 * @param assignments changes made before it is checked, each `path=value`; see `assign`
 */
export function parseRecipe(text: string, assignments: readonly string[] = []): Recipe {
  return checkRecipe(assign(parseJson(text), assignments))
}

/** Checks that a value is a recipe. Throws `invalid-recipe`. */
export const checkRecipe = (value: unknown): Recipe => checked<Recipe>('recipe', recipeSchema, value, recipeFaults)

/** Checks what `evaluate` is told. Throws `invalid-recipe`. */
export const checkEvaluation = (value: unknown): EvaluationRecipe =>
  checked<EvaluationRecipe>('evaluation', evaluationSchema, value, evaluationFaults)

/** Checks a source of examples, which need no labels. Throws `invalid-recipe`. */
export const checkSource = (value: unknown): DataSource =>
  checked<DataSource>('source of data', sourceSchema, value, (source) =>
    source.kind === 'text' ? textFaults('the source', source) : [],
  )

/** Throws `invalid-recipe` with line and column where a text is no JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    const before = text.slice(0, jsonFault(text)).split('\n')
    const place = `line ${before.length}, column ${before.at(-1)!.length + 1}`
    throw new OnnxIreError('invalid-recipe', `not valid JSON: ${place}: ${(cause as Error).message}`, { cause })
  }
}

const validators = new Map<JsonSchema, ValidateFunction>()

/** @param faults what is wrong with a value that the schema lets through */
function checked<T>(what: string, schema: JsonSchema, value: unknown, faults: (value: T) => readonly string[]): T {
  let validate = validators.get(schema)
  if (!validate) {
    validate = new Ajv({ allErrors: true, verbose: true, discriminator: true, strict: true }).compile(schema)
    validators.set(schema, validate)
  }
  const found = validate(value) ? faults(value as T) : problems(validate.errors ?? [])
  if (found.length === 0) return value as T
  const lines = found.length === 1 ? ` ${found[0]}` : `\n${found.map((problem) => `  ${problem}`).join('\n')}`
  throw new OnnxIreError('invalid-recipe', `the ${what} is not valid:${lines}`)
}
