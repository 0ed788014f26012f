import type { FloatArray } from '../../ir/float-array.js'
import { decodeSafetensors, encodeSafetensors } from '../../ir/safetensors.js'
import { sizeOf, type Tensor } from '../../ir/tensor.js'
import type { ParameterArrays } from '../../optim/arrays.js'
import type { Rules } from '../../optim/base-optimizer.js'
import { describeOptimizer, type Optimizer, unwrap } from '../../optim/optimizer.js'
import type { Shard } from '../../optim/shard.js'
import { loadState, type OptimizerState, type SavedState, saveState } from '../../optim/state.js'
import { OnnxIreError } from '../../util/errors.js'
import { getOwn, isObject } from '../../util/record.js'
import { resolveLocalSteps } from '../local-steps.js'
import type { TrainerOptions } from '../options.js'
import type { SavedProgress } from '../progress.js'
import { checkSources, type FitData, type SourceChecksums } from './checksums.js'

/** Arrays of a run by group: 'parameter', 'statistic' and, if the run has them, 'ema', 'best' and 'outer'. */
export type RunArrays = Readonly<Record<string, ParameterArrays>>

const format = 'onnx-ire checkpoint 2'

/**
 * Encodes a run as a safetensors file. Tensors: `parameter/<name>`, `statistic/<name>` (running statistics of norms),
 * `ema/<name>`, `best/<name>` and `outer/<name>` (momentum of local steps) if the run has them, and the optimizer's
 * moments and mask as `state/<moment>/<name>`.
 * Metadata, as JSON: `format`, the version; `run`, the fingerprint of the options; `numbers`, scalars of the optimizer;
 * `progress`, the position in the data and the metrics so far; `evaluation` of the optimizer, if it has any; `sources`,
 * checksums of what the run reads. Random streams depend only on the seed and the step, so the file has no random
 * state.
 */
export function encodeCheckpoint(
  run: Fingerprint,
  arrays: RunArrays,
  state: OptimizerState,
  progress: SavedProgress,
  sources: SourceChecksums,
): Uint8Array {
  const { arrays: moments, numbers } = saveState(state)
  const { evaluation } = unwrap(run.optimizer).base
  const tensors = [...Object.entries(arrays), ['state', moments] as const].flatMap(([role, group]) =>
    Object.entries(group).map(([name, data]) => [`${role}/${name}`, tensorOf(data)] as const),
  )
  return encodeSafetensors({
    tensors: Object.fromEntries(tensors),
    metadata: {
      format,
      run: serializeFingerprint(run),
      numbers: JSON.stringify(numbers),
      progress: JSON.stringify(progress),
      ...(evaluation ? { evaluation: JSON.stringify(evaluation) } : {}),
      sources: JSON.stringify(sources),
    },
  })
}

/**
 * Decodes a checkpoint into the arrays of a run.
 * @param optimizer the rules of the tensors, and the arrays of the optimizer's state that this process stores
 * @throws OnnxIreError `damaged` for a damaged file, `checkpoint` for a checkpoint of another run; nothing has changed
 * then
 */
