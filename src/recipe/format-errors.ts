import type { ErrorObject } from 'ajv'
import { closest } from '../util/closest.js'
import type { JsonSchema } from '../util/json-schema.js'
import { getOwn } from '../util/record.js'

/** Errors that a message lists. */
const maxSentences = 8

/**
 * Formats the errors of ajv, one sentence each: the path of the field, its value, and the allowed values. The last
 * sentence counts the errors beyond 8.
 */
export function formatErrors(errors: readonly ErrorObject[]): string[] {
  const selected = selectErrors(errors)
  const sentences = new Set<string>()
  for (const [i, error] of selected.entries()) {
    sentences.add(formatError(error))
    if (sentences.size === maxSentences && i + 1 < selected.length)
      return [...sentences, `and ${selected.length - i - 1} more`]
  }
  return [...sentences]
}

/**
 * Selects the errors to report. For a field with several alternatives only the field itself is reported, unless the
 * value is an object and only one alternative is an object: then the fields of the object are.
 */
function selectErrors(errors: readonly ErrorObject[]): ErrorObject[] {
  const chosen = errors.flatMap((error) => (error.keyword === 'anyOf' ? onlyObjectAlternative(error) : []))
  return errors.filter(({ keyword, schemaPath, instancePath }) => {
    const relevant = chosen.filter((branch) => within(instancePath, branch.instancePath))
    if (
      keyword === 'anyOf' &&
      relevant.some((branch) => branch.anyOf === schemaPath && branch.instancePath === instancePath)
    )
      return false
    const choices = schemaPath.match(/\/anyOf\/\d+/g)?.length ?? 0
    return choices === relevant.filter(({ schemaPath: path }) => within(schemaPath, path)).length
  })
}

const within = (path: string, outer: string): boolean => path === outer || path.startsWith(`${outer}/`)

/** Finds the only alternative of a schema that is an object. */
function onlyObjectAlternative({ data, schemaPath, instancePath, parentSchema }: ErrorObject) {
  if (typeof data !== 'object' || data === null || Array.isArray(data)) return []
  const alternatives = ((parentSchema ?? {}) as JsonSchema).anyOf ?? []
  const objects = alternatives.flatMap(({ type }, i) => (type === 'object' ? [i] : []))
  return objects.length === 1 ? [{ anyOf: schemaPath, schemaPath: `${schemaPath}/${objects[0]}`, instancePath }] : []
}

function formatError(error: ErrorObject): string {
  const { keyword, params, instancePath, data } = error
  const schema = (error.parentSchema ?? {}) as JsonSchema
  const path = toFieldPath(instancePath)
  switch (keyword) {
    case 'additionalProperties': {
      const name = String(params['additionalProperty'])
      const known = Object.keys(schema.properties ?? {})
      return `${toFieldPath(instancePath, name)}: there is no such field${didYouMean(name, known)}; available in ${path || 'a recipe'}: ${known.join(', ')}`
    }
    case 'required': {
      const name = String(params['missingProperty'])
      return `${toFieldPath(instancePath, name)} is missing: it must be ${describeAllowed(getOwn(schema.properties, name) ?? kindSchema(schema))}`
    }
    case 'discriminator': {
      const name = String(params['tag'])
      const value: unknown = params['tagValue']
      const field = kindSchema(schema)
      if (value === undefined)
        return `${toFieldPath(instancePath, name)} is missing: it must be ${describeAllowed(field)}`
      return `${toFieldPath(instancePath, name)} is ${formatValue(value)}${didYouMean(value, field.enum ?? [])}; it must be ${describeAllowed(field)}`
    }
    default:
      return `${path || 'the recipe'} is ${formatValue(data)}${didYouMean(data, schema.enum ?? [])}; it must be ${describeAllowed(schema)}`
  }
}

/** Converts a JSON pointer, `/optimizer/ire/kappa`, to a path, `optimizer.ire.kappa`. */
const toFieldPath = (instancePath: string, field?: string): string =>
  [...instancePath.split('/').slice(1), ...(field === undefined ? [] : [field])]
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    .join('.')

/** Schema of the field `kind` of an object of several kinds. */
const kindSchema = ({ oneOf = [] }: JsonSchema): JsonSchema => ({
  enum: oneOf.flatMap(({ properties }) => properties?.['kind']?.const ?? []),
})

/** Describes the values that a schema allows. */
export function describeAllowed(schema: JsonSchema): string {
  const values = schema.const === undefined ? schema.enum : [schema.const]
  if (values) return joinAlternatives(values.map((value) => `'${value}'`))
  const type = schema.anyOf ? joinAlternatives(schema.anyOf.map(describeAllowed)) : describeType(schema)
  return schema.description === undefined ? type : schema.anyOf ? schema.description : `${type} (${schema.description})`
}

function describeType(schema: JsonSchema): string {
  switch (schema.type) {
    case 'integer':
      return `an integer${describeBounds(schema)}`
    case 'number':
      return `a number${describeBounds(schema)}`
    case 'string':
      return 'a non-empty string'
    case 'boolean':
      return 'true or false'
    case 'array': {
      const { minItems = 0, maxItems } = schema
      const most = minItems === maxItems ? ` of ${maxItems}` : ` of ${minItems} to ${maxItems}`
      const size = maxItems !== undefined ? most : minItems === 0 ? '' : ` of at least ${minItems}`
      return `a list${size}, each ${describeAllowed(schema.items ?? {})}`
    }
    default: {
      if (typeof schema.additionalProperties === 'object') return 'an object { name: ... }'
      const fields = schema.oneOf ? ['kind, ...'] : Object.keys(schema.properties ?? {})
      return fields.length === 0 ? 'something else' : `an object { ${fields.join(', ')} }`
    }
  }
}

function describeBounds({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }: JsonSchema): string {
  if (exclusiveMaximum === undefined && (maximum === undefined || maximum === Number.MAX_SAFE_INTEGER))
    return minimum !== undefined ? ` >= ${minimum}` : exclusiveMinimum !== undefined ? ` > ${exclusiveMinimum}` : ''
  const low =
    minimum !== undefined ? `[${minimum}` : exclusiveMinimum !== undefined ? `(${exclusiveMinimum}` : '(-infinity'
  return ` in ${low}, ${exclusiveMaximum === undefined ? `${maximum}]` : `${exclusiveMaximum})`}`
}

const joinAlternatives = (items: readonly string[]): string =>
  items.length < 2 ? (items[0] ?? 'something else') : `${items.slice(0, -1).join(', ')} or ${items.at(-1)}`

function didYouMean(value: unknown, candidates: readonly string[]): string {
  const meant = typeof value === 'string' ? closest(value, candidates) : undefined
  return meant === undefined ? '' : `, did you mean '${meant}'?`
}

function formatValue(value: unknown): string {
  if (typeof value === 'string') return `'${value}'`
  const json = JSON.stringify(value) ?? 'nothing'
  return json.length > 60 ? `${json.slice(0, 57)}...` : json
}
