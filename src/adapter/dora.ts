import { tensorFrom } from '../ir/leaf.js'
import type { Tensor } from '../ir/tensor.js'
import { intAttribute, intsAttribute } from '../onnx/proto/attribute.js'
import type { AttributeProto, NodeProto } from '../onnx/proto/schema.js'
import type { AdapterLayer } from './adapter.js'
import type { Layer, Site } from './layers.js'
import { findOutputs, outputNorms, readWeight } from './merged-weight.js'
import { weightInput } from './saved-modules.js'

/** Adds a node of an adapter, named after its role, and returns the name of its output. */
export type AddNode = (
  operator: string,
  role: string,
  inputs: readonly string[],
  attributes?: readonly AttributeProto[],
  output?: string,
) => string

/** Functions that add nodes and tensors to a model. */
export interface Additions {
  /** Operator set of the model. */
  readonly version: number
  readonly add: AddNode
  /** Adds a tensor that nodes of several sites read, once. Returns its name. */
  constant(name: string, create: () => Tensor): string
  /** The tensors of the model. */
  tensors(): ReadonlyMap<string, Tensor>
}

interface Pair {
  readonly layer: Layer
  readonly adapter: AdapterLayer
}

/** Names of values: the output of the base node, the product s B A x, and the output of the layer. */
interface Values {
  readonly base: string
  readonly delta: string
  readonly output: string
}

/**
 * Adds DoRA (Liu et al. 2024): m / norm (W x + s B A x) + bias, with the norm of W + s B A by output. The norm is
 * computed in the graph; training takes it as a constant.
 * @param pairs an adapter layer, or those of the parts of a packed layer
 */
export function addNormalized(pairs: readonly Pair[], site: Site, values: Values, additions: Additions): void {
  const { add, constant } = additions
  const [{ layer, adapter }] = pairs as [Pair]
  const role = (name: string) => `${adapter.module}/lora_${name}`
  const tensor = (name: string) => `${adapter.module}.lora_${name}`
  /** A value with one element for each output, broadcast along the outputs of the node. */
  const alongOutputs = (value: string, name: string): string => {
    if (layer.kind !== 'conv') return value
    const dims = () => int64([-1, ...layer.kernel!.map(() => 1)])
    return add('Reshape', role(name), [value, constant(tensor('channels'), dims)])
  }
  const { base, delta, output } = values
  const ratio = alongOutputs(
    layer.part ? addRatios(pairs, site, additions) : addRatio(pairs[0]!, site, additions),
    'ratio',
  )
  const bias = findBias(site.node)
  if (!bias) {
    add('Mul', role('add'), [add('Add', role('sum'), [base, delta]), ratio], [], output)
    return
  }
  const added = alongOutputs(addScaled(bias, adapter.module, site, 'beta', additions), 'bias')
  const unbiased = add('Sub', role('unbiased'), [base, added])
  const changed = add('Add', role('sum'), [unbiased, delta])
  add('Add', role('add'), [add('Mul', role('normalized'), [changed, ratio]), added], [], output)
}

/** The bias that a node itself adds. */
function findBias({ opType, input }: NodeProto): string | undefined {
  if (opType === 'Gemm' || opType === 'Conv') return input[2]
  return opType === 'MatMulNBits' ? input[5] : undefined
}

/** A value times an attribute of the node, unless that is 1. */
function addScaled(
  value: string,
  module: string,
  { dtype, attributes }: Site,
  attribute: 'alpha' | 'beta',
  { add, constant }: Additions,
): string {
  const factor = Number(attributes[attribute] ?? 1)
  if (factor === 1) return value
  const name = constant(`${module}.lora_${attribute}`, () => tensorFrom(dtype, [], [factor]))
  return add('Mul', `${module}/lora_${attribute}`, [value, name])
}

/** m / norm of each output. */
function addRatio(pair: Pair, site: Site, additions: Additions): string {
  const { module } = pair.adapter
  const norms = (isInBlocks(site) ? addBlockNorms : addNorms)(pair, site, additions)
  return additions.add('Div', `${module}/lora_ratio`, [`${module}.lora_magnitude_vector`, norms])
}

/** Whether the weight is in blocks that are not dequantized for the norms. */
const isInBlocks = ({ node }: Site): boolean => node.opType === 'MatMulNBits'

/** The ratios of the parts of a packed layer side by side; ones for parts without magnitudes. */
function addRatios(pairs: readonly Pair[], site: Site, additions: Additions): string {
  const [{ layer, adapter }] = pairs as [Pair]
  const ratios = layer.part!.sizes.map((size, index) => {
    const pair = pairs.find(({ layer: { part }, adapter: { magnitude } }) => part!.index === index && magnitude)
    if (pair) return addRatio(pair, site, additions)
    const dims = isInBlocks(site) ? [1, size] : [size]
    const ones = () => tensorFrom(site.dtype, dims, Array(size).fill(1))
    return additions.constant(`${adapter.module}.lora_unit_${index}`, ones)
  })
  return additions.add('Concat', `${adapter.module}/lora_ratio`, ratios, [intAttribute('axis', -1)])
}

