import { qualifiedName } from '../onnx/import/model-nodes.js'
import type { Model } from '../onnx/model.js'
import type { NodeProto } from '../onnx/proto/schema.js'
import { getOwn } from '../util/record.js'
import type { AdapterKind } from './adapter.js'
import { deriveModulePath, findLayer, isOutputName, type Layer, nameOf } from './layers.js'
import { type LayerScope, listScopes } from './scopes.js'

/** Layer that an adapter cannot change, by the names that a target can have. */
export interface RefusedLayer extends Pick<Layer, 'module' | 'kind'> {
  readonly weight: { readonly tensor: string }
  readonly sites: readonly { readonly node: NodeProto }[]
  readonly reason: string
}

const integers = 'it multiplies integers, which have no gradients: take the model in float32, float16 or 4 bits'
const fused = "it is fused with other operators: take the model before onnxruntime's optimization"

/** Operators of layers that an adapter cannot change: the kind, the inputs that are weights, and the reason. */
const refusedOperators: Readonly<Record<string, readonly [AdapterKind, readonly number[], string]>> = {
  MatMulInteger: ['linear', [1], integers],
  ConvInteger: ['conv', [1], integers],
  QLinearMatMul: ['linear', [3], integers],
  QLinearConv: ['conv', [3], integers],
  'com.microsoft.MatMulIntegerToFloat': ['linear', [1], integers],
  'com.microsoft.DynamicQuantizeMatMul': ['linear', [1], integers],
  'com.microsoft.QGemm': ['linear', [3], integers],
  'com.microsoft.QAttention': ['linear', [1], integers],
  'com.microsoft.Attention': ['linear', [1], fused],
  'com.microsoft.FusedConv': ['conv', [1], fused],
  'com.microsoft.FusedGemm': ['linear', [1], fused],
  'com.microsoft.EmbedLayerNormalization': ['embedding', [2, 3, 4], fused],
}

const functionOperators: Readonly<Record<string, AdapterKind>> = {
  MatMul: 'linear',
  Gemm: 'linear',
  FusedMatMul: 'linear',
  MatMulNBits: 'linear',
  Conv: 'conv',
  Gather: 'embedding',
  GatherBlockQuantized: 'embedding',
}

/** Whether 'all-linear' would include a layer if an adapter could change it. */
export const isDefaultTarget = ({ kind, module }: RefusedLayer): boolean => kind === 'linear' && !isOutputName(module)

/** Lists layers that an adapter cannot change because of their place or operator, with the reason. */
export function listRefused(model: Model): readonly RefusedLayer[] {
  const [main, ...bodies] = listScopes(model) as [LayerScope, ...LayerScope[]]
  const refuse = (node: NodeProto, kind: AdapterKind, tensor: string, reason: string): RefusedLayer => {
    const module = deriveModulePath(node, tensor) ?? nameOf(node)
    return { module, kind, weight: { tensor }, sites: [{ node }], reason }
  }
  const byOperator = [main, ...bodies].flatMap((scope) =>
    scope.graph.node.flatMap((node) => {
      const [kind, weights, reason] = getOwn(refusedOperators, qualifiedName(node)) ?? []
      return (weights ?? [])
        .map((index) => node.input[index] ?? '')
        .filter((tensor) => scope.tensors.has(tensor))
        .map((tensor) => refuse(node, kind!, tensor, reason!))
    }),
  )
  const inBodies = bodies.flatMap((scope) =>
    scope.graph.node.flatMap((node) => {
      const { kind, weight } = findLayer(node, scope) ?? {}
      return !kind || !weight || main.tensors.has(weight.tensor)
        ? []
        : [
            refuse(
              node,
              kind,
              weight.tensor,
              `several bodies have a weight named '${weight.tensor}': move it to the main graph`,
            ),
          ]
    }),
  )
  const inFunctions = model.proto.functions.flatMap(({ name = '', node }) =>
    node.flatMap((each) => {
      const kind = getOwn(functionOperators, each.opType ?? '')
      const reason = `it is in the function '${name}', whose calls would share one adapter: put the nodes of functions in place of their calls with \`onnx-ire adapter inline\`, or inlineFunctions of 'onnx-ire/adapter'`
      return kind ? [refuse(each, kind, each.input[kind === 'embedding' ? 0 : 1] ?? '', reason)] : []
    }),
  )
  return [...byOperator, ...inBodies, ...inFunctions]
}
