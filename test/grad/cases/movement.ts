import { int64s, scalar } from '../../../src/ir/leaf.js'
import type { movement } from '../../../src/op/definitions/movement.js'
import { op } from '../../../src/op/op.js'
import { type Cases, ints, shape } from './case.js'

export const movementCases = {
  Reshape: [
    {
      name: 'to given lengths',
      operands: [shape(2, 3, 4)],
      build: (x) => op.Reshape(x!, [4, 6]),
      staticOnly: 'the product of three symbols is not 24 for every length',
    },
    { name: 'with 0 and -1', operands: [shape(2, 3, 4)], build: (x) => op.Reshape(x!, [0, -1]) },
    { name: 'of a scalar', operands: [shape()], build: (x) => op.Reshape(x!, [1, 1]) },
    {
      name: 'to a shape computed when run',
      operands: [shape(2, 3, 4), ints(3, -1)],
      build: (x, to) => op.Reshape(x!, to!),
    },
    {
      name: 'view(x.size(0), -1)',
      operands: [shape(2, 3, 4)],
      build: (x) => op.Reshape(x!, op.Concat([op.Shape(x!, { end: 1 }), int64s([-1])], { axis: 0 })),
    },
  ],
  Flatten: [
    { name: 'axis 1', operands: [shape(2, 3, 4)], build: (x) => op.Flatten(x!) },
    { name: 'axis 0', operands: [shape(2, 3)], build: (x) => op.Flatten(x!, { axis: 0 }) },
    { name: 'negative axis', operands: [shape(2, 3, 4)], build: (x) => op.Flatten(x!, { axis: -1 }) },
    { name: 'axis behind the last', operands: [shape(2, 3)], build: (x) => op.Flatten(x!, { axis: 2 }) },
  ],
  Squeeze: [
    { name: 'named axes', operands: [shape(1, 3, 1, 2)], build: (x) => op.Squeeze(x!, [0, -2]) },
    { name: 'all of length 1', operands: [shape(1, 3, 1)], build: (x) => op.Squeeze(x!) },
    { name: 'axes known when run', operands: [shape(3, 1), ints(1)], build: (x, axes) => op.Squeeze(x!, axes!) },
  ],
  Unsqueeze: [
    { name: 'in front and behind', operands: [shape(3, 2)], build: (x) => op.Unsqueeze(x!, [0, -1]) },
    { name: 'axes known when run', operands: [shape(3, 2), ints(1)], build: (x, axes) => op.Unsqueeze(x!, axes!) },
    { name: 'an axis without axes', operands: [shape(3, 2)], build: (x) => op.Unsqueeze(x!, scalar('int64', 1)) },
  ],
  Transpose: [
    { name: 'reversed', operands: [shape(2, 3, 4)], build: (x) => op.Transpose(x!) },
    { name: 'a cycle', operands: [shape(2, 3, 4)], build: (x) => op.Transpose(x!, { perm: [1, 2, 0] }) },
    { name: 'four axes', operands: [shape(2, 3, 1, 4)], build: (x) => op.Transpose(x!, { perm: [0, 2, 3, 1] }) },
  ],
  Expand: [
    { name: 'an axis of length 1', operands: [shape(2, 1, 3)], build: (x) => op.Expand(x!, [2, 4, 3]) },
    { name: 'new axes', operands: [shape(3)], build: (x) => op.Expand(x!, [2, 4, 3]) },
    { name: 'a shape of fewer axes', operands: [shape(2, 1, 3)], build: (x) => op.Expand(x!, [4, 1]) },
    { name: 'a shape known when run', operands: [shape(2, 1), ints(3, 1, 4)], build: (x, to) => op.Expand(x!, to!) },
  ],
  Tile: [
    { name: 'one axis', operands: [shape(2, 3)], build: (x) => op.Tile(x!, [1, 3]) },
    { name: 'all axes', operands: [shape(2, 1, 3)], build: (x) => op.Tile(x!, [2, 3, 2]) },
    { name: 'once', operands: [shape(2, 3)], build: (x) => op.Tile(x!, [1, 1]) },
    {
      name: 'repeats known when run',
      operands: [shape(2, 3), ints(3, 2)],
      build: (x, repeats) => op.Tile(x!, repeats!),
    },
  ],
  DepthToSpace: [
    { name: 'DCR', operands: [shape(2, 8, 2, 3)], build: (x) => op.DepthToSpace(x!, { blocksize: 2 }) },
    { name: 'CRD', operands: [shape(1, 9, 2, 1)], build: (x) => op.DepthToSpace(x!, { blocksize: 3, mode: 'CRD' }) },
  ],
  SpaceToDepth: [
    { name: 'blocks of 2', operands: [shape(2, 2, 4, 6)], build: (x) => op.SpaceToDepth(x!, { blocksize: 2 }) },
  ],
} satisfies Cases<typeof movement>
