import { op } from '../../src/graph/index.js'
import {
  binaryCrossEntropy,
  charbonnier,
  crossEntropy,
  dice,
  focal,
  huber,
  jaccard,
  kl,
  type Loss,
  l1,
  mse,
  poisson,
  quantile,
  type Tensor,
} from '../../src/index.js'
import { numbersOf } from '../../src/ir/leaf.js'
import type { Tensors } from '../../src/ir/tensor.js'
import { classes, float, int, logSoftmax, normals, type Shape, sigmoid, softmax, sum } from './problem.js'

const normal = normals(2)

type Rows = readonly (readonly number[])[]

/** A loss beside what it should be, in plain arithmetic. */
export interface Case {
  readonly name: string
  readonly loss: Loss
  readonly shape?: Shape
  readonly data: Tensors & { readonly x: Tensor }
  readonly count: number
  readonly weight: number
  /** Value to be divided by `weight`, of the rows of z, one per example or position. */
  readonly total: (z: Rows) => number
  /**
   * E of the squared slope by each logit of each row against sampled targets, times what the row or element weighs;
   * undefined for losses without sampled targets.
   */
  readonly fisher?: (z: Rows) => Rows
}

const x = normal(5, 4)
const tokens = normal(5, 2, 4)
const truth = [0, 2, 1, 1, 0]
const tokenTruth = [0, 2, 1, 1, 0, 2, 2, 0, 1, 0]
const labels = int([5], truth)
const sample = [0.5, 2, 0, 1, 3]
const classWeights = [0.5, 1, 2]
const spread = numbersOf(float([3], classWeights))
const none = [1, 1, 1, 1, 1]

/** -(1 - s) w[y] log p[y] - s mean_c w[c] log p[c] */
const crossEntropyAt = (z: readonly number[], label: number, s = 0, w: readonly number[] = [1, 1, 1]): number => {
  const logP = logSoftmax(z)
  return -(1 - s) * w[label]! * logP[label]! - (s / classes) * sum(logP.map((value, c) => w[c]! * value))
}
const categorical = (omega: readonly number[]) => (z: Rows) =>
  z.map((row, n) => softmax(row).map((p) => omega[n]! * p * (1 - p)))

const labeled = (
  name: string,
  options: Parameters<typeof crossEntropy>[0] & object,
  omega: readonly number[],
  count: number,
  rest: Partial<Case> = {},
): Case => {
  const { labelSmoothing = 0, classWeights: w = [1, 1, 1] } = options
  const of = omega.length === 5 ? truth : tokenTruth
  const weighs = omega.map((v, n) => v * w[of[n]!]!)
  return {
    name: `cross-entropy: ${name}`,
    loss: crossEntropy(options),
    data: { x, labels, sample: float([5], sample) },
    count,
    weight: sum(weighs),
    total: (z) => sum(z.map((row, n) => omega[n]! * crossEntropyAt(row, of[n]!, labelSmoothing, w))),
    fisher: categorical(weighs),
    ...rest,
  }
}

const rows = [
  [0.7, 0.2, 0.1],
  [0, 1, 0],
  [0.3, 0.3, 0.4],
  [0.5, 0, 0.5],
  [0.1, 0.1, 0.8],
]
const soft = float([5, 3], rows.flat())
const entropyTerm = (t: readonly number[]) => sum(t.map((p) => (p === 0 ? 0 : p * Math.log(p))))
const distributions = (
  name: string,
  loss: Loss,
  options: { s?: number; w?: readonly number[]; omega?: readonly number[]; divergence?: boolean },
  data: Tensors,
  count = 5,
): Case => {
  const { s = 0, w = [1, 1, 1], omega = none, divergence = false } = options
  const each = (z: readonly number[], t: readonly number[]) => {
    const logP = logSoftmax(z)
    const certain = -sum(t.map((p, c) => p * w[c]! * logP[c]!)) + (divergence ? entropyTerm(t) : 0)
    return (1 - s) * certain - (s / classes) * sum(logP.map((value, c) => w[c]! * value))
  }
  return {
    name,
    loss,
    data: { x, ...data },
    count,
    weight: sum(omega),
    total: (z) => sum(z.map((row, n) => omega[n]! * each(row, rows[n]!))),
    fisher: categorical(rows.map((t, n) => omega[n]! * sum(t.map((p, c) => p * w[c]!)))),
  }
}

