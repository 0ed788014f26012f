import type { Value } from '../../ir/value.js'
import { op } from '../../op/op.js'
import type { Upgrade, Upgrades } from './upgrade.js'

type Normalizer = (x: Value, attributes: { readonly axis: number }) => Value

/**
 * Before version 13 the axes from `axis` (1 unless given) on were flattened into one, over which the operator ran; from then
 * on it runs along `axis` alone (-1 unless given). Both are the same along the last axis.
 */
const overFlattenedAxes =
  (normalizer: Normalizer): Upgrade =>
  (node) => {
    const [x] = node.inputs
    const axis = (node.attributes['axis'] as number | undefined) ?? 1
    const rank = x?.shape?.length
    if (!x || axis === -1 || (rank !== undefined && axis === rank - 1)) return { ...node, attributes: { axis } }
    return [op.Reshape(normalizer(op.Flatten(x, { axis }), { axis: -1 }), op.Shape(x))]
  }

export const softmaxUpgrades: Upgrades = {
  Softmax: { 13: overFlattenedAxes(op.Softmax) },
  LogSoftmax: { 13: overFlattenedAxes(op.LogSoftmax) },
  Hardmax: { 13: overFlattenedAxes(op.Hardmax) },
}
