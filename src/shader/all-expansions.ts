import type { Value } from '../ir/value.js'
import type { Lowerings } from '../lowering/lowering.js'
import { movementLowerings, slicingLowerings } from '../lowering/webgpu/data-movement.js'
import { linalgLowerings } from '../lowering/webgpu/linalg.js'
import { foldingLowerings, poolingLowerings } from '../lowering/webgpu/pooling.js'
import { reductionLowerings } from '../lowering/webgpu/reduction.js'
import { resizeByProducts } from '../lowering/webgpu/resize.js'
import { signalLowerings } from '../lowering/webgpu/signal.js'
import { type Definitions, op } from '../op/op.js'
import { einsum } from './einsum.js'
import { commonExpansions, type Expansions } from './expansions.js'
import { fourier } from './fourier.js'
import { gatherSlices, scatterSlices } from './positions.js'
import { dimsOf } from './types.js'

/** Blocks of channels as pixels: [N, C b b, H, W] to [N, C, H b, W b]. */
function depthToSpace(x: Value, b: number, mode: string): Value {
  const [n, c, h, w] = dimsOf(x) as readonly [number, number, number, number]
  const channels = c / (b * b)
  const isFirst = mode === 'DCR'
  const split = op.Reshape(x, isFirst ? [n, b, b, channels, h, w] : [n, channels, b, b, h, w])
  const moved = op.Transpose(split, { perm: isFirst ? [0, 3, 4, 1, 5, 2] : [0, 1, 4, 2, 5, 3] })
  return op.Reshape(moved, [n, channels, h * b, w * b])
}

const table = {
  ...slicingLowerings,
  ...foldingLowerings,
  SpaceToDepth: movementLowerings.SpaceToDepth,
  Det: linalgLowerings.Det,
  Inverse: linalgLowerings.Inverse,
  GlobalLpPool: poolingLowerings.GlobalLpPool,
  LpPool: poolingLowerings.LpPool,
  ...signalLowerings,
  DFT: ([x, length, axis], attributes) => fourier(x, length, axis, attributes),
  CumProd: reductionLowerings.CumProd,
  ReduceLogSumExp: reductionLowerings.ReduceLogSumExp,
  DepthToSpace: ([x], { blocksize, mode }) => depthToSpace(x, blocksize, mode),
  Einsum: ([...operands], { equation }) => einsum(operands, equation),
  GatherND: ([x, indices], { batch_dims }) => gatherSlices(x, indices, batch_dims),
  Resize: ([x, roi, scales, sizes], attributes) => resizeByProducts([x, roi, scales, sizes], attributes),
  ScatterND: ([x, indices, updates], { reduction }) => scatterSlices(x, indices, updates, reduction),
} satisfies Lowerings<Definitions>

/** `commonExpansions` and those of less common operators, which a page loads when a graph needs them. */
export const allExpansions: Expansions = { ...commonExpansions, ...(table as unknown as Expansions) }
