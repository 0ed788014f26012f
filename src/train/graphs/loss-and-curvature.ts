import { gradients, zerosLike } from '../../grad/gradient.js'
import { hessianProducts } from '../../grad/hessian.js'
import { scalar } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import type { LossGraph, NoiseDistribution } from '../../loss/loss.js'
import type { GraphSpec } from '../../onnx/export/export-graph.js'
import { op } from '../../op/op.js'

/** Outputs of every graph of a loss: `loss`, `count` and, for weighted examples, `weight`. */
export const lossOutputs = ({ loss, count, weight }: LossGraph): [string, Value][] => [
  ['loss', loss],
  ['count', count],
  ...(weight ? [['weight', weight] as [string, Value]] : []),
]

/** Builds the gradients of a loss by parameter name, for parameters that have one. */
export function buildGradients(loss: Value, parameters: ReadonlyMap<string, Value>): ReadonlyMap<string, Value> {
  const found = gradients([[loss, scalar(loss.dtype, 1)]], [...parameters.values()])
  return new Map([...parameters.keys()].flatMap((name, i) => (found[i] ? [[name, found[i]]] : [])))
}

/** Gradients as graph outputs `grad/<parameter>`, zeros for parameters without one. */
export const gradientOutputs = (found: ReadonlyMap<string, Value>, parameters: ReadonlyMap<string, Value>) =>
  [...parameters].map(([name, value]): [string, Value] => [`grad/${name}`, found.get(name) ?? zerosLike(value)])

/** A curvature estimate, which IRE ranks, and its random inputs. */
interface CurvatureEstimate extends Omit<SampledGraph, 'spec'> {
  readonly inputs: readonly (readonly [string, Value])[]
  readonly outputs: ReadonlyMap<string, Value>
}

/**
 * Builds the curvature estimate of a loss. 'sampled': the gradient against sampled targets. 'hutchinson': v * Hv with a
 * random sign vector v, an estimate of the Hessian's diagonal (Bekas et al. 2007). Returns null for a loss that cannot
 * be sampled.
 * @param dLoss the gradients of the loss, which 'hutchinson' differentiates again
 */
export function buildCurvature(
  loss: LossGraph,
  dLoss: ReadonlyMap<string, Value>,
  parameters: ReadonlyMap<string, Value>,
  kind: 'sampled' | 'hutchinson' | undefined,
): CurvatureEstimate | null {
  const counts = lossOutputs(loss).filter(([name]) => name !== 'loss')
  if (kind === 'hutchinson') {
    const g = [...parameters.keys()].map((name) => dLoss.get(name) ?? null)
    const { vectors: probes, products } = hessianProducts(g, parameters, 'probe/')
    const estimates = [...probes.values()].map((v, i) => (products[i] ? op.Mul(v, products[i]) : zerosLike(v)))
    const named = [...parameters.keys()].map((name, i): [string, Value] => [`grad/${name}`, estimates[i]!])
    return { inputs: [...probes], outputs: new Map([...counts, ...named]), noise: new Map(), probes }
  }
  if (kind === undefined || !loss.sampled) return null
  const { loss: plain, noise } = loss.sampled
  const outputs = new Map([...counts, ...gradientOutputs(buildGradients(plain, parameters), parameters)])
  const inputs = [...noise].map(([name, { value }]) => [name, value] as const)
  return { inputs, outputs, noise, probes: new Map() }
}

/** A graph and its random inputs, which the host samples. */
export interface SampledGraph {
  readonly spec: GraphSpec
  /** Noise per example. */
  readonly noise: ReadonlyMap<string, { readonly value: Value; readonly distribution: NoiseDistribution }>
  /** Random signs with the shapes of parameters; the same for all micro-batches of a batch. */
  readonly probes: ReadonlyMap<string, Value>
}
