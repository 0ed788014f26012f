import type { Value } from '../../../ir/value.js'
import { knownNumbers } from '../../../op/contents.js'
import type { folding } from '../../../op/definitions/pooling.js'
import type { resize } from '../../../op/definitions/resize.js'
import type { region, sampling } from '../../../op/definitions/sampling.js'
import type { signal } from '../../../op/definitions/signal.js'
import { along, type Costs, free, lengthOf, perInput, perOutput, product, size } from './cost.js'

/** Elements that one is interpolated from, along one axis. */
const taps = (mode: string): number => (mode === 'nearest' ? 0 : mode === 'cubic' ? 4 : 2)

/** A weighted sum over the taps of all resized axes; antialiasing widens it where an axis shrinks. */
function interpolated(x: Value, y: Value, mode: string, antialias: boolean): number {
  if (!x.shape || !y.shape) return Number.NaN
  const axes = y.shape.flatMap((dim, axis) =>
    dim === x.shape![axis] ? [] : [lengthOf(x.shape![axis]) / lengthOf(dim)],
  )
  return 2 * size(y) * product(axes.map((ratio) => taps(mode) * (antialias ? Math.max(1, ratio) : 1)))
}

export const resizeCosts = {
  Resize: ([x], [y], { mode, antialias }) => (mode === 'nearest' ? 0 : interpolated(x, y!, mode, antialias === 1)),
} satisfies Costs<typeof resize>

export const samplingCosts = {
  GridSample: ([x], [y], { mode }) =>
    mode === 'nearest' ? 0 : 2 * size(y!) * taps(mode) ** ((x.shape?.length ?? Number.NaN) - 2),
  AffineGrid: ([theta], [y]) => 2 * size(y!) * (along(theta, 2) - 1),
  // The convolution, and every tap interpolated between four pixels and scaled by the mask.
  DeformConv: ([x, w, , b, mask], [y]) => {
    const windows = size(y!) / along(y!, 1)
    const kernel = product(w.shape?.slice(2))
    const sampled = windows * along(x, 1) * kernel * (mask ? 9 : 8)
    return sampled + 2 * size(y!) * along(w, 1) * kernel + (b ? size(y!) : 0)
  },
} satisfies Costs<typeof sampling>

export const regionCosts = {
  // How many points are sampled depends on the regions unless it is given.
  RoiAlign: (_, [y], { sampling_ratio: ratio }) => (ratio > 0 ? 9 * ratio * ratio * size(y!) : Number.NaN),
  MaxRoiPool: () => Number.NaN,
} satisfies Costs<typeof region>

export const foldingCosts = {
  Col2Im: perInput(1),
  MaxUnpool: free,
} satisfies Costs<typeof folding>

/** A fast Fourier transform of n numbers: 5 n log2 n, the number that transforms are compared by. */
const transform = (n: number): number => 5 * n * Math.log2(Math.max(n, 2))

export const signalCosts = {
  DFT: ([x, length, axis]) => {
    const at = axis ? (knownNumbers(axis)?.[0] ?? Number.NaN) : -2
    const points = length ? (knownNumbers(length)?.[0] ?? Number.NaN) : along(x, at)
    return (size(x) / along(x, at) / along(x, -1)) * transform(points)
  },
  STFT: ([, , window, length], [y]) => {
    const points = window ? along(window, 0) : (knownNumbers(length)?.[0] ?? Number.NaN)
    return (size(y!) / along(y!, -1) / along(y!, -2)) * (transform(points) + (window ? points : 0))
  },
  HannWindow: perOutput(4),
  HammingWindow: perOutput(4),
  BlackmanWindow: perOutput(8),
  MelWeightMatrix: perOutput(4),
} satisfies Costs<typeof signal>
