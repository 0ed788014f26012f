import { checkModel, type Model } from '../../onnx/model.js'
import type { NodeProto } from '../../onnx/proto/schema.js'
import { checkArguments } from '../../util/check.js'
import { getOwn } from '../../util/record.js'

/** Meaning of the scores that an output holds per class. */
export type ScoreKind = 'logits' | 'probabilities' | 'log-probabilities'

const kindByOperator: Readonly<Record<string, ScoreKind>> = {
  Softmax: 'probabilities',
  Sigmoid: 'probabilities',
  LogSoftmax: 'log-probabilities',
}

/** Operators that return elements of their input, or numbers between these. */
const selections = new Set([
  ...['Identity', 'Reshape', 'Flatten', 'Squeeze', 'Unsqueeze', 'Cast', 'Dropout', 'Transpose', 'Slice'],
  ...['ReduceMean', 'ReduceMax', 'ReduceMin', 'Clip', 'If'],
])

/** Finds the meaning of scores from the operator that computes the output. Works for models that cannot be imported. */
export function findScoreKind(model: Model, output: string): ScoreKind {
  checkArguments('findScoreKind(model, output)', { output })
  checkModel(model)
  return getOwn(kindByOperator, findScoreNode(model, output, selections)?.opType ?? '') ?? 'logits'
}

/**
 * The node that computes an output, before nodes of some operators at the end of the model. Of an If, the first branch
 * is examined.
 */
export function findScoreNode({ proto }: Model, output: string, skipped: ReadonlySet<string>): NodeProto | undefined {
  let [graph, name] = [proto.graph, output]
  for (;;) {
    const nodes: readonly NodeProto[] = graph?.node ?? []
    const node = nodes.find((each) => each.output.includes(name))
    if (!node || !skipped.has(node.opType ?? '')) return node
    const branch = node.attribute.find(({ g }) => g)?.g
    if (branch) [graph, name] = [branch, branch.output[node.output.indexOf(name)]?.name ?? '']
    else name = node.input[0] ?? ''
  }
}
