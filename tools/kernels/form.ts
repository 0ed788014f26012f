import type { DType } from '../../src/ir/dtype.js'
import type { Tensor } from '../../src/ir/tensor.js'
import type { Value } from '../../src/ir/value.js'
import { convertTensor } from '../../src/lowering/convert.js'
import { lower } from '../../src/lowering/lower.js'
import type { Target } from '../../src/lowering/lowering.js'
import { exportGraph } from '../../src/onnx/export/export-graph.js'
import { encode } from '../../src/onnx/proto/encode.js'
import { edit } from '../../src/onnx/proto/message.js'

/** A graph of one operator and what to feed it. Imports are of `src`, as in the cases it comes from: values of one kind meet. */
export interface Form {
  readonly operator: string
  readonly name: string
  /** The type it is about: of the elements that the operator computes with. */
  readonly dtype: DType
  readonly inputs: readonly Value[]
  readonly outputs: readonly Value[]
  readonly feeds: readonly Tensor[]
  /** Its elements are random, or in an order that is left open: runtimes agree on shapes only. */
  readonly open: boolean
}

/** Bytes of a model and its feeds by name: what can be sent to another process. */
export interface Probe {
  readonly bytes: Uint8Array
  readonly feeds: Readonly<Record<string, Tensor>>
}

/** The form as the library writes it, in the lowest operator set that has it, or in a later one. */
export function probeOf({ operator, inputs, outputs, feeds }: Form, operatorSet?: number): Probe {
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

/** The form in operators that a target runs, with feeds of its types; itself where nothing is changed. */
export function loweredForm(form: Form, target: Target): Form {
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

/** The operator set a form is written in. */
export const operatorSetOf = ({ inputs, outputs }: Form): number => {
  const { opsetImport } = exportGraph({
    name: 'form',
    inputs: new Map(inputs.map((value, i) => [`x${i}`, value])),
    outputs: new Map(outputs.map((value, i) => [`y${i}`, value])),
  })
  return Number(opsetImport.find(({ domain }) => !domain)!.version)
}
