import type { Loss } from 'onnx-ire'
import { input, op, type Value } from 'onnx-ire/graph'

/** Center and size, in pixels. */
export type Box = readonly [x: number, y: number, width: number, height: number]

export interface Detection {
  readonly score: number
  readonly box: Box
}

/**
 * Centers of the anchors, in pixels of a 128 x 128 image: two at each of 16 x 16 positions, then six at each of 8 x 8.
 * BlazeFace gives all of them the same size, so that an output is an offset and a size in pixels.
 */
export const anchors: readonly (readonly [x: number, y: number])[] = [
  [8, 2],
  [16, 6],
].flatMap(([stride, count]) =>
  Array.from({ length: (128 / stride!) ** 2 }, (_, i) => i).flatMap((i) => {
    const cells = 128 / stride!
    const center = [((i % cells) + 0.5) * stride!, (Math.floor(i / cells) + 0.5) * stride!] as const
    return Array.from({ length: count! }, () => center)
  }),
)

export const decode = ([dx, dy, width, height]: readonly number[], [x, y]: readonly [number, number]): Box => [
  x + dx!,
  y + dy!,
  width!,
  height!,
]

/**
 * The target of each anchor. An anchor near the center of a face has it (1), one outside of all faces has none (0), and
 * those between are ignored (-1).
 */
export function match(faces: readonly Box[]): { kinds: number[]; offsets: number[][] } {
  const nearest = anchors.map(([x, y]) => {
    const distances = faces.map(
      ([u, v, width, height]) => 2 * Math.max(Math.abs(x - u) / width, Math.abs(y - v) / height),
    )
    const distance = Math.min(...distances)
    return { distance, face: faces[distances.indexOf(distance)]! }
  })
  return {
    kinds: nearest.map(({ distance }) => (distance < 0.4 ? 1 : distance < 1 ? -1 : 0)),
    offsets: nearest.map(({ distance, face: [u, v, width, height] }, i) =>
      distance < 0.4 ? [u - anchors[i]![0], v - anchors[i]![1], width, height] : [0, 0, 0, 0],
    ),
  }
}

const total = (x: Value) => op.ReduceSum(x, { keepdims: 0 })

/**
 * Focal loss of the scores (arXiv 1708.02002, alpha 0.25, gamma 2) plus smooth L1 of the boxes of anchors that have a
 * face, both divided by the number of these anchors. The keypoints of a face, outputs 4 to 15, have no targets here.
 * `outputs` are the scores [N, 512, 1] and [N, 384, 1], then the regressors [N, 512, 16] and [N, 384, 16].
 */
export function detectionLoss(outputs: readonly string[]): Loss {
  return {
    name: 'detection',
    build(values) {
      const [z, w, a, b] = outputs.map((name) => values.get(name)!)
      const scores = op.Squeeze(op.Concat([z!, w!], { axis: 1 }), [2])
      const boxes = op.Slice(op.Concat([a!, b!], { axis: 1 }), [0], [4], [2])
      const kinds = input('kinds', 'int64', scores.shape!)
      const offsets = input('offsets', 'float32', boxes.shape!)
      const number = op.Cast(kinds, { to: 1 })
      const positive = op.Max([number, 0])
      const counted = op.Cast(op.GreaterOrEqual(number, 0), { to: 1 })

      const missed = op.Abs(op.Sub(positive, op.Sigmoid(scores))) // 1 - p of the truth
      const entropy = op.Sub(op.Softplus(scores), op.Mul(scores, positive))
      const weight = op.Sub(0.75, op.Mul(positive, 0.5))
      const classified = op.Mul(op.Mul(op.Mul(weight, op.Mul(missed, missed)), entropy), counted)

      const error = op.Abs(op.Div(op.Sub(boxes, offsets), 8))
      const bent = op.Min([error, 1])
      const placed = op.Mul(op.Mul(bent, op.Sub(error, op.Mul(bent, 0.5))), op.Unsqueeze(positive, [2]))

      const divisor = op.Max([total(positive), 1])
      return {
        loss: op.Div(op.Add(total(classified), total(placed)), divisor),
        targets: new Map([
          ['kinds', kinds],
          ['offsets', offsets],
        ]),
        count: divisor,
        weight: divisor,
      }
    },
  }
}

/** Intersection over union. */
function overlap([x, y, w, h]: Box, [u, v, p, q]: Box): number {
  const length = (a: number, b: number, c: number, d: number) =>
    Math.max(0, Math.min(a + b / 2, c + d / 2) - Math.max(a - b / 2, c - d / 2))
  const shared = length(x, w, u, p) * length(y, h, v, q)
  return shared / (w * h + p * q - shared)
}

/** Returns the detections of scores above 0.05, best first, without boxes that overlap a better one. */
export function suppress(detections: readonly Detection[]): Detection[] {
  const kept: Detection[] = []
  for (const each of detections.filter(({ score }) => score > 0.05).sort((a, b) => b.score - a.score))
    if (!kept.some(({ box }) => overlap(box, each.box) > 0.3)) kept.push(each)
  return kept
}

/** Returns the area under precision over recall, where a detection is right if its IoU with a free face is over 0.5. */
export function averagePrecision(found: readonly Detection[][], scenes: readonly { boxes: readonly Box[] }[]): number {
  const free = scenes.map(({ boxes }) => new Set(boxes))
  const faces = scenes.reduce((sum, { boxes }) => sum + boxes.length, 0)
  const ranked = found.flatMap((each, scene) => each.map((detection) => ({ ...detection, scene })))
  ranked.sort((a, b) => b.score - a.score)
  let [hits, area] = [0, 0]
  for (const [i, { box, scene }] of ranked.entries()) {
    const face = [...free[scene]!].find((each) => overlap(box, each) > 0.5)
    if (face === undefined) continue
    free[scene]!.delete(face)
    hits++
    area += hits / (i + 1) / faces
  }
  return area
}
