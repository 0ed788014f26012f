import { OnnxIreError } from '../errors.js'
import { sizeOf, type Tensor } from '../ir/tensor.js'
import type { FloatArray, ParameterArrays } from '../optim/arrays.js'
import { describeOptimizer, type Optimizer } from '../step/optimizer.js'
import { loadState, type SavedState, saveState } from '../step/saved-state.js'
import type { OptimizerState } from '../step/state.js'
import { decodeSafetensors, encodeSafetensors } from './safetensors.js'

/** What a run is, apart from how far it has come: a checkpoint only fits a run with the same. */
interface Run {
  readonly parameters: ParameterArrays
  readonly statistics: ParameterArrays
  readonly optimizer: Optimizer
  readonly seed: number
  readonly batchSize: number
}

const format = 'onnx-ire checkpoint 1'

/**
 * A run as a safetensors file. Tensors: `parameter/<name>`, `statistic/<name>`, and the optimizer's moments and mask as
 * `state/<moment>/<name>`. Metadata: the format's version, the optimizer, seed and batch size, and the optimizer's numbers.
 */
export function writeCheckpoint({ state, ...run }: Run & { readonly state: OptimizerState }): Uint8Array {
  const { arrays, numbers } = saveState(state)
  const tensors = [
    ...prefixed('parameter/', run.parameters),
    ...prefixed('statistic/', run.statistics),
    ...prefixed('state/', arrays),
  ]
  return encodeSafetensors({
    tensors: Object.fromEntries(tensors),
    metadata: { format, run: identity(run), numbers: JSON.stringify(numbers) },
  })
}

/** Reads a checkpoint into the run's arrays; returns the optimizer's state. Throws `checkpoint` before anything is changed. */
export function readCheckpoint(bytes: Uint8Array, run: Run): OptimizerState {
  const { tensors, metadata } = decodeSafetensors(bytes)
  if (metadata['format'] !== format)
    throw new OnnxIreError(
      'checkpoint',
      `not a checkpoint of this version: its format is '${metadata['format'] ?? 'unknown'}', expected '${format}'`,
    )
  if (metadata['run'] !== identity(run)) {
    throw new OnnxIreError(
      'checkpoint',
      `the checkpoint belongs to another run: it was written with ${metadata['run']}, this run has ${identity(run)}`,
    )
  }
  const expected = new Set([
    ...Object.keys(run.parameters).map((name) => `parameter/${name}`),
    ...Object.keys(run.statistics).map((name) => `statistic/${name}`),
  ])
  const extra = Object.keys(tensors).find((name) => !name.startsWith('state/') && !expected.has(name))
  if (extra !== undefined)
    throw new OnnxIreError(
      'checkpoint',
      `the checkpoint holds '${extra}', which this run does not train: it belongs to a run with other trainable tensors`,
    )
  const arrays: Record<string, FloatArray | Uint8Array> = {}
  for (const [name, tensor] of Object.entries(tensors))
    if (name.startsWith('state/')) arrays[name.slice('state/'.length)] = tensor.data as FloatArray | Uint8Array
  const found = new Map<FloatArray, FloatArray>()
  for (const [prefix, group] of [
    ['parameter/', run.parameters],
    ['statistic/', run.statistics],
  ] as const) {
    for (const [name, array] of Object.entries(group)) {
      const tensor = tensors[prefix + name]
      if (!tensor || sizeOf(tensor.dims) !== array.length || tensor.data.constructor !== array.constructor) {
        throw new OnnxIreError(
          'checkpoint',
          `the checkpoint holds no tensor '${prefix + name}' of ${array.length} elements: it belongs to another model`,
        )
      }
      found.set(array, tensor.data as FloatArray)
    }
  }
  const state = loadState(run.optimizer, run.parameters, { arrays, numbers: numbersIn(metadata) })
  for (const [array, saved] of found) array.set(saved)
  return state
}

function numbersIn(metadata: Readonly<Record<string, string>>): SavedState['numbers'] {
  let numbers: unknown
  try {
    numbers = JSON.parse(metadata['numbers'] ?? '')
  } catch {}
  // Each of them is checked where it is used.
  if (typeof numbers === 'object' && numbers !== null) return numbers as SavedState['numbers']
  throw new OnnxIreError('checkpoint', "the checkpoint's numbers cannot be read; it is damaged")
}

const identity = ({ optimizer, seed, batchSize }: Run): string =>
  JSON.stringify({ optimizer: describeOptimizer(optimizer), seed, batchSize })

const prefixed = (prefix: string, arrays: Readonly<Record<string, FloatArray | Uint8Array>>): [string, Tensor][] =>
  Object.entries(arrays).map(([name, data]) => [
    prefix + name,
    {
      dtype: data instanceof Float64Array ? 'float64' : data instanceof Float32Array ? 'float32' : 'uint8',
      dims: [data.length],
      data,
    },
  ])
