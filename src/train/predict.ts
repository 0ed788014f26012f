import { batches } from '../data/batches.js'
import type { DatasetOrStream } from '../data/stream.js'
import type { TypedArray } from '../ir/dtype.js'
import type { Tensors } from '../ir/tensor.js'
import { rowsOf, sizeOf, type Tensor } from '../ir/tensor.js'
import { compileModel } from '../lowering/compile.js'
import { createInput, listInputs } from '../onnx/import/declarations.js'
import type { Model } from '../onnx/model.js'
import type { Program, Runtime } from '../runtime/runtime.js'
import { matchNames, type NamePatterns } from '../util/pattern.js'
import { fixedBatchSize } from './micro-batches.js'
import { prepareBatch } from './validate-batch.js'

/** Options of `predict`. */
export interface PredictOptions {
  readonly runtime: Runtime
  /** Which outputs, by name; `*` stands for any characters. Default: all. */
  readonly outputs?: NamePatterns
  /** Examples per run. Default 32, or the number the model's file fixes. */
  readonly batchSize?: number
}

/** What a model gives for some examples. */
export interface Prediction {
  /** Their numbers in the data set, or in the order of the stream. */
  readonly indices: Uint32Array
  /** One tensor per output; the leading axis counts the examples, where the model has it so. */
  readonly outputs: Tensors
}

/**
 * Runs a model as it is over data, batch by batch, in order. What the data give beside the model's inputs (labels) is left
 * aside. A model whose file fixes the number of examples is fed in parts of it, the last one filled up by repetition.
 * Throws `invalid-data`, `invalid-option`, `runtime`.
 */
export async function* predict(
  model: Model,
  data: DatasetOrStream,
  options: PredictOptions,
): AsyncGenerator<Prediction, void, undefined> {
  const inputs = new Map(listInputs(model.proto).map((info) => [info.name ?? '', createInput(info)]))
  const part = fixedBatchSize(inputs)
  const batchSize = part ?? options.batchSize ?? 32
  const program = await compileModel(options.runtime, model)
  try {
    const names = matchNames(options.outputs ?? '*', program.outputNames, 'output')
    for await (const { tensors, indices, size } of batches(data, { batchSize })) {
      const batch = prepareBatch(tensors, inputs, undefined)
      const outputs = await runFilled(program, batch, size, part ?? size)
      yield { indices, outputs: Object.fromEntries(names.map((name) => [name, outputs[name]!])) }
    }
  } finally {
    await program.release()
  }
}

async function runFilled(program: Program, batch: Tensors, size: number, part: number): Promise<Tensors> {
  if (size === part) return program.run(batch)
  const filled = Object.entries(batch).map(([name, tensor]) => [name, resized(tensor, size, part)])
  const outputs = await program.run(Object.fromEntries(filled))
  return Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, resized(tensor, part, size)]))
}

/** The first rows of a tensor that has `from` of them, the last one repeated where it has to become longer. */
function resized(tensor: Tensor, from: number, to: number): Tensor {
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

  /** Element i of a row beyond the last is that of the last row. */
  function last(i: number): number {
    return (from - 1) * width + (i % width)
  }
}
