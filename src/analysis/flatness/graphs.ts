import { gradients, zerosLike } from '../../grad/gradient.js'
import { gradientTables } from '../../grad/gradient-tables.js'
import { hessianProducts } from '../../grad/hessian.js'
import { scalar } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import type { GraphSpec } from '../../onnx/export/export-graph.js'
import type { TrainingGraphs } from '../../train/graphs/build.js'
import { OnnxIreError } from '../../util/errors.js'

/**
 * A loss as a function of the parameters, and its derivatives, in the evaluation form: norms frozen, no dropout.
 * All take the data, the parameters and the running statistics under their own names and give `loss`, `count` and, where
 * examples have weights, `weight`.
 */
export interface SurfaceGraphs {
  readonly loss: GraphSpec
  /** Gives `grad/<parameter>` too. */
  readonly gradient: GraphSpec
  /** Takes `v/<parameter>` and gives `hv/<parameter>` too. Null where the gradient cannot be differentiated again. */
  readonly product: GraphSpec | null
  /** Why there is no `product`. */
  readonly obstacle: OnnxIreError | null
}

/** Throws `not-differentiable`, `invalid-option`. */
export function surfaceGraphs({ evaluation, parameters }: TrainingGraphs, tables = gradientTables): SurfaceGraphs {
  const kept = (['loss', 'count', 'weight'] as const).flatMap((name): [string, Value][] => {
    const value = evaluation.outputs.get(name)
    return value ? [[name, value]] : []
  })
  const wrt = [...parameters.values()]
  const loss = evaluation.outputs.get('loss')!
  const dLoss = gradients([[loss, scalar(loss.dtype, 1)]], wrt, tables)
  const spec = (name: string, prefix: string, found: readonly (Value | null)[], v: Leaves = new Map()): GraphSpec => ({
    name: evaluation.name.replace(/evaluation$/, name),
    inputs: new Map([...evaluation.inputs, ...v]),
    outputs: new Map([
      ...kept,
      ...[...parameters].map(([key, x], i): [string, Value] => [prefix + key, found[i] ?? zerosLike(x)]),
    ]),
  })
  const second = attempt(() => hessianProducts(dLoss, parameters, 'v/', tables))
  if (!(second instanceof OnnxIreError)) refuseClashes(second.vectors, evaluation)
  return {
    loss: { ...evaluation, name: evaluation.name.replace(/evaluation$/, 'loss'), outputs: new Map(kept) },
    gradient: spec('gradient', 'grad/', dLoss),
    ...(second instanceof OnnxIreError
      ? { product: null, obstacle: second }
      : { product: spec('hessian-product', 'hv/', second.products, second.vectors), obstacle: null }),
  }
}

type Leaves = ReadonlyMap<string, Value>

function attempt<T>(differentiate: () => T): T | OnnxIreError {
  try {
    return differentiate()
  } catch (error) {
    if (error instanceof OnnxIreError && error.code === 'not-differentiable') return error
    throw error
  }
}

function refuseClashes(added: Leaves, { inputs }: GraphSpec): void {
  const clash = [...added.keys()].find((name) => inputs.has(name))
  if (clash !== undefined)
    throw new OnnxIreError(
      'invalid-option',
      `the Hessian's products add an input '${clash}', and the model has a tensor of that name: rename it in the model`,
    )
}
