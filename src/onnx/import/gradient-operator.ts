import { gradients, zerosLike } from '../../grad/gradient.js'
import { scalar } from '../../ir/leaf.js'
import { leavesOf, topological } from '../../ir/topology.js'
import type { Attribute, Value } from '../../ir/value.js'
import { op } from '../../op/op.js'
import { OnnxIreError } from '../../util/errors.js'

/**
 * Imports the Gradient operator of ai.onnx.preview.training: d(sum y) / dx of the tensor named `y`, for every tensor
 * x named in `xs`; the tensors named in `zs` are constants.
 *
 * @param named returns the value of a name in the graph of the node
 * @throws OnnxIreError `invalid-model`, `not-differentiable`; `unsupported-operator` if the inputs are not the named
 *   tensors, or if one of these tensors depends on another
 */
export function importGradient(
  inputs: readonly (Value | null)[],
  attributes: Readonly<Record<string, Attribute>>,
  named: (name: string) => Value,
): readonly Value[] {
  const { xs = [], zs = [], y } = attributes
  if (!isNames(xs) || !isNames(zs) || typeof y !== 'string' || inputs.length !== xs.length + zs.length)
    throw new OnnxIreError(
      'invalid-model',
      'Gradient needs the attributes xs and y, and one input for each name in xs and zs',
    )
  const variables = xs.map(named)
  const fixed = new Set([...variables, ...zs.map(named)])
  const mismatch = [...xs, ...zs].find((name, i) => named(name) !== inputs[i])
  if (mismatch !== undefined)
    throw unsupported(`whose input is not the tensor '${mismatch}' itself`, 'use the named tensors as inputs')
  for (const value of fixed) {
    const before = value.source.kind === 'node' ? value.source.inputs.filter((x) => x !== null) : []
    const others = [...leavesOf(before), ...topological(before).flatMap(({ outputs }) => outputs)]
    if (others.some((other) => fixed.has(other)))
      throw unsupported(
        `for '${value.name}', which depends on another named tensor,`,
        'name only tensors that do not depend on each other',
      )
  }
  const target = named(y)
  const dxs = gradients([[target, op.Expand(scalar(target.dtype, 1), op.Shape(target))]], variables)
  return variables.map((x, i) => dxs[i] ?? zerosLike(x))
}

const isNames = (value: Attribute | undefined): value is readonly string[] =>
  Array.isArray(value) && value.every((name) => typeof name === 'string')

const unsupported = (what: string, instead: string) =>
  new OnnxIreError('unsupported-operator', `a Gradient ${what} is not supported: ${instead}`)