export function decodeCheckpoint(
  bytes: Uint8Array,
  run: Fingerprint,
  arrays: RunArrays,
  { rules, holds }: { readonly rules: Rules; readonly holds: Shard['holds'] | undefined },
  sources: () => SourceChecksums,
): { readonly state: OptimizerState; readonly progress: SavedProgress; readonly data: FitData | undefined } {
  const { tensors, metadata } = decodeSafetensors(bytes)
  if (metadata['format'] !== format)
    throw new OnnxIreError(
      'checkpoint',
      `not a checkpoint of this version: its format is '${metadata['format'] ?? 'unknown'}', expected '${format}'`,
    )
  const [before, now] = [metadata['run'], serializeFingerprint(run)].map(parseFingerprint)
  if (toText(before) !== toText(now))
    throw new OnnxIreError(
      'checkpoint',
      `the checkpoint belongs to another run: ${describeDifferences(before, now)}; give the options it was written with`,
    )
  // Checkpoints of version 0.2 and before have no checksums of the sources.
  const saved = metadata['sources'] === undefined ? undefined : (parseMetadata(metadata, 'sources') as SourceChecksums)
  checkTrained(Object.keys(tensors), Object.keys(arrays['parameter']!))
  const left = new Map(Object.entries(tensors))
  const found = Object.entries(arrays).flatMap(([role, group]) =>
    Object.entries(group).map(([name, array]) => [array, takeTensor(left, `${role}/${name}`, array)] as const),
  )
  const moments = [...left].flatMap(([name, { data }]) =>
    name.startsWith('state/') ? [[name.slice('state/'.length), data as FloatArray | Uint8Array] as const] : [],
  )
  const extra = [...left.keys()].find((name) => !name.startsWith('state/'))
  if (extra !== undefined)
    throw new OnnxIreError(
      'checkpoint',
      `the checkpoint has the tensor '${extra}', which this run does not have: it belongs to a run with other trainable tensors`,
    )
  const savedState = {
    arrays: Object.fromEntries(moments),
    numbers: parseMetadata(metadata, 'numbers') as SavedState['numbers'],
  }
  const state = loadState(run.optimizer, arrays['parameter']!, savedState, rules, holds)
  const progress = parseProgress(metadata)
  for (const key of ['epoch', 'batch'] as const)
    if (!Number.isSafeInteger(progress[key]) || progress[key] < 0)
      throw new OnnxIreError('checkpoint', `the checkpoint's ${key} must be an integer >= 0, got ${progress[key]}`)
  if (saved) checkSources(saved, sources())
  for (const [array, elements] of found) array.set(elements)
  return { state, progress, data: saved?.data }
}

/** Prefix of trained tensors in a file. */
const trained = 'parameter/'

/**
 * Throws `checkpoint` if a run trains other tensors than a checkpoint, such as the default of another version.
 * @param stored names in the file
 */
function checkTrained(stored: readonly string[], names: readonly string[]): void {
  const before = new Set(stored.flatMap((name) => (name.startsWith(trained) ? [name.slice(trained.length)] : [])))
  const added = names.filter((name) => !before.has(name))
  for (const name of names) before.delete(name)
  if (added.length === 0 && before.size === 0) return
  const list = (all: readonly string[]) =>
    [...all.slice(0, 3).map((name) => `'${name}'`), ...(all.length > 3 ? [`${all.length - 3} more`] : [])].join(', ')
  const differences = [
    ...(added.length > 0 ? [`this run also trains ${list(added)}`] : []),
    ...(before.size > 0 ? [`only the checkpoint trains ${list([...before])}`] : []),
  ]
  throw new OnnxIreError(
    'checkpoint',
    `the checkpoint belongs to another model, or to a run with other trainable tensors: ${differences.join('; ')}. If the model is the same, select the tensors of the checkpoint by trainable, or resume with the version of onnx-ire that wrote it, whose default may differ`,
  )
}

/** Removes a tensor from `left` and returns its elements. Throws `checkpoint` for a missing tensor or another size. */
function takeTensor(left: Map<string, Tensor>, name: string, array: FloatArray): FloatArray {
  const tensor = left.get(name)
  left.delete(name)
  if (tensor && sizeOf(tensor.dims) === array.length && tensor.data.constructor === array.constructor)
    return tensor.data as FloatArray
  throw new OnnxIreError(
    'checkpoint',
    `the checkpoint has no tensor '${name}' with ${array.length} elements: it belongs to another model or run`,
  )
}

/** Parses the progress of a run. Version 0.2 called the metrics of the current interval `round`. */
function parseProgress(metadata: Readonly<Record<string, string>>): SavedProgress {
  const { round, ...progress } = parseMetadata(metadata, 'progress') as SavedProgress & {
    readonly round?: SavedProgress['interval']
  }
  return round === undefined ? progress : { ...progress, interval: round }
}

