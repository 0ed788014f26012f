import { gradientsWithin, zerosLike } from '../../grad/gradient.js'
import { gradientTables } from '../../grad/gradient-tables.js'
import { hessianProducts } from '../../grad/hessian.js'
import { scalar } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import type { GraphSpec } from '../../onnx/export/export-graph.js'
import type { TrainingGraphs } from '../../train/graphs/build.js'
import { OnnxIreError } from '../../util/errors.js'

/**
 * Graphs of a loss as a function of the parameters, and of its derivatives, in evaluation mode (norms frozen, no
 * dropout). Inputs are the data, the parameters and the running statistics by name. Outputs are `loss`, `count` and, if
 * examples have weights, `weight`.
 */
export interface SurfaceGraphs {
  readonly loss: GraphSpec
  /** Also outputs `grad/<parameter>`. */
  readonly gradient: GraphSpec
  /** Also has inputs `v/<parameter>` and outputs `hv/<parameter>`; null if the gradient is not differentiable again. */
  readonly product: GraphSpec | null
  /** The reason why `product` is null. */
  readonly obstacle: OnnxIreError | null
}

/**
 * Builds the graphs of L, of g = dL/dtheta, and of H v = d<g, v>/dtheta (Pearlmutter 1994).
 * Throws `not-differentiable`, `invalid-option`.
 */
export function buildSurfaceGraphs({ evaluation, parameters }: TrainingGraphs, tables = gradientTables): SurfaceGraphs {
  const kept = (['loss', 'count', 'weight'] as const).flatMap((name): [string, Value][] => {
    const value = evaluation.outputs.get(name)
    return value ? [[name, value]] : []
  })
  const wrt = [...parameters.values()]
  const loss = evaluation.outputs.get('loss')!
  const dLoss = gradientsWithin([[loss, scalar(loss.dtype, 1)]], wrt, () => true, tables)
  const spec = (name: string, prefix: string, found: readonly (Value | null)[], v: Leaves = new Map()): GraphSpec => ({
    name: evaluation.name.replace(/evaluation$/, name),
    inputs: new Map([...evaluation.inputs, ...v]),
    outputs: new Map([
      ...kept,
      ...[...parameters].map(([key, x], i): [string, Value] => [prefix + key, found[i] ?? zerosLike(x)]),
    ]),
  })
  const second = attempt(() => hessianProducts(dLoss, parameters, 'v/', tables))
  if (!(second instanceof OnnxIreError)) checkNames(second.vectors, evaluation)
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

function checkNames(added: Leaves, { inputs }: GraphSpec): void {
  const clash = [...added.keys()].find((name) => inputs.has(name))
  if (clash !== undefined)
    throw new OnnxIreError(
      'invalid-option',
      `Hessian products add an input '${clash}', but the model has a tensor of that name: rename the tensor`,
    )
}
