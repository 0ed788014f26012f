import { constantNumber } from '../../../ir/leaf.js'
import type { Value } from '../../../ir/value.js'
import type { generation } from '../../../op/definitions/generation.js'
import type { indexing, selection } from '../../../op/definitions/indexing.js'
import type { movement } from '../../../op/definitions/movement.js'
import type { slicing } from '../../../op/definitions/slicing.js'
import type { textual } from '../../../op/definitions/text.js'
import { type Costs, free, perInput, perOutput, size } from './cost.js'

export const movementCosts = {
  Shape: free,
  Size: free,
  Reshape: free,
  Flatten: free,
  Squeeze: free,
  Unsqueeze: free,
  Transpose: free,
  Expand: free,
  Tile: free,
  DepthToSpace: free,
  SpaceToDepth: free,
} satisfies Costs<typeof movement>

export const slicingCosts = {
  Concat: free,
  Split: free,
  Slice: free,
  Pad: free,
  Trilu: free,
  CenterCropPad: free,
} satisfies Costs<typeof slicing>

/** One per update that is added, multiplied or compared. */
const scattered = (updates: Value, reduction: string): number => (reduction === 'none' ? 0 : size(updates))

export const indexingCosts = {
  Gather: free,
  GatherElements: free,
  GatherND: free,
  ScatterElements: ([, , updates], _, { reduction }) => scattered(updates, reduction),
  ScatterND: ([, , updates], _, { reduction }) => scattered(updates, reduction),
  TensorScatter: free,
  Compress: free,
  OneHot: free,
  NonZero: free,
  Unique: free,
  // Which boxes are compared depends on their scores.
  NonMaxSuppression: () => Number.NaN,
  Range: perOutput(1),
  ConstantOfShape: free,
  ReverseSequence: free,
} satisfies Costs<typeof indexing & typeof selection>

export const generationCosts = {
  Dropout: ([x, , training]) => (training && constantNumber(training) !== 0 ? 3 * size(x) : 0),
  EyeLike: free,
  RandomNormal: perOutput(1),
  RandomUniform: perOutput(1),
  RandomNormalLike: perOutput(1),
  RandomUniformLike: perOutput(1),
  Bernoulli: perOutput(1),
  Multinomial: perInput(1),
} satisfies Costs<typeof generation>

export const textualCosts = {
  StringNormalizer: free,
  StringConcat: free,
  StringSplit: free,
  RegexFullMatch: free,
  TfIdfVectorizer: free,
} satisfies Costs<typeof textual>
