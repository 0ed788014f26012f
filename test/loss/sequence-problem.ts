import { input, modelOf, op, parameter } from '../../src/graph/index.js'
import {
  type ColumnSource,
  cer,
  cosineEmbedding,
  cosineSimilarity,
  ctc,
  dice,
  focal,
  iou,
  jaccard,
  type Model,
  multipleNegatives,
  rocAuc,
  type TrainerOptions,
  topK,
  triplet,
} from '../../src/index.js'
import { float, int, normals } from './problem.js'

const normal = normals(6)

const w = normal(6, 5)

/** A model y = x w of positions [N, T, 6]. */
export function positionModel(): Model {
  const x = input('x', 'float32', ['N', 'T', 6])
  return modelOf({
    name: 'positions',
    inputs: new Map([['x', x]]),
    outputs: new Map([['y', op.MatMul(x, parameter('w', w))]]),
  })
}

const n = 6
const column = ({ dims, data }: ReturnType<typeof normal>): ColumnSource => ({ dims, data: data as Float32Array })
const x = { x: column(normal(n, 5, 6)) }
const [a, b, c] = [5, 4, 3].map((steps) => column(normal(n, steps, 6)))
const pixels = column(
  int(
    [n, 5],
    Array.from({ length: 5 * n }, (_, i) => i % 5),
  ),
)
const sequences = column(int([n, 2], [1, 2, 3, 3, 4, 0, 2, 1, 1, 1, 3, 4]))
const sides = column(float([n], [1, -1, 1, 1, -1, -1]))
const pairs = { passes: ['a', 'b'], pooling: 'mean' } as const

/** Losses over positions and pairs, with their data, and what estimates IRE's curvature. */
export const positionLosses: readonly {
  readonly name: string
  readonly data: Readonly<Record<string, ColumnSource>>
  readonly options: Pick<TrainerOptions, 'loss' | 'metrics' | 'passes' | 'pooling'>
  readonly curvature: 'sampled' | 'hutchinson'
}[] = [
  {
    name: 'ctc',
    data: { ...x, labels: sequences },
    options: { loss: ctc(), metrics: [cer()] },
    curvature: 'hutchinson',
  },
  {
    name: 'focal',
    data: { ...x, labels: pixels },
    options: { loss: focal({ gamma: 0.5 }), metrics: [rocAuc()] },
    curvature: 'hutchinson',
  },
  {
    name: 'dice',
    data: { ...x, labels: pixels },
    options: { loss: dice(), metrics: [iou()] },
    curvature: 'hutchinson',
  },
  { name: 'jaccard', data: { ...x, labels: pixels }, options: { loss: jaccard() }, curvature: 'hutchinson' },
  {
    name: 'multiple negatives',
    data: { 'a/x': a!, 'b/x': b! },
    options: { loss: multipleNegatives(), metrics: [topK(5)], ...pairs },
    curvature: 'sampled',
  },
  {
    name: 'triplet',
    data: { 'a/x': a!, 'b/x': b!, 'c/x': c! },
    options: { loss: triplet(), passes: ['a', 'b', 'c'], pooling: 'mean' },
    curvature: 'hutchinson',
  },
  {
    name: 'cosine embedding',
    data: { 'a/x': a!, 'b/x': b!, targets: sides },
    options: { loss: cosineEmbedding(), ...pairs },
    curvature: 'hutchinson',
  },
  {
    name: 'cosine similarity',
    data: { 'a/x': a!, 'b/x': b!, targets: sides },
    options: { loss: cosineSimilarity(), ...pairs },
    curvature: 'sampled',
  },
]
