import { decodeModel } from 'onnx-ire'
import { create, edit } from '../../../dist/onnx/proto/message.js'
import type { GraphProto, ModelProto } from '../../../dist/onnx/proto/schema.js'
import { toProbe } from '../../kernels/form.js'
import { forms } from '../../kernels/forms.js'

/** A valid model of one operator. */
export interface Sample {
  readonly operator: string
  readonly name: string
  readonly proto: ModelProto
  readonly bytes: Uint8Array
}

/** Most samples of one operator; the first of the forms differ most. */
const perOperator = 8

/** Valid models of every operator, by operator: the forms of tools/kernels, with the operands as inputs or as tensors. */
export function readCorpus(): ReadonlyMap<string, readonly Sample[]> {
  return new Map(
    [...forms()].map(([operator, own]) => [
      operator,
      own
        .filter(({ dtype }, i) => i === 0 || dtype !== 'float64')
        .slice(0, perOperator)
        .map((form): Sample => {
          const { bytes } = toProbe(form)
          return { operator, name: form.name, proto: decodeModel(bytes).proto, bytes }
        }),
    ]),
  )
}

/** A model with its graph changed. */
export const withGraph = (proto: ModelProto, change: (graph: GraphProto) => Partial<GraphProto>): ModelProto => {
  const graph = proto.graph ?? create('GraphProto', {})
  return edit(proto, { graph: edit(graph, change(graph)) })
}
