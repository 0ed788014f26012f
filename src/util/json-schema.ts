/** Subset of JSON Schema (draft 7, with OpenAPI's discriminator) that the schemas of this library use. */
export interface JsonSchema {
  readonly type?: 'object' | 'array' | 'string' | 'number' | 'integer' | 'boolean'
  readonly description?: string
  readonly properties?: Readonly<Record<string, JsonSchema>>
  readonly required?: readonly string[]
  readonly additionalProperties?: false | JsonSchema
  readonly discriminator?: { readonly propertyName: string }
  readonly oneOf?: readonly JsonSchema[]
  readonly anyOf?: readonly JsonSchema[]
  readonly const?: string
  readonly enum?: readonly string[]
  readonly items?: JsonSchema
  readonly minItems?: number
  readonly maxItems?: number
  readonly minLength?: number
  readonly minimum?: number
  readonly maximum?: number
  readonly exclusiveMinimum?: number
  readonly exclusiveMaximum?: number
}

type Fields<T> = { readonly [K in keyof T]-?: JsonSchema }

/** Schema of an object with exactly the fields of `T`: a missing or misspelled field does not compile. */
export const object = <T extends object>(
  properties: Fields<T>,
  required: readonly (keyof T & string)[] = [],
  description?: string,
): JsonSchema => ({
  type: 'object',
  ...(description === undefined ? {} : { description }),
  properties,
  required,
  additionalProperties: false,
})

/** Schema of an object of arbitrary fields with values of one schema. */
export const map = (values: JsonSchema, description?: string): JsonSchema =>
  described({ type: 'object', additionalProperties: values }, description)

/** Schema of one of several objects, distinguished by their field `kind`. */
export const kinds = (...oneOf: readonly JsonSchema[]): JsonSchema => ({
  type: 'object',
  discriminator: { propertyName: 'kind' },
  oneOf,
})

export const kind = (name: string): JsonSchema => ({ const: name })

const described = (schema: JsonSchema, description?: string): JsonSchema =>
  description === undefined ? schema : { ...schema, description }

export const text = (description?: string): JsonSchema => described({ type: 'string', minLength: 1 }, description)
export const flag = (description?: string): JsonSchema => described({ type: 'boolean' }, description)
export const choice = (values: readonly string[], description?: string): JsonSchema =>
  described({ enum: values }, description)

/** Default maximum of an integer: no count of steps, classes or examples reaches it. */
const maxWhole = 1_000_000_000

/** Schema of an integer from `minimum` to `maximum`. A number that determines memory or time needs its own maximum. */
export const whole = (minimum: number, description?: string, maximum = maxWhole): JsonSchema =>
  described({ type: 'integer', minimum, maximum }, description)

/** Schema of the seed of a random stream. */
export const seed = (description?: string): JsonSchema => whole(0, description, Number.MAX_SAFE_INTEGER)

export const real = (bounds: Omit<JsonSchema, 'type'> = {}, description?: string): JsonSchema =>
  described({ type: 'number', ...bounds }, description)

export const list = (
  items: JsonSchema,
  bounds: Pick<JsonSchema, 'minItems' | 'maxItems'> = {},
  description?: string,
): JsonSchema => described({ type: 'array', items, ...bounds }, description)

export const either = (anyOf: readonly JsonSchema[], description?: string): JsonSchema =>
  described({ anyOf }, description)
