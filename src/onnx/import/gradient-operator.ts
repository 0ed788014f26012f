import { gradients, zerosLike } from '../../grad/gradient.js'
import { scalar } from '../../ir/leaf.js'
import { leavesOf, topological } from '../../ir/topology.js'
import type { Attribute, Value } from '../../ir/value.js'
import { op } from '../../op/op.js'
import { OnnxIreError } from '../../util/errors.js'

/**
 * The Gradient operator of ai.onnx.preview.training in operators of ai.onnx: d(sum y) / dx of the tensor named `y` for each
 * of those named `xs`, while those named `zs` do not vary.
 *
 * @param named the tensor of a name where the node stands
 * @throws OnnxIreError `invalid-model`, `not-differentiable`; `unsupported-operator` where the operator is given other values
 *   than those of the tensors it names, or where one of these tensors depends on another
 */
export function importGradient(
  inputs: readonly (Value | null)[],
  attributes: Readonly<Record<string, Attribute>>,
  named: (name: string) => Value,
): readonly Value[] {
  const { xs = [], zs = [], y } = attributes
  if (!isNames(xs) || !isNames(zs) || typeof y !== 'string' || inputs.length !== xs.length + zs.length)
    throw new OnnxIreError('invalid-model', 'Gradient needs the names xs and y, and one input for each of xs and zs')
  const varied = xs.map(named)
  const fixed = new Set([...varied, ...zs.map(named)])
  const elsewhere = [...xs, ...zs].find((name, i) => named(name) !== inputs[i])
  if (elsewhere !== undefined)
    throw unsupported(`at another value of '${elsewhere}' than the graph computes with`, 'give it that tensor itself')
  for (const value of fixed) {
    const before = value.source.kind === 'node' ? value.source.inputs.filter((x) => x !== null) : []
    const others = [...leavesOf(before), ...topological(before).flatMap(({ outputs }) => outputs)]
    if (others.some((other) => fixed.has(other)))
      throw unsupported(
        `with '${value.name}' held apart from what it depends on`,
        'name only tensors that do not depend on each other',
      )
  }
  const target = named(y)
  const dxs = gradients([[target, op.Expand(scalar(target.dtype, 1), op.Shape(target))]], varied)
  return varied.map((x, i) => dxs[i] ?? zerosLike(x))
}

const isNames = (value: Attribute | undefined): value is readonly string[] =>
  Array.isArray(value) && value.every((name) => typeof name === 'string')

const unsupported = (what: string, instead: string) =>
  new OnnxIreError('unsupported-operator', `a Gradient ${what} is not supported: ${instead}`)