const yes = [1, 0, 0, 1, 1, 0.25, 0, 0, 1, 1, 0, 0, 1, 0, 1]
const at = (n: number, c: number) => n * classes + c
const posWeight = [3, 1, 0.5]
const maskYes = [1, 1, 0, 1, 2, 1, 0, 0, 0, 1, 1, 0.5, 1, 1, 1]
const elementCount = maskYes.filter((m) => m > 0).length
const binary = (
  name: string,
  options: NonNullable<Parameters<typeof binaryCrossEntropy>[0]>,
  omega: readonly number[] = Array(15).fill(1),
  count = 15,
  shape?: Shape,
): Case => {
  const { posWeight: q = 1, labelSmoothing: s = 0 } = options
  const positive = (c: number) => (typeof q === 'number' ? q : q[c]!)
  return {
    name: `bce: ${name}`,
    loss: binaryCrossEntropy(options),
    ...(shape ? { shape } : {}),
    data: {
      x,
      // Where the mask is 0 the target is not a number.
      targets: float(
        [5, 3],
        yes.map((t, i) => (options.mask && omega[i] === 0 ? Number.NaN : t)),
      ),
      mask: float([5, 3], maskYes),
      sample: float([5], sample),
    },
    count,
    weight: sum(omega),
    total: (z) =>
      sum(
        z.flatMap((row, n) =>
          row.map((v, c) => {
            const t = yes[at(n, c)]! * (1 - s) + s / 2
            const p = sigmoid(v)
            return omega[at(n, c)]! * (-positive(c) * t * Math.log(p) - (1 - t) * Math.log(1 - p))
          }),
        ),
      ),
    fisher: (z) =>
      z.map((row, n) =>
        row.map((v, c) => {
          const t = yes[at(n, c)]!
          return omega[at(n, c)]! * (positive(c) * t + 1 - t) * sigmoid(v) * (1 - sigmoid(v))
        }),
      ),
  }
}

const values = numbersOf(normal(5, 3)).map((v) => 2 * v)
const regressed = (
  name: string,
  loss: Loss,
  of: (error: number) => number,
  curvature: number,
  omega: readonly number[] = Array(15).fill(1),
  count = 15,
): Case => ({
  name,
  loss,
  data: {
    x,
    targets: float(
      [5, 3],
      values.map((t, i) => (omega[i] === 0 && name.includes('mask') ? Number.NaN : t)),
    ),
    mask: float([5, 3], maskYes),
    sample: float([5], sample),
  },
  count,
  weight: sum(omega),
  total: (z) =>
    sum(z.flatMap((row, n) => row.map((y, c) => (omega[at(n, c)] ? omega[at(n, c)]! * of(y - values[at(n, c)]!) : 0)))),
  fisher: (z) => z.map((row, n) => row.map((_, c) => omega[at(n, c)]! * curvature)),
})

const pinball = (q: number) => (e: number) => (e >= 0 ? (1 - q) * e : -q * e)
const charbonnierAt = (epsilon: number) => (e: number) => Math.sqrt(e * e + epsilon * epsilon)
const huberAt = (delta: number) => (e: number) =>
  Math.abs(e) <= delta ? (e * e) / 2 : delta * (Math.abs(e) - delta / 2)

/** E of the squared slope of a loss under the density exp(-loss), by numbers. */
function expectedSlope(of: (e: number) => number): number {
  let [mass, squares] = [0, 0]
  for (let e = -60.0005; e < 60; e += 0.001) {
    const slope = (of(e + 1e-5) - of(e - 1e-5)) / 2e-5
    mass += Math.exp(-of(e))
    squares += slope * slope * Math.exp(-of(e))
  }
  return squares / mass
}

