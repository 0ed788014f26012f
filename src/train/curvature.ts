import { zerosLike } from '../grad/gradient.js'
import { hessianProducts } from '../grad/hessian.js'
import type { Value } from '../ir/value.js'
import type { LossGraph } from '../loss/loss.js'
import { op } from '../op/op.js'
import type { DrawnGraph } from './graphs.js'
import { gradientOutputs, gradientsOf, lossOutputs } from './outputs.js'

/** What IRE ranks by, and the inputs that are drawn for it. */
interface Estimate extends Omit<DrawnGraph, 'spec'> {
  readonly inputs: readonly (readonly [string, Value])[]
  readonly outputs: ReadonlyMap<string, Value>
}

/** @param dLoss the gradients of the loss, which 'hutchinson' differentiates again */
export function curvatureOf(
  loss: LossGraph,
  dLoss: ReadonlyMap<string, Value>,
  parameters: ReadonlyMap<string, Value>,
  kind: 'sampled' | 'hutchinson' | undefined,
): Estimate | null {
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
  const outputs = new Map([...counts, ...gradientOutputs(gradientsOf(plain, parameters), parameters)])
  const inputs = [...noise].map(([name, { value }]) => [name, value] as const)
  return { inputs, outputs, noise, probes: new Map() }
}
