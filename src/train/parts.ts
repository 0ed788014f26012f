import type { TypedArray } from '../ir/dtype.js'
import { sizeOf, type Tensor } from '../ir/tensor.js'
import type { FloatArray, Gradients, ParameterArrays } from '../optim/arrays.js'
import type { Tensors } from '../runtime/runtime.js'
import type { Evaluated } from './programs.js'

/**
 * A batch of `size` examples run `part` at a time: what the whole batch would give, each part weighing as many examples as
 * it has. Only one part's gradients are held beside the sum.
 */
export async function inParts(
  batch: Tensors,
  size: number,
  part: number,
  run: (part: Tensors) => Promise<Evaluated>,
): Promise<Evaluated> {
  const mean = new MeanOfParts()
  for (let from = 0; from < size; from += part) {
    const slices = Object.entries(batch).map(([name, tensor]) => [name, rows(tensor, from, part)])
    mean.add(await run(Object.fromEntries(slices)))
  }
  return mean.result()
}

/** A scalar is the same for all examples. */
function rows(tensor: Tensor, from: number, count: number): Tensor {
  const { dtype, dims, data } = tensor
  if (dims.length === 0) return tensor
  const width = sizeOf(dims.slice(1))
  return {
    dtype,
    dims: [count, ...dims.slice(1)],
    data: (data as TypedArray | readonly string[]).slice(from * width, (from + count) * width),
  }
}

class MeanOfParts {
  private readonly gradients: Record<string, FloatArray> = {}
  private readonly statistics: Record<string, FloatArray> = {}
  private loss = 0
  private count = 0
  private correct: number | undefined
  private parts = 0

  add({ loss, count, correct, gradients, statistics }: Evaluated): void {
    this.loss += loss * count
    this.count += count
    if (correct !== undefined) this.correct = (this.correct ?? 0) + correct
    addScaled(this.gradients, gradients, count)
    // Every part begins with the same running statistics, and normalises as many examples as the others.
    addScaled(this.statistics, statistics, 1)
    this.parts++
  }

  result(): Evaluated {
    const { count, correct, gradients, statistics } = this
    // Where every label is ignored, losses and gradients are 0.
    const each = count === 0 ? 0 : 1 / count
    scale(gradients, each)
    scale(statistics, 1 / this.parts)
    return { loss: this.loss * each, count, correct, gradients, statistics }
  }
}

function addScaled(sums: Record<string, FloatArray>, arrays: Gradients | ParameterArrays, factor: number): void {
  for (const [name, array] of Object.entries(arrays)) {
    sums[name] ??= array instanceof Float64Array ? new Float64Array(array.length) : new Float32Array(array.length)
    const sum = sums[name]
    for (let i = 0; i < sum.length; i++) sum[i]! += factor * array[i]!
  }
}

function scale(arrays: Readonly<Record<string, FloatArray>>, factor: number): void {
  for (const array of Object.values(arrays)) for (let i = 0; i < array.length; i++) array[i]! *= factor
}