const perExample = sample.flatMap((v) => [v, v, v])
const both = perExample.map((v, i) => v * maskYes[i]!)
const regressions = [
  ['mse', mse, (e: number) => e * e, 2],
  ['l1', l1, Math.abs, 1],
  ['huber', huber, huberAt(1), expectedSlope(huberAt(1))],
  ['huber of 0.4', (o: object) => huber({ ...o, delta: 0.4 }), huberAt(0.4), expectedSlope(huberAt(0.4))],
] as const
/** Losses that share the code of weights and masks with `regressions`. */
const moreRegressions = [
  ['quantile of 0.8', (o: object) => quantile({ ...o, quantile: 0.8 }), pinball(0.8), 0.8 * 0.2],
  [
    'charbonnier of 0.3',
    (o: object) => charbonnier({ ...o, epsilon: 0.3 }),
    charbonnierAt(0.3),
    expectedSlope(charbonnierAt(0.3)),
  ],
] as const

const kept = [1, 1, 0, 1, 1, 0, 1, 1, 1, 0]
const tokenMask = [1, 0, 0, 1, 1, 1, 2, 1, 0.5, 0]
const tokenSample = tokenMask.map((m, i) => m * sample[Math.floor(i / 2)]!)
const inTokens = (extra: Tensors): Partial<Case> => ({
  shape: { rank: 3 },
  data: { x: tokens, labels: int([5, 2], tokenTruth), sample: float([5], sample), ...extra },
})

const quantiles = [0.1, 0.5, 0.9]
const perColumn: Case = {
  ...regressed('quantile of every column', quantile({ quantile: quantiles }), () => 0, 0),
  total: (z) => sum(z.flatMap((row, n) => row.map((y, c) => pinball(quantiles[c]!)(y - values[at(n, c)]!)))),
  fisher: (z) => z.map((row) => row.map((_, c) => quantiles[c]! * (1 - quantiles[c]!))),
}

const counts = values.map((v) => Math.round(Math.abs(v)))
const counted = (
  name: string,
  options: NonNullable<Parameters<typeof poisson>[0]>,
  omega: readonly number[],
  count: number,
  shape?: Shape,
): Case => ({
  name: `poisson: ${name}`,
  loss: poisson(options),
  ...(shape && { shape }),
  data: { x, targets: float([5, 3], counts), mask: float([5, 3], maskYes) },
  count,
  weight: sum(omega),
  total: (z) => sum(z.flatMap((row, n) => row.map((v, c) => omega[at(n, c)]! * (Math.exp(v) - counts[at(n, c)]! * v)))),
  fisher: (z) => z.map((row, n) => row.map((v, c) => omega[at(n, c)]! * Math.exp(v))),
})

const withoutFisher = ({ fisher: _, ...rest }: Case, changes: Partial<Case>): Case => ({ ...rest, ...changes })
const focused = (
  name: string,
  options: NonNullable<Parameters<typeof focal>[0]>,
  omega: readonly number[],
  count: number,
): Case => {
  const { gamma = 2, classWeights = [1, 1, 1], ...others } = options
  return withoutFisher(labeled('', { ...others, classWeights }, omega, count), {
    name: `focal: ${name}`,
    loss: focal(options),
    total: (z) =>
      sum(
        z.map((row, n) => {
          const logP = logSoftmax(row)[truth[n]!]!
          return -omega[n]! * classWeights[truth[n]!]! * (1 - Math.exp(logP)) ** gamma * logP
        }),
      ),
  })
}
const focusedYes = (
  name: string,
  options: NonNullable<Parameters<typeof focal>[0]>,
  omega: readonly number[] = Array(15).fill(1),
  count = 15,
): Case => {
  const { gamma = 2, alpha } = options
  const plain = binary('', options.mask ? { mask: 'mask' } : {}, omega, count)
  return withoutFisher(plain, {
    name: `focal: ${name}`,
    loss: focal({ binary: true, labels: 'targets', ...options }),
    total: (z) =>
      sum(
        z.flatMap((row, n) =>
          row.map((v, c) => {
            const [t, p] = [yes[at(n, c)]!, sigmoid(v)]
            const balance = alpha === undefined ? 1 : alpha * t + (1 - alpha) * (1 - t)
            const entropy = -t * Math.log(p) - (1 - t) * Math.log(1 - p)
            return omega[at(n, c)]! * balance * (1 - p * t - (1 - p) * (1 - t)) ** gamma * entropy
          }),
        ),
      ),
  })
}

