import { gradients, zerosLike } from '../grad/gradient.js'
import { scalar } from '../ir/leaf.js'
import type { Value } from '../ir/value.js'
import type { LossGraph } from '../loss/loss.js'

/** The outputs that every graph of a loss has. */
export const lossOutputs = ({ loss, count, weight }: LossGraph): [string, Value][] => [
  ['loss', loss],
  ['count', count],
  ...(weight ? [['weight', weight] as [string, Value]] : []),
]

/** By parameter name, only where there is one. */
export function gradientsOf(loss: Value, parameters: ReadonlyMap<string, Value>): ReadonlyMap<string, Value> {
  const found = gradients([[loss, scalar(loss.dtype, 1)]], [...parameters.values()])
  return new Map([...parameters.keys()].flatMap((name, i) => (found[i] ? [[name, found[i]]] : [])))
}

export const gradientOutputs = (found: ReadonlyMap<string, Value>, parameters: ReadonlyMap<string, Value>) =>
  [...parameters].map(([name, value]): [string, Value] => [`grad/${name}`, found.get(name) ?? zerosLike(value)])
