import { parseValue } from '../../recipe/overrides.js'
import type { SweepAxes, SweepAxis } from '../../sweep/search.js'
import { OnnxIreError } from '../../util/errors.js'

/**
 * Parses the values of `--over`, each `path=values`: values separated by commas, as JSON or as words, or a range
 * `from..to`, of integers if both ends are written as integers.
 * @throws OnnxIreError `invalid-option`
 */
export function parseOver(given: readonly string[]): SweepAxes {
  const axes = new Map<string, SweepAxis>()
  for (const text of given) {
    const at = text.indexOf('=')
    const path = text.slice(0, at).trim()
    if (at < 1 || text.slice(at + 1).trim() === '')
      throw new OnnxIreError(
        'invalid-option',
        `--over ${text}: write it as path=values, for instance optimizer.lr=1e-4,3e-4,1e-3 or optimizer.lr=1e-5..1e-2`,
      )
    if (axes.has(path))
      throw new OnnxIreError('invalid-option', `--over ${path} is given twice; list its values after one --over`)
    const axis = parseValues(text.slice(at + 1).trim())
    const texts = Array.isArray(axis) ? axis.map((value) => JSON.stringify(value)) : []
    const repeated = texts.find((value, i) => texts.indexOf(value) < i)
    if (repeated !== undefined)
      throw new OnnxIreError('invalid-option', `--over ${path} has the value ${repeated} twice; list each value once`)
    axes.set(path, axis)
  }
  return Object.fromEntries(axes)
}

function parseValues(text: string): SweepAxis {
  const [, from, to] = /^(-?[\d.]+(?:e[+-]?\d+)?)\.\.(-?[\d.]+(?:e[+-]?\d+)?)$/i.exec(text) ?? []
  if (from !== undefined && to !== undefined)
    return { from: Number(from), to: Number(to), integer: [from, to].every((end) => /^-?\d+$/.test(end)) }
  try {
    return JSON.parse(`[${text}]`) as unknown[]
  } catch {
    return text.split(',').map((word) => parseValue(word.trim()))
  }
}