const overlaps = { dice, jaccard }
const overlapOf = (kind: keyof typeof overlaps, smooth: number, both: number, p: number, t: number): number =>
  kind === 'dice' ? 1 - (2 * both + smooth) / (p + t + smooth) : 1 - (both + smooth) / (p + t - both + smooth)
/** Two pixels of an example, each with three classes along axis 1. */
const segmented = (
  kind: keyof typeof overlaps,
  name: string,
  options: NonNullable<Parameters<typeof dice>[0]>,
  pixels: readonly number[],
  examples: readonly number[],
): Case => {
  const { smooth = 1, classWeights: w = [1, 1, 1] } = options
  return {
    name: `${kind}: ${name}`,
    loss: overlaps[kind]({ axis: 1, ...options }),
    ...inTokens({ mask: float([5, 2], pixels) }),
    shape: { rank: 3, heads: { y: (z) => op.Transpose(z, { perm: [0, 2, 1] }) } },
    data: {
      x: tokens,
      labels: int(
        [5, 2],
        tokenTruth.map((label, i) => (pixels[i] === 0 && options.ignoreIndex !== undefined ? -100 : label)),
      ),
      mask: float([5, 2], pixels),
      sample: float([5], examples),
    },
    count: 5,
    weight: sum(examples),
    total: (z) =>
      sum(
        examples.map((weight, n) => {
          const at = [2 * n, 2 * n + 1]
          const each = w.map((share, c) => {
            const p = at.map((i) => softmax(z[i]!)[c]!)
            const t = at.map((i) => Number(tokenTruth[i] === c))
            const total = (of: (k: number) => number) => sum(at.map((i, k) => pixels[i]! * of(k)))
            const parts = [(k: number) => p[k]! * t[k]!, (k: number) => p[k]!, (k: number) => t[k]!].map(total)
            return share * overlapOf(kind, smooth, parts[0]!, parts[1]!, parts[2]!)
          })
          return (weight * sum(each)) / sum(w)
        }),
      ),
  }
}
/** A mask of three pixels per example. */
const masked = (kind: keyof typeof overlaps, mask?: readonly number[]): Case =>
  withoutFisher(binary('', mask ? { mask: 'mask' } : {}, mask ?? Array(15).fill(1)), {
    name: `${kind}: binary${mask ? ' with a mask' : ''}`,
    loss: overlaps[kind]({ binary: true, labels: 'targets', smooth: 0.5, ...(mask && { mask: 'mask' }) }),
    count: 5,
    weight: 5,
    total: (z) =>
      sum(
        z.map((row, n) => {
          const total = (of: (p: number, t: number) => number) =>
            sum(row.map((v, c) => (mask?.[at(n, c)] ?? 1) * of(sigmoid(v), yes[at(n, c)]!)))
          return overlapOf(
            kind,
            0.5,
            ...([(p: number, t: number) => p * t, (p: number) => p, (_: number, t: number) => t].map(total) as [
              number,
              number,
              number,
            ]),
          )
        }),
      ),
  })

