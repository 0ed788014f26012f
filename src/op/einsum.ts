import { broadcastShapes, type Dim, formatShape, type Shape } from '../ir/shape.js'
import { OnnxIreError } from '../util/errors.js'

/**
 * An Einsum equation taken apart: the labels of every operand's axes and of the result's. An ellipsis is spelled out as
 * labels.
 */
interface Subscripts {
  readonly operands: readonly (readonly string[])[]
  readonly output: readonly string[]
}

/** Largest number of operands: the gradient of each is a product of all others. */
const maxOperands = 64

export const ellipsis = '...'
const letters = [...'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ']

/**
 * Parses `equation` (https://onnx.ai/onnx/operators/onnx__Einsum.html) for operands of the given shapes. Where an
 * operand with an ellipsis has an unknown number of axes, '...' stays in the lists as one label.
 */
export function parseEinsum(equation: string, shapes: readonly (Shape | undefined)[]): Subscripts {
  if (shapes.length > maxOperands)
    throw new OnnxIreError('invalid-model', `${shapes.length} operands; at most ${maxOperands} are supported`)
  const [left = '', right, ...more] = equation.replaceAll(' ', '').split('->')
  const operands = left.split(',').map((term) => labelsOf(term, equation))
  if (more.length > 0 || operands.length !== shapes.length) {
    throw new OnnxIreError('invalid-model', `equation '${equation}' does not fit ${shapes.length} operands`)
  }
  const output = right === undefined ? implicitOutput(operands) : labelsOf(right, equation)
  const unknown = output.find((label) => label !== ellipsis && !operands.some((labels) => labels.includes(label)))
  if (unknown !== undefined || new Set(output).size < output.length) {
    throw new OnnxIreError(
      'invalid-model',
      `the result of '${equation}' ${unknown ? `has a label '${unknown}' of no operand` : 'repeats a label'}`,
    )
  }
  return spelledOut({ operands, output }, shapes, equation)
}

export const formatEinsum = (operands: readonly (readonly string[])[], output: readonly string[]): string =>
  `${operands.map((labels) => labels.join('')).join(',')}->${output.join('')}`

function labelsOf(term: string, equation: string): string[] {
  const labels: string[] = term.match(/\.\.\.|[a-zA-Z]/g) ?? []
  if (labels.join('') !== term || labels.indexOf(ellipsis) !== labels.lastIndexOf(ellipsis)) {
    throw new OnnxIreError(
      'invalid-model',
      `'${term}' in equation '${equation}' is not a list of letters with at most one ellipsis`,
    )
  }
  return labels
}

/** Without '->': the ellipsis, then every label that occurs exactly once, in alphabetical order. */
function implicitOutput(operands: readonly (readonly string[])[]): string[] {
  const all = operands.flat().filter((label) => label !== ellipsis)
  const once = all.filter((label) => all.indexOf(label) === all.lastIndexOf(label))
  return [...(operands.some((labels) => labels.includes(ellipsis)) ? [ellipsis] : []), ...once.sort()]
}

/** Replaces each ellipsis by new labels, aligned at the end as in broadcasting. */
function spelledOut(
  { operands, output }: Subscripts,
  shapes: readonly (Shape | undefined)[],
  equation: string,
): Subscripts {
  const lengths = operands.map((labels, index) => {
    const [rank, named] = [shapes[index]?.length, labels.filter((label) => label !== ellipsis).length]
    const length = labels.includes(ellipsis) ? (rank === undefined ? undefined : rank - named) : 0
    if ((length ?? 0) < 0 || (rank !== undefined && !labels.includes(ellipsis) && rank !== named)) {
      throw new OnnxIreError(
        'invalid-shape',
        `'${labels.join('')}' of equation '${equation}' does not fit ${formatShape(shapes[index])}`,
      )
    }
    return length
  })
  if (lengths.includes(undefined)) return { operands, output }
  const longest = Math.max(0, ...(lengths as number[]))
  const free = letters.filter((letter) => !operands.some((labels) => labels.includes(letter))).slice(0, longest)
  if (free.length < longest)
    throw new OnnxIreError('invalid-shape', `equation '${equation}' has more axes than there are letters`)
  const replace = (labels: readonly string[], length: number) =>
    labels.flatMap((label) => (label === ellipsis ? free.slice(longest - length) : [label]))
  return {
    operands: operands.map((labels, index) => replace(labels, lengths[index]!)),
    output: replace(output, longest),
  }
}

/** Shape of the result; undefined if an ellipsis has an unknown number of axes. */
export function einsumShape(
  { operands, output }: Subscripts,
  shapes: readonly (Shape | undefined)[],
): Shape | undefined {
  const lengths = new Map<string, Dim>()
  for (const [index, labels] of operands.entries()) {
    const shape = shapes[index]
    if (!shape || labels.includes(ellipsis)) continue
    for (const [axis, label] of labels.entries()) {
      const before = lengths.get(label)
      const length = before === undefined ? shape[axis]! : broadcastShapes([[before], [shape[axis]!]])![0]!
      lengths.set(label, length)
    }
  }
  const shape = output.map((label) => lengths.get(label))
  return shape.every((dim) => dim !== undefined) ? shape : undefined
}
