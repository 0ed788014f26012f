import type { Value } from '../../../src/ir/value.js'
import type { normalization } from '../../../src/op/definitions/normalization.js'
import { op } from '../../../src/op/op.js'
import { type Case, type Cases, type Operand, shape } from './case.js'

const variance = (...dims: readonly number[]): Operand => ({ shape: dims, range: [0.5, 2] })

const frozen = (name: string, channels: number, ...dims: readonly number[]): Case => ({
  name: `BatchNormalization ${name}`,
  operands: [shape(...dims), shape(channels), shape(channels), shape(channels), variance(channels)],
  build: (x, scale, bias, mean, variance) =>
    op.BatchNormalization(x!, scale!, bias!, mean!, variance!, { epsilon: 1e-3 }),
})

/** A case in training mode, whose outputs may include the running statistics. */
const running = (
  outputs: readonly (0 | 1 | 2)[],
  momentum: number,
  channels: number,
  ...dims: readonly number[]
): Case => ({
  name: `BatchNormalization training, outputs ${outputs}, momentum ${momentum}, of [${dims}]`,
  operands: [shape(...dims), shape(channels), shape(channels), shape(channels), variance(channels)],
  build: (x, scale, bias, mean, variance) => {
    const all = op.BatchNormalization(x!, scale!, bias!, mean!, variance!, {
      epsilon: 1e-2,
      momentum,
      training_mode: 1,
    })
    return outputs.map((output) => all[output])
  },
})

const training = (name: string, channels: number, ...dims: readonly number[]): Case => ({
  name: `BatchNormalization training ${name}`,
  operands: [shape(...dims), shape(channels), shape(channels), shape(channels), variance(channels)],
  build: (x, scale, bias, mean, variance) =>
    op.BatchNormalization(x!, scale!, bias!, mean!, variance!, { epsilon: 1e-2, momentum: 0.7, training_mode: 1 })[0],
})

const layer = (axis: number, dims: readonly number[], affine: readonly number[], bias = true): Case => ({
  name: `LayerNormalization from ${axis} on of [${dims}], scale [${affine}]${bias ? ' and bias' : ''}`,
  operands: [shape(...dims), shape(...affine), ...(bias ? [shape(...affine)] : [])],
  build: (x, scale, bias) => op.LayerNormalization(x!, scale!, bias ?? null, { axis, epsilon: 1e-3 })[0],
})

const rms = (axis: number, dims: readonly number[], affine: readonly number[]): Case => ({
  name: `RMSNormalization from ${axis} on of [${dims}], scale [${affine}]`,
  operands: [shape(...dims), shape(...affine)],
  build: (x, scale) => op.RMSNormalization(x!, scale!, { axis, epsilon: 1e-3 }),
})

const instance = (...dims: readonly number[]): Case => ({
  name: `InstanceNormalization of [${dims}]`,
  operands: [shape(...dims), shape(dims[1]!), shape(dims[1]!)],
  build: (x, scale, bias) => op.InstanceNormalization(x!, scale!, bias!, { epsilon: 1e-2 }),
  float32: 'InstanceNormalization',
})

const group = (num_groups: number, ...dims: readonly number[]): Case => ({
  name: `GroupNormalization of [${dims}] in ${num_groups} groups`,
  operands: [shape(...dims), shape(dims[1]!), shape(dims[1]!)],
  build: (x, scale, bias) => op.GroupNormalization(x!, scale!, bias!, { num_groups, epsilon: 1e-2, stash_type: 11 }),
})

const lrn = (name: string, attributes: { size: number; alpha?: number; beta?: number; bias?: number }): Case => ({
  name: `LRN ${name}`,
  operands: [shape(2, 5, 3, 2)],
  build: (x) => op.LRN(x!, attributes),
  float32: 'LRN',
})

const lp = (p: number, axis: number, ...dims: readonly number[]): Case => ({
  name: `LpNormalization ${p} along ${axis} of [${dims}]`,
  operands: [shape(...dims)],
  build: (x) => op.LpNormalization(x!, { p, axis }),
})

const meanVariance = (axes: readonly number[], ...dims: readonly number[]): Case => ({
  name: `MeanVarianceNormalization over ${axes} of [${dims}]`,
  operands: [shape(...dims)],
  build: (x) => op.MeanVarianceNormalization(x!, { axes }),
  float32: 'MeanVarianceNormalization',
})

export const normalizationCases = {
  BatchNormalization: [
    frozen('of images', 3, 2, 3, 4, 5),
    frozen('of sequences', 3, 2, 3, 5),
    frozen('of features', 3, 4, 3),
    frozen('of volumes', 2, 2, 2, 3, 2, 4),
    training('of images', 3, 2, 3, 4, 5),
    training('of features', 3, 5, 3),
    training('of sequences', 3, 2, 3, 4),
    running([0, 1, 2], 0.7, 3, 2, 3, 4, 2),
    running([1], 0.7, 3, 2, 3, 4),
    running([2], 0.7, 3, 5, 3),
    running([0], 0, 3, 2, 3, 4, 2),
    running([0], 0, 3, 5, 3),
    running([0, 1, 2], 0, 3, 2, 3, 4, 2),
    running([2], 0, 3, 2, 3, 4),
  ],
  LayerNormalization: [
    layer(-1, [2, 4, 5], [5]),
    layer(-1, [4, 5], [5], false),
    layer(2, [2, 4, 5], [5]),
    layer(1, [2, 4, 5], [4, 5]),
    layer(-2, [2, 4, 5], [4, 5], false),
    {
      name: 'LayerNormalization in float32, from saved statistics',
      operands: [shape(3, 4), shape(4), shape(4)],
      build: (x, scale, bias) => op.LayerNormalization(x!, scale!, bias!, { epsilon: 1e-3 }),
      float32: 'LayerNormalization gives its statistics as float32',
    },
    ...([1, 2] as const).map((output) => ({
      name: `LayerNormalization, output ${output} alone`,
      operands: [shape(3, 4), shape(4)],
      build: (...[x, scale]: readonly Value[]) => op.LayerNormalization(x!, scale!, null, { epsilon: 1e-3 })[output],
      float32: 'LayerNormalization gives its statistics as float32',
    })),
  ],
  RMSNormalization: [rms(-1, [2, 4, 5], [5]), rms(1, [2, 4, 5], [4, 5]), rms(-1, [4, 5], [5])],
  InstanceNormalization: [instance(2, 3, 4, 5), instance(2, 3, 6)],
  GroupNormalization: [group(2, 2, 4, 3, 5), group(1, 2, 3, 4), group(3, 2, 3, 5)],
  LRN: [lrn('defaults', { size: 3 }), lrn('steep', { size: 5, alpha: 0.9, beta: 0.6, bias: 2 })],
  LpNormalization: [lp(2, -1, 3, 4), lp(1, -1, 3, 4), lp(2, 1, 2, 3, 4)],
  MeanVarianceNormalization: [meanVariance([0, 2, 3], 2, 3, 4, 5), meanVariance([-1], 2, 3, 5)],
} satisfies Cases<typeof normalization>
