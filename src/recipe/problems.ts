import type { ErrorObject } from 'ajv'
import type { JsonSchema } from '../util/json-schema.js'
import { closest } from './suggestion.js'

/** What ajv found wrong, one sentence each: the field by its path, what it is, what is allowed. */
export function problems(errors: readonly ErrorObject[]): string[] {
  return [...new Set(told(errors).map(sentence))]
}

/**
 * Of a field that may be one of several things, only the whole is spoken about; but of an object that may be an object of
 * one kind only, the fields.
 */
function told(errors: readonly ErrorObject[]): ErrorObject[] {
  const meant = errors.flatMap((error) => (error.keyword === 'anyOf' ? branchMeant(error) : []))
  return errors.filter(({ keyword, schemaPath, instancePath }) => {
    const about = meant.filter((branch) => within(instancePath, branch.instancePath))
    if (
      keyword === 'anyOf' &&
      about.some((branch) => branch.anyOf === schemaPath && branch.instancePath === instancePath)
    )
      return false
    const choices = schemaPath.match(/\/anyOf\/\d+/g)?.length ?? 0
    return choices === about.filter(({ schemaPath: path }) => within(schemaPath, path)).length
  })
}

const within = (path: string, outer: string): boolean => path === outer || path.startsWith(`${outer}/`)

/** The only alternative that an object can be meant as. */
function branchMeant({ data, schemaPath, instancePath, parentSchema }: ErrorObject) {
  if (typeof data !== 'object' || data === null || Array.isArray(data)) return []
  const alternatives = ((parentSchema ?? {}) as JsonSchema).anyOf ?? []
  const objects = alternatives.flatMap(({ type }, i) => (type === 'object' ? [i] : []))
  return objects.length === 1 ? [{ anyOf: schemaPath, schemaPath: `${schemaPath}/${objects[0]}`, instancePath }] : []
}

function sentence(error: ErrorObject): string {
  const { keyword, params, instancePath, data } = error
  const schema = (error.parentSchema ?? {}) as JsonSchema
  const place = placeOf(instancePath)
  switch (keyword) {
    case 'additionalProperties': {
      const name = String(params['additionalProperty'])
      const known = Object.keys(schema.properties ?? {})
      return `${placeOf(instancePath, name)}: there is no such field${didYouMean(name, known)}; ${place || 'a recipe'} takes ${known.join(', ')}`
    }
    case 'required': {
      const name = String(params['missingProperty'])
      return `${placeOf(instancePath, name)} is missing: it must be ${allowed(schema.properties?.[name] ?? kindSchema(schema))}`
    }
    case 'discriminator': {
      const name = String(params['tag'])
      const value: unknown = params['tagValue']
      const field = kindSchema(schema)
      if (value === undefined) return `${placeOf(instancePath, name)} is missing: it must be ${allowed(field)}`
      return `${placeOf(instancePath, name)} is ${shown(value)}${didYouMean(value, field.enum ?? [])}; it must be ${allowed(field)}`
    }
    default:
      return `${place || 'the recipe'} is ${shown(data)}${didYouMean(data, schema.enum ?? [])}; it must be ${allowed(schema)}`
  }
}

/** `/optimizer/ire/kappa` as `optimizer.ire.kappa`. */
const placeOf = (instancePath: string, field?: string): string =>
  [...instancePath.split('/').slice(1), ...(field === undefined ? [] : [field])]
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    .join('.')

/** The field `kind` of an object of one of several kinds. */
const kindSchema = ({ oneOf = [] }: JsonSchema): JsonSchema => ({
  enum: oneOf.flatMap(({ properties }) => properties?.['kind']?.const ?? []),
})

/** What a schema lets through, in words. */
function allowed(schema: JsonSchema): string {
  const values = schema.const === undefined ? schema.enum : [schema.const]
  if (values) return listed(values.map((value) => `'${value}'`))
  const type = schema.anyOf ? listed(schema.anyOf.map(allowed)) : typeOf(schema)
  return schema.description === undefined ? type : schema.anyOf ? schema.description : `${type} (${schema.description})`
}

function typeOf(schema: JsonSchema): string {
  switch (schema.type) {
    case 'integer':
      return `a whole number${bounds(schema)}`
    case 'number':
      return `a number${bounds(schema)}`
    case 'string':
      return 'a text that is not empty'
    case 'boolean':
      return 'true or false'
    case 'array': {
      const { minItems = 0, maxItems } = schema
      return `a list of ${maxItems === undefined ? `at least ${minItems}` : maxItems}, each ${allowed(schema.items ?? {})}`
    }
    default: {
      if (typeof schema.additionalProperties === 'object') return 'an object { name: ... }'
      const fields = schema.oneOf ? ['kind, ...'] : Object.keys(schema.properties ?? {})
      return fields.length === 0 ? 'something else' : `an object { ${fields.join(', ')} }`
    }
  }
}

function bounds({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }: JsonSchema): string {
  const low =
    minimum !== undefined ? ` from ${minimum}` : exclusiveMinimum !== undefined ? ` above ${exclusiveMinimum}` : ''
  if (exclusiveMaximum !== undefined) return `${low} to below ${exclusiveMaximum}`
  if (maximum === undefined || maximum === Number.MAX_SAFE_INTEGER)
    return low === '' || exclusiveMinimum !== undefined ? low : `${low} on`
  return `${low} to ${maximum}`
}

const listed = (items: readonly string[]): string =>
  items.length < 2 ? (items[0] ?? 'something else') : `${items.slice(0, -1).join(', ')} or ${items.at(-1)}`

function didYouMean(value: unknown, candidates: readonly string[]): string {
  const meant = typeof value === 'string' ? closest(value, candidates) : undefined
  return meant === undefined ? '' : `, did you mean '${meant}'?`
}

function shown(value: unknown): string {
  if (typeof value === 'string') return `the text '${value}'`
  const json = JSON.stringify(value) ?? 'nothing'
  return json.length > 60 ? `${json.slice(0, 57)}...` : json
}