/** The outputs of a layer on an axis of a value that has those of a whole packed layer. */
function addPart(
  value: string,
  axis: number,
  { layer, adapter: { module } }: Pair,
  { add, constant }: Additions,
): string {
  if (!layer.part) return value
  const { first } = findOutputs(layer)
  const bounds = Object.entries({ start: first, end: first + layer.out, axis }).map(([name, number]) =>
    constant(`${module}.lora_part_${name}`, () => int64([number])),
  )
  return add('Slice', `${module}/lora_part`, [value, ...bounds])
}

/**
 * Norms by output of W + s B A with W in blocks, which is not dequantized for that: the squares are
 * |W|^2 + s B (2 W A^T + A A^T s B), by output.
 */
function addBlockNorms(pair: Pair, { node, dtype }: Site, additions: Additions): string {
  const { add, constant, tensors } = additions
  const { layer, adapter } = pair
  const { module } = adapter
  const role = (name: string) => `${module}/lora_${name}`
  const rank = adapter.a.dims[0]!
  const squares = constant(`${module}.lora_squares`, () =>
    tensorFrom(
      dtype,
      [layer.out],
      outputNorms(layer, readWeight(layer, tensors())).map((norm) => norm ** 2),
    ),
  )
  const ones = constant(`${module}.lora_ones`, () => tensorFrom(dtype, [1, rank], Array(rank).fill(1)))
  const a = `${module}.lora_A.weight`
  const exact = node.attribute.filter(({ name }) => name !== 'accuracy_level')
  const transposed = add('Transpose', role('gram'), [a], [intsAttribute('perm', [1, 0])])
  const blocks = node.input.slice(1, 5)
  while (blocks.at(-1) === '') blocks.pop()
  const projected = addPart(add('MatMulNBits', role('gram'), [transposed, ...blocks], exact), 1, pair, additions)
  const up = add('Mul', role('gram'), [`${module}.lora_B.weight`, `${module}.lora_scale`])
  const gram = add('MatMul', role('gram'), [transposed, a])
  const own = add('MatMul', role('squares'), [gram, up])
  const twice = add('Add', role('gram'), [projected, projected])
  const terms = add('Mul', role('change'), [up, add('Add', role('squares'), [twice, own])])
  const change = add('MatMul', role('change'), [ones, terms])
  return add('Sqrt', role('norm'), [add('Add', role('change'), [squares, change])])
}

/** Norms by output of W + s B A, with W as the node reads it, or dequantized. */
function addNorms(pair: Pair, site: Site, additions: Additions): string {
  const { version, add, constant } = additions
  const { layer, adapter } = pair
  const { module } = adapter
  const norm = `${module}/lora_norm`
  const [weight, change] =
    layer.kind === 'conv' ? addWindows(pair, site, additions) : addMatrices(pair, site, additions)
  const sum = add('Add', norm, [weight, change])
  const axis = layer.kind === 'conv' ? 1 : 1 - layer.outAxis
  const keepdims = intAttribute('keepdims', 0)
  return version >= 18
    ? add('ReduceL2', norm, [sum, constant(`${module}.lora_axes`, () => int64([axis]))], [keepdims])
    : add('ReduceL2', norm, [sum], [intsAttribute('axes', [axis]), keepdims])
}

/** The weight of a linear layer or an embedding, and s B A in the same layout. */
function addMatrices(pair: Pair, site: Site, additions: Additions): readonly [weight: string, change: string] {
  const { add, constant } = additions
  const { layer, adapter } = pair
  const { module } = adapter
  const norm = `${module}/lora_norm`
  const { node } = site
  const stored = layer.table
    ? add(
        'GatherBlockQuantized',
        norm,
        node.input.with(
          1,
          constant(`${module}.lora_rows`, () => int64([...Array(layer.in).keys()])),
        ),
        node.attribute,
      )
    : node.input[weightInput(layer)]!
  const weight = addPart(addScaled(stored, module, site, 'alpha', additions), layer.outAxis, pair, additions)
  const product = add('MatMul', norm, [`${module}.lora_A.weight`, `${module}.lora_B.weight`])
  const change = add('Mul', norm, [product, `${module}.lora_scale`])
  return [weight, layer.outAxis === 0 ? add('Transpose', norm, [change], [intsAttribute('perm', [1, 0])]) : change]
}

/**
 * The weight of a convolution as [out, in / groups * window], and s B A in the same layout. As in PEFT, whose
 * magnitudes belong to its norms, B of several groups is read as [out / groups, r], and the product in the order of its
 * elements.
 */
function addWindows({ layer, adapter }: Pair, { node }: Site, { add, constant }: Additions): readonly [string, string] {
  const { module, a } = adapter
  const norm = `${module}/lora_norm`
  const reshape = (role: string, value: string, dims: readonly number[]) =>
    add('Reshape', `${norm}_${role}`, [value, constant(`${module}.lora_norm_${role}`, () => int64(dims))])
  const up = reshape('B', `${module}.lora_B.weight`, [-1, a.dims[0]!])
  const down = add('Flatten', `${norm}_A`, [`${module}.lora_A.weight`])
  const change = add('Mul', norm, [add('MatMul', norm, [up, down]), `${module}.lora_scale`])
  const weight = add('Flatten', `${norm}_weight`, [node.input[weightInput(layer)]!])
  return [weight, reshape('change', change, [layer.out, -1])]
}

const int64 = (values: readonly number[]): Tensor => tensorFrom('int64', [values.length], values)
