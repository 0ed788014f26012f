import type { DType } from '../../src/ir/dtype.js'
import type { Tensor } from '../../src/ir/tensor.js'
import type { Value } from '../../src/ir/value.js'
import { convertTensor } from '../../src/lowering/convert.js'
import { lower } from '../../src/lowering/lower.js'
import type { Target } from '../../src/lowering/lowering.js'
import { exportGraph } from '../../src/onnx/export/export-graph.js'
import { encode } from '../../src/onnx/proto/encode.js'
import { edit } from '../../src/onnx/proto/message.js'

/**
 * A graph of one operator and its feeds. Imports `src` like the test cases, so that both have the same value classes.
 */
export interface Form {
  readonly operator: string
  readonly name: string
  /** Element type that the operator computes with. */
  readonly dtype: DType
  readonly inputs: readonly Value[]
  readonly outputs: readonly Value[]
  readonly feeds: readonly Tensor[]
  /** Whether elements are random or their order is unspecified, so that only shapes are compared. */
  readonly open: boolean
}

/** A model as bytes and its feeds by name, which can be sent to another process. */
export interface Probe {
  readonly bytes: Uint8Array
  readonly feeds: Readonly<Record<string, Tensor>>
}

/** Exports the form in the lowest operator set that has it, or in a given later set. */
export function toProbe({ operator, inputs, outputs, feeds }: Form, operatorSet?: number): Probe {
  const model = exportGraph({
    name: operator,
    inputs: new Map(inputs.map((value, i) => [`x${i}`, value])),
    outputs: new Map(outputs.map((value, i) => [`y${i}`, value])),
  })
  const later =
    operatorSet === undefined
      ? model
      : edit(model, {
          opsetImport: model.opsetImport.map((set) => (set.domain ? set : edit(set, { version: BigInt(operatorSet) }))),
        })
  return { bytes: encode('ModelProto', later), feeds: Object.fromEntries(feeds.map((tensor, i) => [`x${i}`, tensor])) }
}

/** Lowers the form for a target, with feeds of the target's types. Returns the form if nothing changes. */
export function lowerForm(form: Form, target: Target): Form {
  const named = (values: readonly Value[]) => new Map(values.map((value, i) => [`${i}`, value]))
  const graph = lower({ name: form.operator, inputs: named(form.inputs), outputs: named(form.outputs) }, target)
  const [inputs, outputs] = [[...graph.inputs.values()], [...graph.outputs.values()]]
  if ([...inputs, ...outputs].every((value, i) => value === [...form.inputs, ...form.outputs][i])) return form
  return {
    ...form,
    inputs,
    outputs,
    feeds: form.feeds.map((feed, i) => convertTensor(`x${i}`, feed, inputs[i]!.dtype)),
  }
}

/** Operator set of an exported form. */
export const readOperatorSet = ({ inputs, outputs }: Form): number => {
  const { opsetImport } = exportGraph({
    name: 'form',
    inputs: new Map(inputs.map((value, i) => [`x${i}`, value])),
    outputs: new Map(outputs.map((value, i) => [`y${i}`, value])),
  })
  return Number(opsetImport.find(({ domain }) => !domain)!.version)
}
