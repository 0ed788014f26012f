import { OnnxIreError } from '../util/errors.js'

/**
 * Returns a copy of a JSON value with some fields changed. An assignment is `path=value`: the path is field names (and
 * indices of list elements) separated by dots; the value is JSON, or a string if it is not valid JSON; `null` removes
 * the field. Missing objects on the path are created.
 * @throws OnnxIreError `invalid-option` for an invalid assignment, or a path through a value without fields
 */
export function applyOverrides(value: unknown, assignments: readonly string[]): unknown {
  return assignments.reduce((whole, assignment) => {
    const at = assignment.indexOf('=')
    const path = assignment.slice(0, at).trim().split('.')
    if (at < 1 || path.includes('')) {
      throw new OnnxIreError(
        'invalid-option',
        `--set ${assignment}: write it as path=value, for instance optimizer.ire.kappa=3`,
      )
    }
    return setField(whole, path, parseValue(assignment.slice(at + 1)), assignment)
  }, value)
}

/** The value of JSON text; other text is a string. */
export function parseValue(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

function setField(whole: unknown, path: readonly string[], value: unknown, assignment: string): unknown {
  const [name, ...rest] = path
  if (name === undefined) return value
  if (Array.isArray(whole)) {
    const index = Number(name)
    if (!Number.isInteger(index) || index < 0 || index >= whole.length) {
      throw new OnnxIreError(
        'invalid-option',
        `--set ${assignment}: there is no element '${name}' in a list of ${whole.length}`,
      )
    }
    return whole.with(index, setField(whole[index], rest, value, assignment))
  }
  if (whole !== undefined && (typeof whole !== 'object' || whole === null)) {
    throw new OnnxIreError(
      'invalid-option',
      `--set ${assignment}: cannot set '${name}' in ${JSON.stringify(whole)}, which has no fields`,
    )
  }
  // A Map, not an object: a field may be named __proto__.
  const fields = new Map(Object.entries(whole ?? {}))
  const changed = setField(fields.get(name), rest, value, assignment)
  if (changed === null) fields.delete(name)
  else fields.set(name, changed)
  return Object.fromEntries(fields)
}