export const cases: readonly Case[] = [
  ...moreRegressions.flatMap(([name, loss, of, curvature]) => [
    regressed(name, loss({}), of, curvature),
    withoutFisher(
      regressed(
        `${name}: mask and sampleWeights`,
        loss({ mask: 'mask', sampleWeights: 'sample' }),
        of,
        curvature,
        both,
        elementCount,
      ),
      {},
    ),
  ]),
  perColumn,
  counted('plain', {}, Array(15).fill(1), 15),
  withoutFisher(counted('mask', { mask: 'mask' }, maskYes, elementCount), {}),
  withoutFisher(counted('behind an Exp', {}, Array(15).fill(1), 15, { heads: { y: (z) => op.Exp(z) } }), {}),
  focused('plain', {}, none, 5),
  focused('gamma 0.5 and sampleWeights', { gamma: 0.5, sampleWeights: 'sample' }, sample, 5),
  focused('classWeights', { classWeights, gamma: 1 }, none, 5),
  focusedYes('binary', { alpha: 0.25 }),
  focusedYes('binary, mask', { mask: 'mask', gamma: 1.5 }, maskYes, elementCount),
  ...(['dice', 'jaccard'] as const).flatMap((kind) => [
    segmented(kind, 'classes', {}, Array(10).fill(1), none),
    segmented(
      kind,
      'mask, sampleWeights, classWeights',
      { mask: 'mask', sampleWeights: 'sample', classWeights, smooth: 0.1 },
      tokenMask,
      sample,
    ),
    segmented(kind, 'ignoreIndex', { ignoreIndex: -100 }, kept, none),
    masked(kind),
    masked(kind, maskYes),
  ]),
  labeled('plain', {}, none, 5),
  labeled('labelSmoothing', { labelSmoothing: 0.1 }, none, 5),
  labeled('classWeights', { classWeights }, none, 5),
  labeled('classWeights and labelSmoothing', { classWeights, labelSmoothing: 0.2 }, none, 5),
  labeled('sampleWeights', { sampleWeights: 'sample' }, sample, 5),
  labeled('all of them', { sampleWeights: 'sample', classWeights, labelSmoothing: 0.2 }, sample, 5),
  labeled('ignoreIndex', { ignoreIndex: 1 }, [1, 1, 0, 0, 1], 3),
  labeled(
    'ignoreIndex -100 on tokens',
    { ignoreIndex: -100 },
    kept,
    7,
    inTokens({
      labels: int(
        [5, 2],
        tokenTruth.map((label, i) => (kept[i] ? label : -100)),
      ),
    }),
  ),
  labeled('mask on tokens', { mask: 'mask' }, tokenMask, 7, inTokens({ mask: float([5, 2], tokenMask) })),
  labeled(
    'classes along axis 1, everything',
    { axis: 1, mask: 'mask', sampleWeights: 'sample', classWeights, labelSmoothing: 0.1 },
    tokenSample,
    7,
    {
      ...inTokens({ mask: float([5, 2], tokenMask) }),
      shape: { rank: 3, heads: { y: (z) => op.Transpose(z, { perm: [0, 2, 1] }) } },
    },
  ),
  distributions('cross-entropy: probabilities', crossEntropy({ probabilities: true }), {}, { labels: soft }),
  distributions(
    'cross-entropy: probabilities, classWeights and labelSmoothing',
    crossEntropy({ probabilities: true, classWeights, labelSmoothing: 0.2 }),
    { w: spread, s: 0.2 },
    { labels: soft },
  ),
  distributions(
    'cross-entropy: probabilities, mask and sampleWeights',
    crossEntropy({ probabilities: true, mask: 'mask', sampleWeights: 'sample', classWeights }),
    { w: spread, omega: [0, 2, 0, 0.5, 3] },
    {
      labels: float([5, 3], [Number.NaN, 9, 9, ...rows.flat().slice(3)]),
      mask: float([5], [0, 1, 1, 0.5, 1]),
      sample: float([5], sample),
    },
    4,
  ),
  distributions('kl', kl(), { divergence: true }, { targets: soft }),
  distributions(
    'kl: sampleWeights',
    kl({ sampleWeights: 'sample' }),
    { divergence: true, omega: sample },
    { targets: soft, sample: float([5], sample) },
  ),
  binary('plain', {}),
  binary('posWeight', { posWeight: 2.5 }),
  binary('posWeight per element and labelSmoothing', { posWeight, labelSmoothing: 0.1 }),
  binary('mask', { mask: 'mask' }, maskYes, elementCount),
  binary('everything', { mask: 'mask', sampleWeights: 'sample', posWeight }, both, elementCount),
  binary('behind a Sigmoid', {}, undefined, undefined, { heads: { y: (z) => op.Identity(op.Sigmoid(z)) } }),
  ...regressions.flatMap(([name, loss, of, curvature]) => [
    regressed(name, loss({}), of, curvature),
    regressed(`${name}: sampleWeights`, loss({ sampleWeights: 'sample' }), of, curvature, perExample, 15),
    regressed(`${name}: mask`, loss({ mask: 'mask' }), of, curvature, maskYes, elementCount),
    regressed(
      `${name}: mask and sampleWeights`,
      loss({ mask: 'mask', sampleWeights: 'sample' }),
      of,
      curvature,
      both,
      elementCount,
    ),
  ]),
]
