import { Ajv, type ValidateFunction } from 'ajv'
import { OnnxIreError } from '../errors.js'
import { jsonFault } from './json-fault.js'
import type { JsonSchema } from './json-schema.js'
import { assign } from './overrides.js'
import { problems } from './problems.js'
import type { EvaluationRecipe, Recipe } from './recipe.js'
import { evaluationSchema, recipeSchema } from './schema.js'

/**
 * A recipe from the text of its file. Throws `invalid-recipe` naming every field that is wrong, what it is, and what is
 * allowed.
 * @param assignments changes made before it is checked, each `path=value`; see `assign`
 */
export function parseRecipe(text: string, assignments: readonly string[] = []): Recipe {
  return checkRecipe(assign(parseJson(text), assignments))
}

/** Checks that a value is a recipe. Throws `invalid-recipe`. */
export function checkRecipe(value: unknown): Recipe {
  const recipe = checked<Recipe>('recipe', recipeSchema, value)
  if ((recipe.epochs === undefined) === (recipe.steps === undefined)) {
    const both = recipe.epochs !== undefined
    throw new OnnxIreError(
      'invalid-recipe',
      `the recipe has ${both ? 'both epochs and steps' : 'neither epochs nor steps'}: give one of them, ` +
        `for instance ${both ? '--set steps=null to go by epochs' : '"epochs": 3'}`,
    )
  }
  return recipe
}

/** Checks what `evaluate` is told. Throws `invalid-recipe`. */
export const checkEvaluation = (value: unknown): EvaluationRecipe =>
  checked<EvaluationRecipe>('evaluation', evaluationSchema, value)

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

function checked<T>(what: string, schema: JsonSchema, value: unknown): T {
  let validate = validators.get(schema)
  if (!validate) {
    validate = new Ajv({ allErrors: true, verbose: true, discriminator: true, strict: true }).compile(schema)
    validators.set(schema, validate)
  }
  if (validate(value)) return value as T
  const found = problems(validate.errors ?? [])
  const lines = found.length === 1 ? ` ${found[0]}` : `\n${found.map((problem) => `  ${problem}`).join('\n')}`
  throw new OnnxIreError('invalid-recipe', `the ${what} is not valid:${lines}`)
}
