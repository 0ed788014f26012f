import type { Graph, ImageOptions } from 'onnx-ire'
import { OnnxIreError } from 'onnx-ire'
import type { Node, Value } from 'onnx-ire/graph'
import { type Form, type Normalization, normalizations } from '../protocol.js'

/** Finds the only input of a model, an image or a table row in float32 or float16. Throws 'invalid-model'. */
export function findInput(graph: Graph): readonly [name: string, value: Value] {
  const inputs = [...graph.inputs]
  const [first] = inputs
  if (inputs.length === 1 && first && /^float(32|16)$/.test(first[1].dtype)) return first
  const list = inputs.map(([name, { dtype }]) => `'${name}' (${dtype})`).join(', ')
  throw new OnnxIreError(
    'invalid-model',
    `The playground trains models with one input of float32 or float16, a picture or a row of numbers; this one takes ${list || 'nothing'}. In code, onnx-ire trains it too.`,
  )
}

/** Finds the only output of a model. Throws 'invalid-model'. */
export function findOutput(graph: Graph): Value {
  const [output] = graph.outputs.values()
  if (output && graph.outputs.size === 1) return output
  const list = [...graph.outputs.keys()].map((name) => `'${name}'`).join(', ')
  throw new OnnxIreError(
    'invalid-model',
    `The playground trains models with one output; this one gives ${list || 'nothing'}. In code, onnx-ire trains it too.`,
  )
}

/** Whether an output is probabilities: those of a Softmax, whose type may be changed. */
export const isShares = ({ source }: Value): boolean =>
  source.kind === 'node' &&
  (source.operator === 'Softmax' ||
    (['Cast', 'CastLike', 'Identity'].includes(source.operator) && isShares(source.inputs[0]!)))

/** Returns a stored form, in which earlier versions of this page called `normalization` `normalisation`. */
export function readForm<F extends object>(stored: F): F {
  const { normalisation, ...form } = stored as F & { readonly normalisation?: unknown }
  return normalisation === undefined ? stored : ({ ...form, normalization: normalisation } as unknown as F)
}

/** Derives the form of the examples from the model file. Throws 'invalid-model'. */
export function deriveForm(graph: Graph): Form {
  const [name, { shape }] = findInput(graph)
  const table = { kind: 'table', size: 0, channels: 0, layout: 'NCHW', normalization: 'unit', open: false } as const
  if (shape?.length === 2) return { ...table, columns: typeof shape[1] === 'number' ? shape[1] : null }
  if (shape?.length === 4) {
    const last = shape[3] === 1 || shape[3] === 3
    const layout = last && shape[1] !== 1 && shape[1] !== 3 ? 'NHWC' : 'NCHW'
    const [channels, rows, columns] =
      layout === 'NHWC' ? [shape[3], shape[1], shape[2]] : [shape[1], shape[2], shape[3]]
    if (rows === columns || typeof rows !== 'number' || typeof columns !== 'number') {
      const size = typeof rows === 'number' ? rows : typeof columns === 'number' ? columns : 64
      const open = typeof rows !== 'number' && typeof columns !== 'number'
      const depth = typeof channels === 'number' ? channels : (channelsOf(graph) ?? 3)
      const normalization = depth === 1 ? 'unit' : 'signed'
      return { kind: 'image', size, channels: depth, layout, normalization, columns: null, open }
    }
  }
  throw new OnnxIreError(
    'invalid-model',
    `The playground feeds square pictures [N, C, H, W] or tables [N, columns]; the input '${name}' is [${shape?.join(', ') ?? '?'}].`,
  )
}

/** Number of input channels of the first convolution, if the declaration of the input leaves it open. */
function channelsOf(graph: Graph): number | undefined {
  const seen = new Set<Value>()
  const first = (value: Value | null): Node | undefined => {
    if (value?.source.kind !== 'node' || seen.has(value)) return undefined
    seen.add(value)
    const { source } = value
    for (const input of source.inputs) {
      const found = first(input)
      if (found) return found
    }
    return source.operator === 'Conv' ? source : undefined
  }
  for (const output of graph.outputs.values()) {
    const found = first(output)
    const perGroup = found?.inputs[1]?.shape?.[1]
    if (found && typeof perGroup === 'number')
      return perGroup * ((found.attributes['group'] as number | undefined) ?? 1)
  }
  return undefined
}

/** Converts the form to options of `imageColumn`. */
export function toImageOptions({ size, channels, layout, normalization }: Form): ImageOptions {
  const { mean, std } = normalizations[normalization]
  const each = (x: number | readonly number[]) => (Array.isArray(x) && channels !== 3 ? (x[1] as number) : x)
  return { size, channels, layout, fit: 'cover', mean: each(mean), std: each(std) }
}

/** The form with the size and the pixel values that the metadata of a model describe, as far as the form has them. */
export function describedForm(form: Form, image: ImageOptions | undefined): Form {
  if (form.kind !== 'image' || !image) return form
  const size = form.open && typeof image.size === 'number' ? image.size : form.size
  const same = (normalization: Normalization) => {
    const { mean, std } = toImageOptions({ ...form, normalization })
    return JSON.stringify([mean, std]) === JSON.stringify([image.mean ?? 0, image.std ?? 1])
  }
  const normalization = (Object.keys(normalizations) as Normalization[]).find(same) ?? form.normalization
  return { ...form, size, normalization }
}
