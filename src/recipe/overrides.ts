import { OnnxIreError } from '../util/errors.js'

/**
 * A JSON value with some of its fields changed. An assignment is `path=value`: the path is field names (and numbers of
 * list elements) with dots between them; the value is JSON, or taken as text where it is no JSON; `null` removes the
 * field. Objects on the way are made. The given value stays as it is.
 *
 * Throws `invalid-option` for what is no assignment and for a path through something that has no fields.
 */
export function assign(value: unknown, assignments: readonly string[]): unknown {
  return assignments.reduce((whole, assignment) => {
    const at = assignment.indexOf('=')
    const path = assignment.slice(0, at).trim().split('.')
    if (at < 1 || path.includes('')) {
      throw new OnnxIreError(
        'invalid-option',
        `--set ${assignment}: write it as path=value, for instance optimizer.ire.kappa=3`,
      )
    }
    return withField(whole, path, parsedOrText(assignment.slice(at + 1)), assignment)
  }, value)
}

function parsedOrText(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

function withField(whole: unknown, path: readonly string[], value: unknown, assignment: string): unknown {
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
    return whole.with(index, withField(whole[index], rest, value, assignment))
  }
  if (whole !== undefined && (typeof whole !== 'object' || whole === null)) {
    throw new OnnxIreError(
      'invalid-option',
      `--set ${assignment}: what '${name}' is to be set in is ${JSON.stringify(whole)}, which has no fields`,
    )
  }
  // Entries, not assignment: a field named __proto__ stays a field.
  const fields = new Map(Object.entries(whole ?? {}))
  const changed = withField(fields.get(name), rest, value, assignment)
  if (changed === null) fields.delete(name)
  else fields.set(name, changed)
  return Object.fromEntries(fields)
}
