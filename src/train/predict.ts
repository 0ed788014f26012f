import { batches } from '../data/batches.js'
import type { DatasetOrStream } from '../data/stream.js'
import type { TypedArray } from '../ir/dtype.js'
import type { Tensors } from '../ir/tensor.js'
import { rowsOf, sizeOf, type Tensor } from '../ir/tensor.js'
import { compileModel } from '../lowering/compile.js'
import { createInput, listInputs } from '../onnx/import/declarations.js'
import { checkModel, type Model } from '../onnx/model.js'
import { removeUnreadInputs } from '../onnx/unread-inputs.js'
import { checkRuntime, type Program, type Runtime } from '../runtime/runtime.js'
import { checkArguments } from '../util/check.js'
import { matchNames, type NamePatterns } from '../util/pattern.js'
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
  checkRuntime('predict', options.runtime)
  const needed = removeUnreadInputs(model)
  const inputs = new Map(listInputs(needed.proto).map((info) => [info.name ?? '', createInput(info)]))
  const fixedSize = fixedBatchSize(inputs)
  const batchSize = fixedSize ?? options.batchSize ?? 32
  const program = await compileModel(options.runtime, needed)
  try {
    const names = matchNames(options.outputs ?? '*', program.outputNames, 'output')
    for await (const { tensors, indices, size } of batches(data, { batchSize })) {
      const batch = prepareBatch(tensors, inputs, undefined)
      const outputs = await runPadded(program, batch, size, fixedSize ?? size)
      yield { indices, outputs: Object.fromEntries(names.map((name) => [name, outputs[name]!])) }
    }
  } finally {
    await program.release()
  }
}

/** Runs a program on `size` examples, padded with copies of the last one to the number that its file fixes. */
export async function runPadded(program: Program, batch: Tensors, size: number, fixedSize: number): Promise<Tensors> {
  if (size === fixedSize) return program.run(batch)
  const padded = Object.entries(batch).map(([name, tensor]) => [name, resizeRows(tensor, size, fixedSize)])
  const outputs = await program.run(Object.fromEntries(padded))
  return Object.fromEntries(
    Object.entries(outputs).map(([name, tensor]) => [name, resizeRows(tensor, fixedSize, size)]),
  )
}

/**
 * Shortens a tensor with `from` rows to `to` rows, or pads it with copies of its last row. Returns other tensors
 * unchanged.
 */
function resizeRows(tensor: Tensor, from: number, to: number): Tensor {
  const { dtype, dims, data } = tensor
  if (dims[0] !== from) return tensor
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
