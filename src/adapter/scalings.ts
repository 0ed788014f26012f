import { numbersOf } from '../ir/leaf.js'
import { sizeOf, type Tensor } from '../ir/tensor.js'
import { isStandardDomain, walkNodes } from '../onnx/import/model-nodes.js'
import type { Model } from '../onnx/model.js'
import type { NodeProto } from '../onnx/proto/schema.js'
import { append } from '../util/append.js'
import { OnnxIreError } from '../util/errors.js'
import type { ScalingLayer } from './adapter.js'
import type { Layer } from './layers.js'
import { findOutputs, roundMerged } from './merged-weight.js'
import type { Place } from './saved-modules.js'
import { listScopes } from './scopes.js'
import { findWeight } from './weight-source.js'

/** Factors of (IA)^3, and the layer of the model that they belong to. */
export interface ScalingPair {
  readonly layer: Layer
  readonly scaling: ScalingLayer
  /** The node of each site with the module's output: that of the layer, or the Add of its bias. */
  readonly outputs: readonly NodeProto[]
}

/** Shape of the factors in PEFT: [out, 1] or [1, in]; [1, channels, 1, 1] of a convolution. */
export function scalingDims(layer: Layer, of: ScalingLayer['of']): readonly number[] {
  const length = of === 'outputs' ? layer.out : layer.in
  if (layer.kind === 'conv') return [1, length, ...layer.kernel!.map(() => 1)]
  return of === 'outputs' ? [length, 1] : [1, length]
}

/**
 * Pairs factors with layers. Throws `invalid-option` for a layer that cannot have them, `invalid-data` for other
 * shapes.
 */
export function pairScalings(
  model: Model,
  found: readonly { readonly layer: Layer; readonly scaling: ScalingLayer }[],
): ScalingPair[] {
  if (found.length === 0) return []
  const [values] = listScopes(model) as [ReturnType<typeof listScopes>[number]]
  const readers = new Map<string, NodeProto[]>()
  for (const node of walkNodes(model.proto.graph!)) for (const name of node.input) append(readers, name, node)
  return found.map(({ layer, scaling }) => {
    checkScaling(layer, scaling)
    const width = layer.part ? layer.part.sizes.reduce((sum, size) => sum + size, 0) : layer.out
    return { layer, scaling, outputs: layer.sites.map(({ node }) => findOutput(node, width)) }
  })

  function findOutput(node: NodeProto, width: number): NodeProto {
    const [add, other] = readers.get(node.output[0]!) ?? []
    if (
      !add ||
      other ||
      node.opType === 'Gemm' ||
      node.opType === 'Conv' ||
      add.opType !== 'Add' ||
      !isStandardDomain(add)
    )
      return node
    const bias = add.input[1 - add.input.indexOf(node.output[0]!)]!
    return findWeight(values, bias)?.dims.join() === String(width) ? add : node
  }
}

/** Position of the bias among the inputs of a node. */
const biasInputs = new Map([
  ['Gemm', 2],
  ['Conv', 2],
  ['MatMulNBits', 5],
])

/** Finds the places where the bias of a layer with factors is read: an input of the node itself, or of its Add. */
export const findBiases = ({ layer, outputs }: ScalingPair): readonly Place[] =>
  layer.sites.flatMap(({ node }, i) => {
    const output = outputs[i]!
    const at = biasInputs.get(node.opType ?? '')
    const own = at !== undefined && node.input[at] ? [{ node, at }] : []
    return output === node ? own : [...own, { node: output, at: 1 - output.input.indexOf(node.output[0]!) }]
  })

function checkScaling(layer: Layer, { of, factors }: ScalingLayer): void {
  const { module } = layer
  const reason = reasonAgainstFactors(layer, of)
  if (reason)
    throw new OnnxIreError('invalid-option', `adapter: module '${module}' cannot have factors of its ${of}: ${reason}`)
  const expected = scalingDims(layer, of)
  if (factors.dims.join() !== expected.join())
    throw new OnnxIreError(
      'invalid-data',
      `adapter: module '${module}': its factors are [${factors.dims.join(', ')}], the layer needs [${expected.join(', ')}]: the adapter belongs to another model; apply it to the one that it was trained on`,
    )
}

/** The reason why a layer cannot have factors, and what to do instead; undefined if it can. */
function reasonAgainstFactors(
  { module, kind, kernel, part, sites }: Layer,
  of: ScalingLayer['of'],
): string | undefined {
  if (kind === 'embedding' || kernel?.length === 1)
    return `it is ${kind === 'conv' ? 'a convolution of one axis' : 'an embedding'}, and PEFT has factors of linear layers and of convolutions of two and three axes only: remove '${module}' from 'targets', or adapt it by lora`
  if (of === 'outputs') return undefined
  if (part)
    return `it shares them with the other parts of '${part.of}': remove '${module}' from 'feedforward', so that its outputs are multiplied, or name '${part.of}'`
  if (sites.some(({ isInputTransposed }) => isInputTransposed))
    return `its node reads them transposed (transA): remove '${module}' from 'feedforward', so that its outputs are multiplied`
  return undefined
}

/** Factors as the nodes of a layer multiply by them: [n], or [channels, 1, 1] of a convolution. */
export const toNodeFactors = ({ kind, factors }: ScalingLayer): readonly number[] =>
  kind === 'conv' ? factors.dims.slice(1) : [sizeOf(factors.dims)]

/** The weight that a node reads, with factors of (IA)^3: its rows or columns multiplied. */
export function scaleWeight({ layer, scaling: { of, factors } }: ScalingPair, weight: Float64Array): Float64Array {
  const { kind, outAxis, in: inputs, out, groups = 1, kernel = [], part } = layer
  const values = numbersOf(factors)
  const first = part ? part.sizes.slice(0, part.index).reduce((sum, size) => sum + size, 0) : 0
  const window = sizeOf(kernel)
  const width = kind === 'conv' ? out : weight.length / inputs
  const perOutput = weight.length / width
  return weight.map((w, i) => {
    const output = outAxis === 0 ? Math.floor(i / perOutput) : i % width
    const input = outAxis === 0 ? Math.floor((i % perOutput) / window) : Math.floor(i / width)
    const group = Math.floor((output * groups) / width)
    const index = of === 'outputs' ? output - first : group * (inputs / groups) + input
    return index >= 0 && index < values.length ? w * values[index]! : w
  })
}

/** A bias with factors of outputs. An element for all outputs of a Gemm is repeated for each of them. */
export function scaleBias(name: string, { layer, scaling }: ScalingPair, bias: Tensor): Tensor {
  const { first, width } = findOutputs(layer)
  const [values, elements] = [numbersOf(scaling.factors), numbersOf(bias)]
  const dims = [...bias.dims.slice(0, -1), width]
  const isRepeated = bias.dims.at(-1) !== width
  const scaled = Float64Array.from(
    { length: sizeOf(dims) },
    (_, i) => elements[isRepeated ? Math.floor(i / width) : i]! * (values[(i % width) - first] ?? 1),
  )
  return roundMerged(name, bias.dtype, dims, scaled)
}
