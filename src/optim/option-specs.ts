import { checkBoolean, checkNames, checkNumber, invalidOption, type Range } from '../util/check.js'

/**
 * One option of an optimizer: its type, default, allowed values and meaning. An option without a default is required.
 */
export type OptionSpec = { readonly description: string } & (
  | { readonly type: 'number'; readonly default?: number; readonly range: Range }
  | { readonly type: 'boolean'; readonly default: boolean }
  | { readonly type: 'choice'; readonly default: string; readonly choices: readonly string[] }
  /** A list as long as its default. */
  | { readonly type: 'numbers'; readonly default: readonly number[]; readonly range: Range; readonly allowed: string }
)

/** The options of one optimizer. The checks, the recipe's schema and the tests are derived from such tables. */
export type OptionSpecs<Options extends object> = { readonly [Name in keyof Options & string]-?: OptionSpec }

/**
 * Fills in the defaults of options and checks their values.
 * @param owner the optimizer, for messages
 * @throws OnnxIreError `invalid-option` naming the option, its value and the allowed values
 */
export function readOptions<Options extends object>(
  owner: string,
  specs: OptionSpecs<Options>,
  options: Options,
): Readonly<Required<Options>> {
  checkNames(owner, options, Object.keys(specs))
  const entries = (Object.entries(specs) as [keyof Options & string, OptionSpec][]).map(([name, spec]) => {
    const value = options[name] ?? spec.default
    return [name, checkOption(owner, name, value, spec)] as const
  })
  return Object.freeze(Object.fromEntries(entries)) as Readonly<Required<Options>>
}

function checkOption(owner: string, name: string, value: unknown, spec: OptionSpec): unknown {
  if (spec.type === 'number') return checkNumber(owner, name, value as number, spec.range)
  if (spec.type === 'boolean') return checkBoolean(owner, name, value as boolean)
  if (spec.type === 'choice') {
    if (spec.choices.includes(value as string)) return value
    const quoted = spec.choices.map((choice) => `'${choice}'`)
    throw invalidOption(owner, name, value, `${quoted.slice(0, -1).join(', ')} or ${quoted.at(-1)}`)
  }
  if (!Array.isArray(value) || value.length !== spec.default.length)
    throw invalidOption(owner, name, value, spec.allowed)
  return Object.freeze(value.map((x: number, i) => checkNumber(owner, `${name}[${i}]`, x, spec.range)))
}
