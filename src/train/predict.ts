import { batches } from '../data/batches.js'
import type { DatasetOrStream } from '../data/stream.js'
import type { TypedArray } from '../ir/dtype.js'
import type { Tensors } from '../ir/tensor.js'
import { formatType, rowsOf, sizeOf, type Tensor } from '../ir/tensor.js'
import { compileModel } from '../lowering/compile.js'
import { createInput, listInputs } from '../onnx/import/declarations.js'
import { checkModel, type Model } from '../onnx/model.js'
import { removeUnreadInputs } from '../onnx/unread-inputs.js'
import { checkRuntime, type Program, type Runtime } from '../runtime/runtime.js'
import { checkArguments, checkNames } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { matchNames, type NamePatterns } from '../util/pattern.js'
import { Aborted, untilAborted } from '../util/until-aborted.js'
import { fixedBatchSize } from './micro-batches.js'
import { prepareBatch } from './prepare-batch.js'

/** Options of `predict`. */
export interface PredictOptions {
  /** Runtime that runs the model. */
  readonly runtime: Runtime
  /** Names of the outputs; `*` matches any characters. Default: all. */
  readonly outputs?: NamePatterns
  /** Number of examples per run of the model. Default 32. Ignored if the model's file fixes the number. */
  readonly batchSize?: number
  /**
   * Names of the outputs that are [T, N, ...], such as those that `ctc` reads with its option of this name. They are
   * returned as [N, T, ...]. Default: none.
   */
  readonly timeFirst?: NamePatterns
  /**
   * Ends the prediction before its next batch once it is aborted: the generator throws its `reason`. An AbortSignal also
   * ends the wait for data that do not arrive.
   */
  readonly signal?: { readonly aborted: boolean; readonly reason?: unknown }
}

/** Outputs of a model for one batch of examples. */
export interface Prediction {
  /** Indices of the examples in the data set, or in the order of the stream. */
  readonly indices: Uint32Array
  /** One tensor per output. Its first axis is the axis of the examples, if the output of the model has one. */
  readonly outputs: Tensors
}

/**
 * Runs a model over data, batch by batch in order. Tensors of the data that are not inputs of the model (labels) are
 * ignored. If the model's file fixes the number of examples, the last batch is padded with copies of its last example.
 *
 * @example
 * for await (const { indices, outputs } of predict(model, data, { runtime: node() })) {
 *   console.log(indices, outputs['logits']!.data)
 * }
 *
 * @throws OnnxIreError `invalid-data`, `invalid-option`, `runtime`
 */
export async function* predict(
  model: Model,
  data: DatasetOrStream,
  options: PredictOptions,
): AsyncGenerator<Prediction, void, undefined> {
  checkArguments('predict(model, data, { runtime })', { data, options })
  checkModel(model)
  checkNames('predict', options, ['runtime', 'outputs', 'batchSize', 'timeFirst', 'signal'])
  checkRuntime('predict', options.runtime)
  const { signal } = options
  const needed = removeUnreadInputs(model)
  const inputs = new Map(listInputs(needed.proto).map((info) => [info.name ?? '', createInput(info)]))
  const fixedSize = fixedBatchSize(inputs)
  const batchSize = fixedSize ?? options.batchSize ?? 32
  const program = await compileModel(options.runtime, needed)
  try {
    const names = matchNames(options.outputs ?? '*', program.outputNames, 'output')
    const timeFirst = new Set(matchNames(options.timeFirst ?? [], program.outputNames, 'output'))
    for await (const { tensors, indices, size } of untilAborted(batches(data, { batchSize }), signal)) {
      const batch = prepareBatch(tensors, inputs, undefined)
      const outputs = await runPadded(program, batch, size, fixedSize ?? size, timeFirst)
      yield { indices, outputs: Object.fromEntries(names.map((name) => [name, outputs[name]!])) }
    }
    if (signal?.aborted) throw new Aborted(signal).reason
  } finally {
    await program.release()
  }
}

/**
 * Runs a program on `size` examples, padded with copies of the last one to the number that its file fixes.
 * @param timeFirst names of the outputs [T, N, ...], which are returned as [N, T, ...]
 */
export async function runPadded(
  program: Program,
  batch: Tensors,
  size: number,
  fixedSize: number,
  timeFirst: ReadonlySet<string> = new Set(),
): Promise<Tensors> {
  const padded = mapTensors(batch, (tensor) => resizeRows(tensor, size, fixedSize))
  return mapTensors(await program.run(padded), (tensor, name) =>
    resizeRows(timeFirst.has(name) ? swapLeadingAxes(tensor, name) : tensor, fixedSize, size),
  )
}

const mapTensors = (tensors: Tensors, f: (tensor: Tensor, name: string) => Tensor): Tensors =>
  Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, f(tensor, name)]))

/** Transposes an output [T, N, ...] to [N, T, ...]. */
function swapLeadingAxes(tensor: Tensor, name: string): Tensor {
  const { dtype, dims, data } = tensor
  const [steps, examples, ...others] = dims
  if (steps === undefined || examples === undefined)
    throw new OnnxIreError(
      'invalid-option',
      `predict: option 'timeFirst' names the output '${name}', which is ${formatType(tensor)}; it must be [T, N, ...]`,
    )
  const width = sizeOf(others)
  const swapped = data.slice() as TypedArray | string[]
  for (let t = 0; t < steps; t++)
    for (let i = 0; i < examples; i++)
      for (let k = 0; k < width; k++) swapped[(i * steps + t) * width + k] = data[(t * examples + i) * width + k]!
  return { dtype, dims: [examples, steps, ...others], data: swapped }
}

/**
 * Shortens a tensor with `from` rows to `to` rows, or pads it with copies of its last row. Returns other tensors
 * unchanged.
 */
function resizeRows(tensor: Tensor, from: number, to: number): Tensor {
  const { dtype, dims, data } = tensor
  if (from === to || dims[0] !== from) return tensor
  if (to <= from) return rowsOf(tensor, 0, to)
  const width = sizeOf(dims.slice(1))
  const source = data as TypedArray | readonly string[]
  const shape = [to, ...dims.slice(1)]
  if (!ArrayBuffer.isView(source))
    return { dtype, dims: shape, data: Array.from({ length: to * width }, (_, i) => source[Math.min(i, last(i))]!) }
  const array = new (source.constructor as new (length: number) => TypedArray)(to * width)
  array.set(source as never)
  for (let row = from; row < to; row++) array.copyWithin(row * width, (from - 1) * width, from * width)
  return { dtype, dims: shape, data: array }

  /** Index of element `i` of a padded row in the last row. */
  function last(i: number): number {
    return (from - 1) * width + (i % width)
  }
}
