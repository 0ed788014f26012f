import type { Dim, Tensor } from 'onnx-ire'
import { Random } from 'onnx-ire/data'
import type { Value } from 'onnx-ire/graph'

/** Facts that a model file does not contain: lengths by symbol, and values of inputs that are settings. */
interface Setting {
  readonly match: RegExp
  readonly lengths?: Readonly<Record<string, number>>
  /** Length of every axis without a symbol, or with an unlisted symbol. */
  readonly open?: number
  readonly values?: Readonly<Record<string, number>>
  /** Whether the image shows a row of dark strokes on white, for a model whose output is constant without text. */
  readonly text?: true
}

const settings: readonly Setting[] = [
  { match: /cls_infer/, lengths: { 'p2o.DynamicDimension.1': 48, 'p2o.DynamicDimension.2': 192 } },
  { match: /rec_infer/, lengths: { 'p2o.DynamicDimension.1': 160 } },
  { match: /det_infer/, lengths: { 'p2o.DynamicDimension.1': 96, 'p2o.DynamicDimension.2': 160 }, text: true },
  { match: /melspectrogram/, lengths: { samples: 1600 } },
  { match: /silero_vad(_legacy)?\.onnx/, lengths: { sequence: 512 }, values: { sr: 16000 } },
  { match: /silero_vad_v[56]/, open: 512, values: { sr: 16000 } },
]

/**
 * Random inputs for the model of this file name: uniform in [0, 1), one example unless the file fixes another batch
 * size.
 */
export function createInputs(file: string, inputs: ReadonlyMap<string, Value>): Record<string, Tensor> {
  const setting = settings.find(({ match }) => match.test(file))
  const random = new Random(0)
  return Object.fromEntries(
    [...inputs].map(([name, { dtype, shape }]) => {
      const value = setting?.values?.[name]
      const dims = (shape ?? []).map((dim, axis) => lengthOf(dim, axis, name, setting))
      const length = dims.reduce((a, b) => a * b, 1)
      if (setting?.text) return [name, { dtype, dims, data: strokes(dims) }]
      const data =
        dtype === 'int64'
          ? BigInt64Array.from({ length }, () => BigInt(value ?? 0))
          : dtype === 'int32'
            ? Int32Array.from({ length }, () => value ?? 0)
            : Float32Array.from({ length }, () => value ?? random.uniform())
      return [name, { dtype, dims, data }]
    }),
  )
}

function lengthOf(dim: Dim, axis: number, name: string, setting: Setting | undefined): number {
  if (typeof dim === 'number') return dim
  const length = setting?.lengths?.[dim]
  if (length !== undefined) return length
  // The batch axis of a recurrent state is the middle axis.
  return axis === 0 || /^(h|c|state)$/.test(name) ? 1 : (setting?.open ?? 64)
}

/**
 * Images [N, C, rows, columns] of vertical strokes, each with a horizontal bar, in the middle third of a white page.
 */
function strokes([n = 1, channels = 3, rows = 1, columns = 1]: readonly number[]): Float32Array {
  const page = Float32Array.from({ length: rows * columns }, (_, i) => {
    const [y, x] = [Math.floor(i / columns), i % columns]
    const inLine = 3 * y > rows && 3 * y < 2 * rows && 8 * x > columns && 8 * x < 7 * columns
    const inStroke = x % 12 < 3 || (Math.abs(y - rows / 2) < 1.5 && x % 12 < 8)
    return inLine && inStroke ? -2 : 2.2
  })
  return Float32Array.from({ length: n * channels * page.length }, (_, i) => page[i % page.length]!)
}
