import { invalidAdapter } from './stored-layers.js'

/**
 * The value of the first pattern that matches a module, as in PEFT: a regular expression that matches the module's path
 * or the end of it after a dot. Undefined if none matches.
 * @throws OnnxIreError `invalid-data` for an expression that this library does not evaluate
 */
export function matchPattern(
  field: string,
  patterns: Readonly<Record<string, number>>,
  module: string,
): number | undefined {
  for (const [pattern, value] of Object.entries(patterns)) if (isMatch(field, pattern, module)) return value
  return undefined
}

/** Whether an expression matches a path, or its end after a dot. */
function isMatch(field: string, pattern: string, module: string): boolean {
  const expression = compile(field, pattern, module)
  for (let at = 0; at >= 0; at = module.indexOf('.', at) + 1 || -1) {
    expression.lastIndex = at
    if (expression.test(module)) return true
  }
  return false
}

/** Whether an expression matches a whole path. */
export const isWholeMatch = (field: string, pattern: string, module: string): boolean =>
  compile(field, pattern, module).test(module)

/**
 * The expression of a pattern that extends to the end of a path. Patterns come from files: those that can take
 * exponential time (repeated groups, back references, more than two quantifiers) are refused.
 */
function compile(field: string, pattern: string, module: string): RegExp {
  const repetitions = pattern.match(/(?<!\\)[*+?{]/g)?.length ?? 0
  if (repetitions > 2 || /\)[*+{?]|\\[1-9k]|\(\?/.test(pattern) || module.length > maxPath)
    throw invalidAdapter(
      `adapter_config.json: ${field}: the expression '${pattern}' is too complex: list the module names instead`,
    )
  try {
    return new RegExp(`(?:${pattern})$`, 'y')
  } catch (cause) {
    throw invalidAdapter(`adapter_config.json: ${field}: '${pattern}' is not a regular expression (${String(cause)})`)
  }
}

/** Longest module path that is compared with expressions. */
const maxPath = 500

/**
 * Patterns in PEFT's sense that give every module its value: the modules that differ from the default, and those whose
 * path ends with one of these.
 */
export function createPatterns(values: ReadonlyMap<string, number>, usual: number): Record<string, number> {
  const differing = [...values].filter(([, value]) => value !== usual).map(([module]) => module)
  const entries = [...values].filter(
    ([module, value]) => value !== usual || differing.some((other) => module.endsWith(`.${other}`)),
  )
  return Object.fromEntries(entries.sort(([a], [b]) => b.length - a.length))
}
