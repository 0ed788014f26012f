import { constantNumber, input } from '../ir/leaf.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { rewriteGraph } from '../op/rewrite.js'
import { OnnxIreError } from '../util/errors.js'

/** A model whose Dropout nodes are at work, and the uniform noise that decides what they drop. */
export interface TrainedDropout {
  readonly outputs: ReadonlyMap<string, Value>
  readonly noise: ReadonlyMap<string, Value>
}

/**
 * Switches every Dropout to its training form (https://onnx.ai/onnx/operators/onnx__Dropout.html):
 * y = x (noise >= ratio) / (1 - ratio). The noise is an input that the host draws, so that a seed decides it and a resumed
 * run drops what an uninterrupted one drops; onnxruntime's own depends on all that its session drew before.
 *
 * A Dropout inside of a body stays as it is, and so does one whose ratio is no constant.
 */
export function trainDropout(outputs: ReadonlyMap<string, Value>): TrainedDropout {
  const noise = new Map<string, Value>()
  const values = rewriteGraph([...outputs.values()], (node, [x, ratio]) => {
    if (node.operator !== 'Dropout') return undefined
    const rate = ratio ? constantNumber(ratio) : 0.5
    if (rate === undefined || rate === 0) return undefined
    const { dtype, shape } = node.outputs[0]!
    if (!shape)
      throw new OnnxIreError(
        'invalid-shape',
        `dropout: nothing is known of the shape of what Dropout '${node.name ?? ''}' drops; declare the model's input shapes`,
      )
    const name = `noise/dropout/${noise.size}`
    const uniform = input(name, dtype, shape)
    noise.set(name, uniform)
    const kept = op.GreaterOrEqual(uniform, rate)
    return [op.Mul(x!, op.Mul(op.CastLike(kept, x!), 1 / (1 - rate))), kept]
  })
  return { outputs: new Map([...outputs.keys()].map((name, i) => [name, values[i]!])), noise }
}
