import type { DType } from '../ir/dtype.js'
import type { Tensor } from '../ir/tensor.js'
import type { Value } from '../ir/value.js'
import type { GraphSpec } from '../onnx/export/export-graph.js'
import { converted } from './convert.js'
import { lowered } from './lowered.js'
import type { Target } from './lowering.js'

/** Between the tensors of a graph and those of its lowered form; tensors that lie on a device stay as they are. */
export interface Conversion {
  feeds<T extends object>(given: Readonly<Record<string, T>>): Readonly<Record<string, T>>
  outputs<T extends object>(given: Readonly<Record<string, T>>): Readonly<Record<string, T>>
}

/** A graph in the operators of a provider, and the conversion where their types differ. */
export function conversionOf(
  spec: GraphSpec,
  target: Target,
): { readonly graph: GraphSpec; readonly conversion?: Conversion } {
  const graph = lowered(spec, target)
  const feeds = changes(spec.inputs, graph.inputs)
  const outputs = changes(graph.outputs, spec.outputs)
  if (feeds.size === 0 && outputs.size === 0) return { graph }
  return {
    graph,
    conversion: { feeds: (given) => through(feeds, given), outputs: (given) => through(outputs, given) },
  }
}

/** The types to convert to, by name. */
function changes(from: ReadonlyMap<string, Value>, to: ReadonlyMap<string, Value>): ReadonlyMap<string, DType> {
  return new Map(
    [...to].flatMap(([name, { dtype }]) => (from.get(name)!.dtype === dtype ? [] : [[name, dtype] as const])),
  )
}

function through<T extends object>(types: ReadonlyMap<string, DType>, tensors: Readonly<Record<string, T>>) {
  return Object.fromEntries(
    Object.entries(tensors).map(([name, tensor]) => {
      const to = types.get(name)
      return [name, to && isHost(tensor) ? (converted(name, tensor, to) as T & Tensor) : tensor]
    }),
  )
}

const isHost = <T extends object>(tensor: T): tensor is T & Tensor => 'data' in tensor
