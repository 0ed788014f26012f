import type { sampling } from '../../../src/op/definitions/sampling.js'
import { op } from '../../../src/op/op.js'
import { type Case, type Cases, ints, shape } from './case.js'

const grid = (
  name: string,
  x: readonly number[],
  places: readonly number[],
  attributes: Record<string, number | string>,
): Case => ({
  name,
  operands: [shape(...x), { shape: [x[0]!, ...places, places.length], range: [-1.7, 1.7] }],
  build: (x, grid) => op.GridSample(x!, grid!, attributes),
})

const deform = (
  name: string,
  [x, w, offset, mask]: readonly (readonly number[])[],
  attributes: Record<string, number | readonly number[]>,
  bias = false,
): Case => ({
  name,
  operands: [
    shape(...x!),
    shape(...w!),
    { shape: offset!, range: [-1.4, 1.4] },
    ...(bias ? [shape(w![0]!)] : []),
    ...(mask ? [shape(...mask)] : []),
  ],
  build: (x, w, offset, ...rest) => {
    const [b, m] = bias ? rest : [undefined, ...rest]
    return op.DeformConv(x!, w!, offset!, b ?? null, m ?? null, attributes)
  },
  staticOnly: 'the lengths of the kernel',
})

export const samplingCases = {
  GridSample: [
    ...['linear', 'nearest', 'cubic'].flatMap((mode) =>
      ['zeros', 'border', 'reflection'].flatMap((padding_mode) =>
        [0, 1].map((align_corners) =>
          grid(`${mode}, ${padding_mode}, align_corners ${align_corners}`, [2, 3, 4, 5], [3, 2], {
            mode,
            padding_mode,
            align_corners,
          }),
        ),
      ),
    ),
    ...['linear', 'nearest'].flatMap((mode) =>
      ['zeros', 'border', 'reflection'].map((padding_mode, i) =>
        grid(`volumes, ${mode}, ${padding_mode}`, [2, 2, 3, 4, 5], [2, 3, 1], {
          mode,
          padding_mode,
          align_corners: i % 2,
        }),
      ),
    ),
  ],
  AffineGrid: [
    ...[0, 1].flatMap((align_corners): Case[] => [
      {
        name: `of images, align_corners ${align_corners}`,
        operands: [shape(2, 2, 3)],
        build: (theta) => op.AffineGrid(theta!, [2, 3, 4, 5], { align_corners }),
        staticOnly: 'theta and the size agree',
      },
      {
        name: `of volumes, align_corners ${align_corners}`,
        operands: [shape(2, 3, 4)],
        build: (theta) => op.AffineGrid(theta!, [2, 1, 3, 2, 4], { align_corners }),
        staticOnly: 'theta and the size agree',
      },
    ]),
    {
      name: 'of a single row',
      operands: [shape(1, 2, 3)],
      build: (theta) => op.AffineGrid(theta!, [1, 3, 1, 4], { align_corners: 1 }),
      staticOnly: 'theta and the size agree',
    },
    {
      name: 'of a size known when run',
      operands: [shape(1, 2, 3), ints(1, 1, 3, 2)],
      build: (theta, size) => op.AffineGrid(theta!, size!),
      staticOnly: 'the number of axes',
    },
  ],
  DeformConv: [
    deform(
      'one kernel',
      [
        [2, 2, 5, 4],
        [3, 2, 2, 2],
        [2, 8, 4, 3],
      ],
      {},
    ),
    deform(
      'pads, strides and dilations',
      [
        [1, 2, 6, 7],
        [2, 2, 3, 2],
        [1, 12, 3, 4],
      ],
      { pads: [1, 2, 1, 0], strides: [2, 2], dilations: [1, 2] },
      true,
    ),
    deform(
      'groups and offset groups',
      [
        [2, 4, 4, 5],
        [6, 2, 2, 2],
        [2, 16, 3, 4],
        [2, 8, 3, 4],
      ],
      { group: 2, offset_group: 2 },
      true,
    ),
    deform(
      'a mask',
      [
        [1, 3, 4, 4],
        [2, 3, 2, 2],
        [1, 8, 3, 3],
        [1, 4, 3, 3],
      ],
      { kernel_shape: [2, 2] },
    ),
    {
      name: 'images of symbolic lengths',
      operands: [shape(2, 2, 5, 4), { shape: [2, 8, 4, 3], range: [-1.4, 1.4] }, { shape: [3, 2, 2, 2] }],
      build: (x, offset, w) => op.DeformConv(x!, op.Reshape(w!, [3, 2, 2, 2]), offset!),
    },
  ],
} satisfies Cases<typeof sampling>
