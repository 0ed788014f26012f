import type { Value } from '../../../src/ir/value.js'
import type { Finding, Reproducers } from '../issue.js'
import { difference, from, int64s, noise, op, type Probe, probe } from '../model.js'
import { loadNode, type NodeOrt, type Numbers, quiet, type SessionOptions, toFeeds } from '../node.js'

/** Two graphs that compute the same, the one that should be fast and the one that is. */
export interface Race {
  readonly slow: () => Probe
  readonly fast: () => Probe
  /** The time of the slow one over that of the fast one from which the issue counts as present. */
  readonly from: number
  /** Repetitions of each. */
  readonly runs: number
  readonly tolerance: number
}

/** Runs two graphs by turns and compares their shortest times; throws if their results differ. */
export async function compareTimes(
  ort: NodeOrt,
  { slow, fast, from, runs, tolerance }: Race,
  options: SessionOptions,
): Promise<Finding> {
  const sides = await Promise.all(
    [slow(), fast()].map(async ({ bytes, feeds }) => ({
      session: await ort.InferenceSession.create(bytes, options),
      feeds: toFeeds(ort, feeds),
      least: Number.POSITIVE_INFINITY,
      result: [] as Numbers,
    })),
  )
  for (let i = 0; i <= runs; i++)
    for (const side of sides) {
      const start = performance.now()
      const { y0 } = await side.session.run(side.feeds)
      // The first run allocates.
      if (i > 0) side.least = Math.min(side.least, performance.now() - start)
      else side.result = (y0!.data as Float32Array).slice()
    }
  const error = difference(sides[0]!.result, sides[1]!.result)
  if (!(error <= tolerance)) throw new Error(`the two graphs differ by ${error}`)
  const ratio = sides[0]!.least / sides[1]!.least
  const times = sides.map(({ least }) => `${least.toPrecision(3)} ms`)
  return { present: ratio >= from, detail: `${times[0]} against ${times[1]}, ${ratio.toFixed(1)} times` }
}

const onCpu = (race: Omit<Race, 'runs'>, intraOpNumThreads = 1) => ({
  run: () =>
    compareTimes(loadNode(), { runs: 7, ...race }, { ...quiet, executionProviders: ['cpu'], intraOpNumThreads }),
})

/** The kernels of a weight read backwards along both axes, in and out channels exchanged. */
const turned = (w: Value): Value =>
  op.Slice(op.Transpose(w, { perm: [1, 0, 2, 3] }), [-1, -1], [-(2 ** 31), -(2 ** 31)], [2, 3], [-1, -1])

const image = [16, 64, 32, 32] as const
const weight = [64, 64, 3, 3] as const
const small = [32, 3, 32, 32] as const
const errors = [32, 64, 32, 32] as const