/** Parses a JSON object of the metadata. Its fields are checked by their users. */
export function parseMetadata(metadata: Readonly<Record<string, string>>, key: string): object {
  try {
    const value: unknown = JSON.parse(getOwn(metadata, key) ?? '')
    if (typeof value === 'object' && value !== null) return value
  } catch {}
  throw new OnnxIreError('checkpoint', `the checkpoint's ${key} cannot be read`)
}

const tensorOf = (data: FloatArray | Uint8Array): Tensor => ({
  dtype: data instanceof Float64Array ? 'float64' : data instanceof Float32Array ? 'float32' : 'uint8',
  dims: [data.length],
  data,
})

/**
 * The options that determine the trajectory of a run. A checkpoint can only be restored by a run with the same
 * fingerprint.
 */
interface Fingerprint {
  readonly optimizer: Optimizer
  readonly seed: number
  readonly batchSize: number
  /** All other options that determine the trajectory, as plain data. */
  readonly options: Readonly<Record<string, unknown>>
}

/** Collects the options of a trainer that determine its trajectory. */
export function createFingerprint(trainer: TrainerOptions): Fingerprint {
  const { optimizer, seed = 0, batchSize = 32, groups, freeze, decayVectors, layerDecay, schedule } = trainer
  const { clipNorm, clipValue, ema, best, earlyStopping } = trainer
  const features = trainer.features === undefined ? undefined : 'cached'
  const dropout = trainer.dropout === 'on' ? 'on' : undefined
  const curvatureBatch = trainer.curvatureBatch === 'fixed' ? 'fixed' : undefined
  const curvatureShare = trainer.curvatureShare === 1 ? undefined : trainer.curvatureShare
  const localSteps = trainer.localSteps && resolveLocalSteps(trainer.localSteps)
  // The same model with its passes in another order has other gradients.
  const { gradientCompression, passes } = trainer
  const options = {
    ...{ groups, freeze, decayVectors, layerDecay, schedule, clipNorm, clipValue, ema, best, earlyStopping },
    ...{ dropout, curvatureBatch, curvatureShare, features, localSteps, gradientCompression, passes },
  }
  return { optimizer, seed, batchSize, options }
}

/** Serializes a fingerprint as JSON, for a checkpoint. */
const serializeFingerprint = ({ optimizer, seed, batchSize, options }: Fingerprint): string =>
  JSON.stringify({ optimizer: describeOptimizer(optimizer), seed, batchSize, ...options })

/** Parses a serialized fingerprint; an empty object if it cannot be read. */
function parseFingerprint(text = '{}'): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return {}
  }
}

/** Converts a value to JSON with the keys of objects in alphabetical order: options may be given in any order. */
const toText = (value: unknown): string =>
  JSON.stringify(value, (_, each: unknown) =>
    isObject(each) ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1))) : each,
  )

/** Describes how two fingerprints differ, for an error message: `clipNorm is 2, it was 1`. */
function describeDifferences(before: unknown, now: unknown): string {
  const [old, own] = [flattenFingerprint(before), flattenFingerprint(now)]
  const changes = [...new Set([...Object.keys(old), ...Object.keys(own)])].flatMap((key) => {
    const [a, b] = [old, own].map((fields) => getOwn(fields, key))
    return a === b ? [] : [`${key} is ${b ?? 'left out'}, it was ${a ?? 'left out'}`]
  })
  return changes.join('; ') || `it was ${toText(before)}`
}

/** Returns the options of a fingerprint as JSON by path, with nested objects as separate paths. */
function flattenFingerprint(fingerprint: unknown): Readonly<Record<string, string>> {
  const flat = (value: unknown, path: string, depth: number): [string, string][] =>
    depth > 0 && isObject(value)
      ? Object.entries(value).flatMap(([key, each]) => flat(each, path === '' ? key : `${path}.${key}`, depth - 1))
      : [[path, toText(value)]]
  return Object.fromEntries(flat(fingerprint, '', 4))
}
