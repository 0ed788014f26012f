import { input } from '../../ir/leaf.js'
import { topological } from '../../ir/topology.js'
import type { Graph, Value } from '../../ir/value.js'
import { importGraph } from '../../onnx/import/import-graph.js'
import { cloneNode, type Substitution } from '../../op/inline.js'
import { createLoss, lossTarget, taskLosses } from '../../recipe/loss.js'
import { OnnxIreError } from '../../util/errors.js'
import type { OpenContext } from './data-source.js'

/** Steps and classes of scores [N, T, C]; undefined if the model does not determine them. */
export interface ScoreShape {
  readonly steps: number | undefined
  readonly classes: number | undefined
}

/**
 * The steps and classes of the scores that the loss compares with the sequences of a target.
 * @param dims dims of one example of `input`, if they are known
 * @throws OnnxIreError `invalid-recipe` for a loss that does not compare sequences
 */
export function shapeOfScores(
  { model, loss }: Pick<OpenContext, 'model' | 'loss'>,
  target: string,
  input: string,
  dims: readonly number[] | undefined,
): ScoreShape {
  const [, task] = (loss && taskLosses(loss).find(([, each]) => lossTarget(each)?.name === target)) ?? []
  if (!task) return { steps: undefined, classes: undefined }
  if (task.kind !== 'ctc')
    throw new OnnxIreError('invalid-recipe', `texts are the labels of the loss 'ctc', not of '${task.kind}'`)
  const graph = importGraph(model)
  const comparison = createLoss(task).build(graph.outputs).predictions?.get('')
  const logits = comparison?.kind === 'sequences' ? comparison.logits : undefined
  const shape = logits && ((dims && inferShape(graph, logits, input, [1, ...dims])) ?? logits.shape)
  const [, steps, classes] = (shape ?? []).map((dim) => (typeof dim === 'number' ? dim : undefined))
  return { steps, classes }
}

/** The shape of a value if an input has these dims; undefined if the model does not take them. */
function inferShape({ inputs }: Graph, value: Value, name: string, dims: readonly number[]): Value['shape'] {
  const given = inputs.get(name)
  if (!given) return undefined
  const copies: Substitution = new Map([[given, input(name, given.dtype, dims)]])
  try {
    for (const node of topological([value]))
      for (const [i, copy] of cloneNode(node, copies).entries()) copies.set(node.outputs[i]!, copy)
  } catch (error) {
    // The first batch of the run shows what the model does not take.
    if (error instanceof OnnxIreError) return undefined
    throw error
  }
  return copies.get(value)?.shape
}
