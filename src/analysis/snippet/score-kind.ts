import { checkModel, type Model } from '../../onnx/model.js'
import { checkArguments } from '../../util/check.js'
import { getOwn } from '../../util/record.js'

/** Meaning of the scores that an output holds per class. */
export type ScoreKind = 'logits' | 'probabilities' | 'log-probabilities'

const kindByOperator: Readonly<Record<string, ScoreKind>> = {
  Softmax: 'probabilities',
  Sigmoid: 'probabilities',
  LogSoftmax: 'log-probabilities',
}

/** Operators that do not change the elements of their input. */
const views = new Set(['Identity', 'Reshape', 'Flatten', 'Squeeze', 'Unsqueeze', 'Cast', 'Dropout'])

/** Finds the meaning of scores from the operator that computes the output. Works for models that cannot be imported. */
export function findScoreKind(model: Model, output: string): ScoreKind {
  checkArguments('findScoreKind(model, output)', { output })
  checkModel(model)
  const nodes = new Map(
    (model.proto.graph?.node ?? []).flatMap((node) => node.output.map((name) => [name, node] as const)),
  )
  let node = nodes.get(output)
  while (node && views.has(node.opType ?? '')) node = nodes.get(node.input[0] ?? '')
  return getOwn(kindByOperator, node?.opType ?? '') ?? 'logits'
}
