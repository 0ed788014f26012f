import type { DType } from '../../src/ir/dtype.js'
import { constant, input, tensorFrom } from '../../src/ir/leaf.js'
import type { Shape } from '../../src/ir/shape.js'
import { sizeOf, type Tensor } from '../../src/ir/tensor.js'
import type { Value } from '../../src/ir/value.js'
import { exportGraph } from '../../src/onnx/export/export-graph.js'
import { encode } from '../../src/onnx/proto/encode.js'
import { create, edit } from '../../src/onnx/proto/message.js'
import type { ModelProto, NodeProto } from '../../src/onnx/proto/schema.js'
import { op } from '../../src/op/op.js'

export { create, edit, op }

/** A model's bytes and the tensors that its inputs are fed with. */
export interface Probe {
  readonly bytes: Uint8Array
  readonly feeds: Readonly<Record<string, Tensor>>
}

interface ProbeOptions {
  /** The operator set to declare. Default: the lowest one that has every operator. */
  readonly operatorSet?: number
  /** Axes of the inputs are symbols, so that nothing is folded into constants. */
  readonly symbolic?: boolean
  /** Changes the exported model before it is encoded. */
  readonly change?: (model: ModelProto) => ModelProto
}

/**
 * Builds a model with `op` and writes it as it is: nothing is lowered. Inputs are named x0, x1 ..., outputs y0, y1 ...
 */
export function probe(
  feeds: readonly Tensor[],
  build: (...x: Value[]) => Value | readonly Value[],
  { operatorSet, symbolic = false, change = (model) => model }: ProbeOptions = {},
): Probe {
  const inputs = feeds.map(({ dtype, dims }, i) => {
    const shape: Shape = symbolic ? dims.map((_, axis) => `d${i}_${axis}`) : dims
    return input(`x${i}`, dtype, shape)
  })
  const outputs = [build(...inputs)].flat()
  const model = change(
    exportGraph({
      name: 'reproducer',
      inputs: new Map(inputs.map((value, i) => [`x${i}`, value])),
      outputs: new Map(outputs.map((value, i) => [`y${i}`, value])),
    }),
  )
  const imports = model.opsetImport.map((set) =>
    operatorSet === undefined || set.domain ? set : edit(set, { version: BigInt(operatorSet) }),
  )
  return {
    bytes: encode('ModelProto', edit(model, { opsetImport: imports })),
    feeds: Object.fromEntries(feeds.map((tensor, i) => [`x${i}`, tensor])),
  }
}

/** Replaces the nodes of a model. */
export const changeNodes = (model: ModelProto, change: (node: NodeProto) => NodeProto): ModelProto =>
  edit(model, { graph: edit(model.graph!, { node: model.graph!.node.map(change) }) })

/** A tensor from numbers. */
export const of = (dtype: DType, dims: readonly number[], ...values: readonly number[]): Tensor =>
  tensorFrom(dtype, dims, values)

/** A tensor from numbers. */
export const from = (dtype: DType, dims: readonly number[], values: readonly number[]): Tensor =>
  tensorFrom(dtype, dims, values)

/** A tensor of one repeated number. */
export const filled = (dtype: DType, dims: readonly number[], value: number): Tensor =>
  tensorFrom(dtype, dims, Array<number>(sizeOf(dims)).fill(value))

/** A tensor of numbers between -1 and 1 that differ from each other and repeat in no short period. */
export const noise = (dtype: DType, dims: readonly number[], seed = 0): Tensor =>
  tensorFrom(
    dtype,
    dims,
    Array.from({ length: sizeOf(dims) }, (_, i) => Math.sin(12.9898 * (i + 1) + 78.233 * (seed + 1)) % 1),
  )

/** The largest absolute difference of two lists of numbers; infinite if their lengths differ or one has a NaN. */
export function difference(a: ArrayLike<number | bigint>, b: ArrayLike<number | bigint>): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY
  let largest = 0
  for (let i = 0; i < a.length; i++) {
    const distance = Math.abs(Number(a[i]!) - Number(b[i]!))
    if (Number.isNaN(distance)) return Number.POSITIVE_INFINITY
    largest = Math.max(largest, distance)
  }
  return largest
}

/** An int64 or float32 constant of one axis. */
export const int64s = (...values: readonly number[]): Value => constant(of('int64', [values.length], ...values))
export const float32s = (...values: readonly number[]): Value => constant(of('float32', [values.length], ...values))

/** An int64 constant without axes. */
export const int64Scalar = (value: number): Value => constant(of('int64', [], value))
