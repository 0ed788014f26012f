import type { DType } from '../ir/dtype.js'
import type { Value } from '../ir/value.js'
import { knownCondition } from '../op/inline.js'
import type { GraphProto, NodeProto } from './proto/schema.js'

/** Types of a body's inputs, which a file may leave out: of Loop the round, the condition and the states; of Scan states and slices. */
export function impliedTypes(operator: string, inputs: readonly (Value | null)[]): readonly (DType | undefined)[] {
  const types = inputs.map((value) => value?.dtype)
  if (operator === 'Loop') return ['int64', 'bool', ...types.slice(2)]
  return operator === 'Scan' ? types : []
}

/**
 * The branch of an If whose condition is known already, as rank checks of a scripted model are; the other one may not even
 * fit the shapes.
 */
export function takenBranch(node: NodeProto, condition: Value | null | undefined): GraphProto | undefined {
  if (node.opType !== 'If' || node.domain || !condition) return undefined
  const known = knownCondition(condition)
  const name = known ? 'then_branch' : 'else_branch'
  return known === undefined ? undefined : node.attribute.find((attribute) => attribute.name === name)?.g
}
