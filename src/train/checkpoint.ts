import type { FloatArray } from '../ir/float-array.js'
import { sizeOf, type Tensor } from '../ir/tensor.js'
import type { MetricAccumulatorState } from '../metric/accumulator.js'
import type { ParameterArrays } from '../optim/arrays.js'
import type { PlateauState } from '../optim/plateau.js'
import type { OptimizerState } from '../optim/state.js'
import { loadState, type SavedState, saveState } from '../optim/state.js'
import { OnnxIreError } from '../util/errors.js'
import { identityChanges, type RunIdentity, writtenIdentity } from './identity.js'
import type { RoundEnd } from './progress.js'
import { decodeSafetensors, encodeSafetensors } from './safetensors.js'
import type { WatchState } from './watch.js'

/** A run's arrays by role: 'parameter', 'statistic', and where they are kept 'ema', 'best'. */
export type RunArrays = Readonly<Record<string, ParameterArrays>>

/** How far a run has come, apart from its arrays and the optimizer. Plain data. */
export interface RunProgress {
  readonly epoch: number
  /** Batches of this epoch that are done. */
  readonly batch: number
  /** What the unfinished round came to so far. */
  readonly round: MetricAccumulatorState | null
  /** Where that is whole and has still to be measured: what is told of it. */
  readonly ended: RoundEnd | null
  readonly best: WatchState | null
  readonly stopping: WatchState | null
  readonly plateau: PlateauState
}

const format = 'onnx-ire checkpoint 2'

/**
 * A run as a safetensors file. Tensors: `parameter/<name>`, `statistic/<name>` (running statistics of norms),
 * `ema/<name>` and `best/<name>` where these are kept, and the optimizer's moments and mask as `state/<moment>/<name>`.
 * Metadata, as JSON: `format`, the version; `run`, the optimizer, seed, batch size and groups; `numbers`, the optimizer's;
 * `progress`, the position in the data and what was measured. Random numbers are drawn from streams that the seed and the
 * step decide, so there is no random state to keep.
 */
export function writeCheckpoint(
  run: RunIdentity,
  arrays: RunArrays,
  state: OptimizerState,
  progress: RunProgress,
): Uint8Array {
  const { arrays: moments, numbers } = saveState(state)
  const tensors = [...Object.entries(arrays), ['state', moments] as const].flatMap(([role, group]) =>
    Object.entries(group).map(([name, data]) => [`${role}/${name}`, tensorOf(data)] as const),
  )
  return encodeSafetensors({
    tensors: Object.fromEntries(tensors),
    metadata: {
      format,
      run: writtenIdentity(run),
      numbers: JSON.stringify(numbers),
      progress: JSON.stringify(progress),
    },
  })
}

/**
 * Reads a checkpoint into the run's arrays.
 * Throws `damaged` for a broken file, `checkpoint` for one of another run, before anything is changed.
 */
export function readCheckpoint(
  bytes: Uint8Array,
  run: RunIdentity,
  arrays: RunArrays,
): { readonly state: OptimizerState; readonly progress: RunProgress } {
  const { tensors, metadata } = decodeSafetensors(bytes)
  if (metadata['format'] !== format)
    throw new OnnxIreError(
      'checkpoint',
      `not a checkpoint of this version: its format is '${metadata['format'] ?? 'unknown'}', expected '${format}'`,
    )
  const own = writtenIdentity(run)
  if (metadata['run'] !== own)
    throw new OnnxIreError(
      'checkpoint',
      `the checkpoint belongs to another run: ${identityChanges(metadata['run'], own)}; give the options it was written with`,
    )
  const left = new Map(Object.entries(tensors))
  const found = Object.entries(arrays).flatMap(([role, group]) =>
    Object.entries(group).map(([name, array]) => [array, taken(left, `${role}/${name}`, array)] as const),
  )
  const moments = [...left].flatMap(([name, { data }]) =>
    name.startsWith('state/') ? [[name.slice('state/'.length), data as FloatArray | Uint8Array] as const] : [],
  )
  const extra = [...left.keys()].find((name) => !name.startsWith('state/'))
  if (extra !== undefined)
    throw new OnnxIreError(
      'checkpoint',
      `the checkpoint holds '${extra}', which this run does not have: it belongs to a run with other trainable tensors`,
    )
  const state = loadState(run.optimizer, arrays['parameter']!, {
    arrays: Object.fromEntries(moments),
    numbers: parsed(metadata, 'numbers') as SavedState['numbers'],
  })
  const progress = parsed(metadata, 'progress') as RunProgress
  for (const key of ['epoch', 'batch'] as const)
    if (!Number.isSafeInteger(progress[key]) || progress[key] < 0)
      throw new OnnxIreError('checkpoint', `the checkpoint's ${key} is ${progress[key]}, not a count`)
  for (const [array, saved] of found) array.set(saved)
  return { state, progress }
}

function taken(left: Map<string, Tensor>, name: string, array: FloatArray): FloatArray {
  const tensor = left.get(name)
  left.delete(name)
  if (tensor && sizeOf(tensor.dims) === array.length && tensor.data.constructor === array.constructor)
    return tensor.data as FloatArray
  throw new OnnxIreError(
    'checkpoint',
    `the checkpoint holds no tensor '${name}' of ${array.length} elements: it belongs to another model or run`,
  )
}

/** Each number is checked where it is used. */
function parsed(metadata: Readonly<Record<string, string>>, key: string): object {
  try {
    const value: unknown = JSON.parse(metadata[key] ?? '')
    if (typeof value === 'object' && value !== null) return value
  } catch {}
  throw new OnnxIreError('checkpoint', `the checkpoint's ${key} cannot be read`)
}

const tensorOf = (data: FloatArray | Uint8Array): Tensor => ({
  dtype: data instanceof Float64Array ? 'float64' : data instanceof Float32Array ? 'float32' : 'uint8',
  dims: [data.length],
  data,
})