export const speedIssues: Reproducers = {
  'cpu-convtranspose-slow': onCpu(
    {
      slow: () =>
        probe([noise('float32', image), noise('float32', weight, 1)], (x, w) =>
          op.ConvTranspose(x!, w!, null, { pads: [1, 1, 1, 1] }),
        ),
      fast: () =>
        probe([noise('float32', image), noise('float32', weight, 1)], (x, w) =>
          op.Conv(x!, turned(w!), null, { pads: [1, 1, 1, 1] }),
        ),
      from: 1.3,
      tolerance: 1e-1,
    },
    2,
  ),
  'cpu-conv-weight-gradient-slow': onCpu({
    // dW as a convolution over transposed operands: images as channels, and dy as a kernel as large as the image.
    slow: () =>
      probe([noise('float32', small), noise('float32', errors, 1)], (x, dy) => {
        const batchLast = { perm: [1, 0, 2, 3] }
        const windows = op.Conv(op.Transpose(x!, batchLast), op.Transpose(dy!, batchLast), null, { pads: [1, 1, 1, 1] })
        return op.Transpose(windows, batchLast)
      }),
    // dW as products of matrices: dy [N, O, H W] and the columns [N, 9 C, H W].
    fast: () =>
      probe([noise('float32', small), noise('float32', errors, 1)], (x, dy) => {
        const [[n, c, h, w], [, outputs]] = [small, errors]
        const padded = op.Pad(x!, [0, 0, 1, 1, 0, 0, 1, 1])
        const taps = [0, 1, 2].flatMap((i) => [0, 1, 2].map((j) => op.Slice(padded, [i, j], [i + h, j + w], [2, 3])))
        const columns = op.Reshape(op.Concat(taps, { axis: 1 }), int64s(n, 9 * c, h * w))
        const rows = op.Transpose(columns, { perm: [0, 2, 1] })
        const products = op.MatMul(op.Reshape(dy!, int64s(n, outputs, h * w)), rows)
        const sum = op.Reshape(op.ReduceSum(products, [0], { keepdims: 0 }), int64s(outputs, 3, 3, c))
        return op.Transpose(sum, { perm: [0, 3, 1, 2] })
      }),
    from: 1.5,
    tolerance: 1e-1,
  }),
  'cpu-reduce-both-sides-slow': onCpu({
    slow: () => probe([noise('float32', [64, 64, 32, 32])], (x) => op.ReduceSum(x!, [0, 2, 3], { keepdims: 0 })),
    fast: () =>
      probe([noise('float32', [64, 64, 32, 32])], (x) =>
        op.ReduceSum(op.ReduceSum(x!, [2, 3], { keepdims: 0 }), [0], { keepdims: 0 }),
      ),
    from: 1.3,
    tolerance: 1,
  }),
  'cpu-scatter-axis-slow': onCpu({
    slow: () => scatter(0),
    fast: () => scatter(1),
    from: 1.3,
    tolerance: 1e-3,
  }),
  'cpu-slice-backwards-slow': onCpu({
    slow: () =>
      probe([noise('float32', [512, 512, 3, 3])], (w) =>
        op.Slice(w!, [-1, -1], [-(2 ** 31), -(2 ** 31)], [2, 3], [-1, -1]),
      ),
    fast: () =>
      probe([noise('float32', [512, 512, 3, 3]), from('float32', [9, 9], backwards(9))], (w, matrix) =>
        op.Reshape(op.MatMul(op.Reshape(w!, int64s(-1, 9)), matrix!), int64s(512, 512, 3, 3)),
      ),
    from: 1.5,
    tolerance: 0,
  }),
}

/** The matrix that reverses a row of n elements. */
function backwards(n: number): number[] {
  return Array.from({ length: n * n }, (_, i) => (Math.floor(i / n) + (i % n) === n - 1 ? 1 : 0))
}

/** The sum of rows [n, c] at repeated places along axis 0, or of the same numbers as [c, n] along the last axis. */
function scatter(axis: 0 | 1): Probe {
  const [rows, columns, places] = [16384, 128, 256]
  const { data } = noise('float32', [rows, columns])
  const at = (row: number, column: number) => (data as Float32Array)[row * columns + column]!
  const updates =
    axis === 0
      ? noise('float32', [rows, columns])
      : from(
          'float32',
          [columns, rows],
          Array.from({ length: columns * rows }, (_, i) => at(i % rows, Math.floor(i / rows))),
        )
  const indices = Array.from({ length: rows }, (_, i) => (i * 7919) % places)
  return probe([updates, from('int64', [rows], indices)], (updates, index) => {
    const options = { axis, reduction: 'add' }
    const zeros = op.ConstantOfShape(axis === 0 ? int64s(places, columns) : int64s(columns, places))
    const along = op.Expand(axis === 0 ? op.Unsqueeze(index!, [1]) : index!, op.Shape(updates!))
    const sums = op.ScatterElements(zeros, along, updates!, options)
    return axis === 0 ? sums : op.Transpose(sums, { perm: [1, 0] })
  })
}
