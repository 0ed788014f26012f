import { input } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { op } from '../../op/op.js'
import type { Bundle } from './layout.js'

/** A graph's inputs or outputs under way. */
export type Named = Map<string, Value>

/** An input, listed in `inputs`. */
export function listed(
  inputs: Named,
  name: string,
  dims: readonly number[] = [],
  dtype: 'float32' | 'int32' = 'float32',
): Value {
  const value = input(name, dtype, dims)
  inputs.set(name, value)
  return value
}

/** One array per tensor of a bundle, `<prefix>/<bundle>/<number>`, joined as the bundle has them. */
export function joined(inputs: Named, prefix: string, { id, parts }: Bundle): Value {
  const given = parts.map(({ dims }, i) => listed(inputs, partName(prefix, id, i), dims))
  if (given.length === 1) return given[0]!
  const flat = given.map((x, i) => op.Reshape(x, [parts[i]!.length]))
  return op.Concat(flat, { axis: 0 })
}

/** The reverse: one output per tensor of a bundle. */
export function parted(outputs: Named, prefix: string, { id, parts }: Bundle, x: Value): void {
  parts.forEach(({ dims, from, length }, i) => {
    const part = parts.length === 1 ? x : op.Reshape(op.Slice(x, [from], [from + length], [0]), dims)
    outputs.set(partName(prefix, id, i), part)
  })
}

/** Scalars as one vector. */
export const stacked = (scalars: readonly Value[]): Value =>
  op.Concat(
    scalars.map((x) => op.Reshape(x, [1])),
    { axis: 0 },
  )

/** The name of one tensor of a bundle in a graph. */
export const partName = (prefix: string, bundle: number, part: number): string => `${prefix}/${bundle}/${part}`
