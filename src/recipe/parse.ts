import { Ajv, type ValidateFunction } from 'ajv'
import { OnnxIreError } from '../util/errors.js'
import type { JsonSchema } from '../util/json-schema.js'
import { findEvaluationProblems, findRecipeProblems } from './cross-field-checks.js'
import { formatErrors } from './format-errors.js'
import { jsonErrorPosition } from './json-error-position.js'
import { applyOverrides } from './overrides.js'
import type { DataSource, EvaluationRecipe, Recipe } from './recipe.js'
import { evaluationSchema, recipeSchema } from './schema.js'
import { findTextProblems, sourceSchema } from './sources/source.js'

/**
 * Parses and checks the text of a recipe file.
 * @param assignments changes applied before the check, each `path=value`, as in `onnx-ire train --set`
 * @throws 'invalid-recipe' with every invalid field, its value and the allowed values
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
 * @throws 'invalid-recipe' with every invalid field, its value and the allowed values
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

/** Parses JSON. Throws `invalid-recipe` with the line and the column of the error. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    const before = text.slice(0, jsonErrorPosition(text)).split('\n')
    const position = `line ${before.length}, column ${before.at(-1)!.length + 1}`
    throw new OnnxIreError('invalid-recipe', `not valid JSON: ${position}: ${(cause as Error).message}`, { cause })
  }
}

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
