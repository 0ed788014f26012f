import { castTensor, numbersOf, tensorFrom } from '../ir/leaf.js'
import type { Tensor } from '../ir/tensor.js'
import { readOperatorSets } from '../onnx/import/declarations.js'
import { walkNodes } from '../onnx/import/model-nodes.js'
import { type Model, namedTensors } from '../onnx/model.js'
import { floatAttribute, intAttribute } from '../onnx/proto/attribute.js'
import { create, edit } from '../onnx/proto/message.js'
import type { NodeProto, TensorProto, ValueInfoProto } from '../onnx/proto/schema.js'
import { toTensorProto } from '../onnx/proto/tensor.js'
import { append } from '../util/append.js'
import { claimName } from '../util/claim-name.js'
import { OnnxIreError } from '../util/errors.js'
import type { AdapterConfig, AdapterLayer, SavedModule } from './adapter.js'
import { groupsOf } from './convolution-groups.js'
import { type Additions, type AddNode, addNormalized } from './dora.js'
import type { Layer, LayerOptions, Site } from './layers.js'
import { addRecord, type LayerRecord, type SavedRecord, type ScalingRecord, type SiteRecord } from './record.js'
import { type Place, type Redirections, redirect, toNodeWeight, type WholeLayer } from './saved-modules.js'
import { type ScalingPair, toNodeFactors } from './scalings.js'
import { replaceNodes } from './scopes.js'
import { transpose } from './stored-layers.js'

/** An adapter layer and the layer of the model that it changes. */
export interface LayerPair {
  readonly layer: Layer
  readonly adapter: AdapterLayer
  /**
   * Initial A and B of PiSSA (Meng et al. 2024), which the layer subtracts: y = W x + s (B A - B0 A0) x. That is the
   * residual weight W - s B0 A0 with the adapter, without a change of W.
   */
  readonly start?: Pick<AdapterLayer, 'a' | 'b'>
}

/** A module that is trained as a whole, and its layer in the model. */
export interface SavedPair {
  readonly whole: WholeLayer
  readonly saved: SavedModule
}

/** Inserts adapter layers that fit their layers, and modules that are trained as a whole. */
export function insertAdapter(
  model: Model,
  pairs: readonly LayerPair[],
  config: AdapterConfig,
  {
    qkvSizes,
    saved = [],
    scalings = [],
  }: LayerOptions & { readonly saved?: readonly SavedPair[]; readonly scalings?: readonly ScalingPair[] },
): Model {
  const graph = model.proto.graph!
  const inserted = new Insertion(model, config.dropout ?? 0)
  /** Adapter layers by site. A packed layer has several. */
  const bySite = new Map<NodeProto, LayerPair[]>()
  for (const pair of pairs) for (const { node } of pair.layer.sites) append(bySite, node, pair)
  for (const of of bySite.values()) checkParts(of)
  for (const { whole } of saved)
    if (whole.layer.sites.some(({ node }) => bySite.has(node)))
      throw new OnnxIreError(
        'invalid-data',
        `adapter: module '${whole.layer.module}' has a low-rank change and is trained as a whole; it can be only one of both`,
      )
  const records = pairs.map((pair) => inserted.addTensors(pair))
  const changes: Redirections = new Map()
  const savedRecords = saved.map((pair) => inserted.addSaved(pair, changes))
  /** Factors of outputs, and of inputs, by the node that they change. */
  const [scaledOutputs, scaledInputs] = [new Map<NodeProto, ScalingPair[]>(), new Map<NodeProto, ScalingPair>()]
  for (const pair of scalings)
    if (pair.scaling.of === 'outputs') for (const output of new Set(pair.outputs)) append(scaledOutputs, output, pair)
    else for (const { node } of pair.layer.sites) scaledInputs.set(node, pair)
  const scalingRecords = scalings.map((pair) => inserted.addFactors(pair))
  const node = replaceNodes(graph, (base) => {
    const at = bySite.get(base)
    if (at) return inserted.addSite(base, at)
    const [outputs, inputs] = [scaledOutputs.get(base), scaledInputs.get(base)]
    const redirected = redirect(base, changes)
    const before = inputs ? inserted.scaleInput(redirected, inputs) : [redirected]
    return outputs ? [...before.slice(0, -1), ...inserted.scaleOutput(before.at(-1)!, outputs)] : before
  })
  const edited = edit(graph, {
    node,
    initializer: [...graph.initializer, ...inserted.tensors],
    // Up to IR version 3 initializers are declared among the inputs.
    ...((model.proto.irVersion ?? 3n) < 4n && { input: [...graph.input, ...inserted.tensors.map(declare)] }),
  })
  const proto = edit(model.proto, { graph: edited })
  return {
    ...model,
    proto: addRecord(proto, {
      version: 1,
      config,
      ...(qkvSizes && { qkvSizes }),
      layers: records,
      sites: inserted.sites,
      ...(saved.length > 0 && { saved: savedRecords }),
      ...(scalings.length > 0 && { scalings: scalingRecords }),
    }),
  }
}

/** Throws `invalid-option` if a packed layer is changed both as a whole and in parts, or a layer twice. */
function checkParts(pairs: readonly LayerPair[]): void {
  const places = pairs.map(({ layer }) => layer.part?.index)
  if (places.length > 1 && (places.includes(undefined) || new Set(places).size < places.length))
    throw new OnnxIreError(
      'invalid-option',
      `adapter: ${pairs.map(({ layer }) => layer.module).join(' and ')} change the same weight: choose the packed layer or its parts`,
    )
}

const declare = ({ name, dims, dataType }: TensorProto): ValueInfoProto =>
  create('ValueInfoProto', {
    name,
    type: create('TypeProto', {
      tensorType: create('TensorType', {
        elemType: dataType,
        shape: create('TensorShapeProto', { dim: Array.from(dims, (dimValue) => create('Dimension', { dimValue })) }),
      }),
    }),
  })

const microsoftOperators: readonly string[] = ['FusedMatMul', 'MatMulNBits', 'GatherBlockQuantized']

/** Nodes and tensors that an adapter adds to a model. */
class Insertion {
  readonly tensors: TensorProto[] = []
  readonly sites: SiteRecord[] = []
  readonly #version: number
  readonly #dropout: number
  readonly #taken: Set<string>
  /** Tensors that nodes of several sites read. */
  readonly #shared = new Set<string>()
  readonly #base: Model
  /** The tensors of the model, once they are needed. */
  #stored: ReadonlyMap<string, Tensor> | undefined

  constructor(base: Model, dropout: number) {
    const { proto } = base
    this.#base = base
    this.#version = readOperatorSets(proto.opsetImport).get('') ?? 1
    this.#dropout = dropout
    const { input, initializer } = proto.graph!
    this.#taken = new Set([...input, ...initializer].map(({ name = '' }) => name))
    for (const { name = '', output } of walkNodes(proto.graph!))
      for (const each of [name, ...output]) this.#taken.add(each)
  }

  /** Adds the tensors of a layer. */
  addTensors({ layer, adapter, start }: LayerPair): LayerRecord {
    const { kind, node, sites } = layer
    const { module, a, b, scale, magnitude } = adapter
    const { dtype } = sites[0]!
    this.#addTensor(`${module}.lora_scale`, tensorFrom(dtype, [], [scale]))
    if (this.#dropout > 0 && this.#version >= 12)
      this.#addTensor(`${module}.lora_dropout`, tensorFrom(dtype, [], [this.#dropout]))
    return {
      module,
      kind,
      node,
      r: a.dims[0]!,
      scale,
      a: this.#addTensor(`${module}.lora_A.weight`, castTensor(kind === 'conv' ? a : transpose(a), dtype)),
      b: this.#addTensor(`${module}.lora_B.weight`, castTensor(kind === 'conv' ? b : transpose(b), dtype)),
      ...(magnitude && { magnitude: this.#addTensor(`${module}.lora_magnitude_vector`, castTensor(magnitude, dtype)) }),
      ...(start && {
        start: {
          a: this.#addTensor(`${module}.lora_A0.weight`, castTensor(transpose(start.a), dtype)),
          b: this.#addTensor(`${module}.lora_B0.weight`, negate(castTensor(transpose(start.b), dtype))),
        },
      }),
    }
  }

  /** Adds the tensors of a module that is trained as a whole, and what its nodes read instead of their own. */
  addSaved({ whole, saved }: SavedPair, changes: Redirections): SavedRecord {
    const { layer, weightPlaces, bias } = whole
    const { module } = saved
    const places: SavedRecord['places'][number][] = []
    const add = (role: string, tensor: Tensor, of: readonly Place[]) => {
      const name = this.#addTensor(`${module}.lora_saved.${role}`, tensor)
      for (const { node, at } of of) {
        append(changes, node, { at, name })
        places.push({ output: node.output[0]!, at, name: node.input[at]! })
      }
      return name
    }
    return {
      module,
      weight: add('weight', toNodeWeight(whole, saved), weightPlaces),
      ...(bias && { bias: add('bias', castTensor(saved.bias!, bias.stored.dtype), bias.places) }),
      transposed: layer.kind === 'linear' && layer.outAxis === 1,
      places,
    }
  }

  /** Adds the factors of a layer. */
  addFactors({ layer, scaling }: ScalingPair): ScalingRecord {
    const { module, kind, of, factors } = scaling
    const dims = toNodeFactors(scaling)
    const { dtype } = layer.sites[0]!
    return {
      module,
      kind,
      of,
      factors: this.#addTensor(`${module}.ia3_l`, tensorFrom(dtype, dims, numbersOf(factors))),
      places:
        of === 'inputs' ? layer.sites.map(({ node, input }) => ({ output: node.output[0]!, at: 0, name: input })) : [],
    }
  }

  /** A node that reads its input multiplied by factors, after the product. */
  scaleInput(base: NodeProto, { scaling: { module } }: ScalingPair): readonly NodeProto[] {
    const name = this.#claimNumbered(`${module}/ia3_inputs`)
    const product = multiply(name, [base.input[0]!, `${module}.ia3_l`], name)
    return [product, edit(base, { input: base.input.with(0, name) })]
  }

  /**
   * A node with a renamed output, and the product of that and factors; those of a packed layer's parts side by side.
   */
  scaleOutput(base: NodeProto, pairs: readonly ScalingPair[]): readonly NodeProto[] {
    const { layer, scaling } = pairs[0]!
    const { module } = scaling
    const name = this.#claimNumbered(`${module}/ia3_outputs`)
    const [output, renamed] = [base.output[0]!, this.#claim(`${name}_base`)]
    this.sites.push({ output, base: renamed })
    const renaming = edit(base, { output: [renamed, ...base.output.slice(1)] })
    if (!layer.part) return [renaming, multiply(name, [renamed, `${module}.ia3_l`], output)]
    const input = layer.part.sizes.map((size, index) => {
      const pair = pairs.find((each) => each.layer.part!.index === index)
      if (pair) return `${pair.scaling.module}.ia3_l`
      const ones = `${module}.ia3_ones_${index}`
      return this.#addShared(ones, () => tensorFrom(layer.sites[0]!.dtype, [size], Array(size).fill(1)))
    })
    const all = this.#claim(`${name}_factors`)
    const concat = { opType: 'Concat', name: all, input, output: [all], attribute: [intAttribute('axis', 0)] }
    return [renaming, create('NodeProto', concat), multiply(name, [renamed, all], output)]
  }

  /** A free name: the given one, or with a number if a module is computed several times. */
  #claimNumbered(name: string): string {
    return claimName(name, this.#taken)
  }

  /** The nodes that replace a base node: itself with a renamed output, and those of its adapter layers. */
  addSite(base: NodeProto, pairs: readonly LayerPair[]): readonly NodeProto[] {
    const { layer, adapter } = pairs[0]!
    const use = layer.sites.findIndex(({ node }) => node === base)
    const site = layer.sites[use]!
    const suffix = use === 0 ? '' : `_${use}`
    const nodes: NodeProto[] = []
    const add: AddNode = (operator, role, inputs, attributes = [], output) => {
      const name = this.#claim(`${role}${suffix}/${operator}`)
      const result = output ?? this.#claim(`${name}_output_0`)
      const domain = microsoftOperators.includes(operator) ? 'com.microsoft' : undefined
      nodes.push(
        create('NodeProto', { opType: operator, domain, name, input: inputs, output: [result], attribute: attributes }),
      )
      return result
    }
    const output = base.output[0]!
    // Parts of a packed layer share its sum, which is named after the first of them.
    const renamed = this.#claim(`${adapter.module}/lora_base${suffix}`)
    const delta = layer.part ? this.#addParts(pairs, site, add) : this.#addProduct(pairs[0]!, site, add)
    if (pairs.some((pair) => pair.adapter.magnitude))
      addNormalized(pairs, site, { base: renamed, delta, output }, this.#additions(add))
    else add('Add', `${adapter.module}/lora_add`, [renamed, delta], [], output)
    this.sites.push({ output, base: renamed })
    return [edit(base, { output: [renamed, ...base.output.slice(1)] }), ...nodes]
  }

  /** s A x, the activation of rank r. */
  #addHidden(
    { layer, adapter: { module }, start }: LayerPair,
    { input, node, isInputTransposed }: Site,
    add: AddNode,
  ): string {
    const trained = `${module}.lora_A.weight`
    const a = start
      ? add('Concat', `${module}/lora_A_start`, [trained, `${module}.lora_A0.weight`], [intAttribute('axis', 1)])
      : trained
    const role = `${module}/lora_A`
    const down = () => {
      if (layer.kind === 'embedding') return add('Gather', role, [a, input])
      const x = this.#dropout > 0 ? this.#addDropout(module, input, add) : input
      // As in PEFT, A reads all channels; only B has the groups of the layer.
      const ungrouped = node.attribute.filter(({ name }) => name !== 'group')
      if (layer.kind === 'conv') return add('Conv', role, [x, a], ungrouped)
      return isInputTransposed
        ? add(node.opType!, role, [x, a], [intAttribute('transA', 1)])
        : add('MatMul', role, [x, a])
    }
    return add('Mul', `${module}/lora_scale`, [down(), `${module}.lora_scale`])
  }

  /** Dropout in inference mode, which training activates. */
  #addDropout(module: string, input: string, add: AddNode): string {
    return this.#version >= 12
      ? add('Dropout', `${module}/lora_dropout`, [input, `${module}.lora_dropout`])
      : add('Dropout', `${module}/lora_dropout`, [input], [floatAttribute('ratio', this.#dropout)])
  }

  /** B, with that of PiSSA below. */
  #addUp({ adapter: { module }, start }: LayerPair, add: AddNode): string {
    const trained = `${module}.lora_B.weight`
    return start
      ? add('Concat', `${module}/lora_B_start`, [trained, `${module}.lora_B0.weight`], [intAttribute('axis', 0)])
      : trained
  }

  /** s B A x */
  #addProduct(pair: LayerPair, site: Site, add: AddNode): string {
    const { module } = pair.adapter
    const inputs = [this.#addHidden(pair, site, add), this.#addUp(pair, add)]
    if (pair.layer.kind !== 'conv') return add('MatMul', `${module}/lora_B`, inputs)
    const groups = groupsOf(pair.adapter)
    return add('Conv', `${module}/lora_B`, inputs, groups === 1 ? [] : [intAttribute('group', groups)])
  }

  /** The products of the parts of a packed layer side by side; zeros for parts without an adapter layer. */
  #addParts(pairs: readonly LayerPair[], site: Site, add: AddNode): string {
    const { sizes } = pairs[0]!.layer.part!
    const { module } = pairs[0]!.adapter
    if (this.#version < 11)
      throw new OnnxIreError(
        'invalid-model',
        `adapter: module '${module}' is a part of a packed layer, which needs operator set 11 or later: convert the model`,
      )
    const rank = pairs[0]!.adapter.a.dims[0]! * (pairs[0]!.start ? 2 : 1)
    const hidden = this.#addHidden(pairs[0]!, site, add)
    const products = sizes.map((size, index) => {
      const pair = pairs.find(({ layer }) => layer.part!.index === index)
      if (pair === pairs[0]) return add('MatMul', `${module}/lora_B`, [hidden, this.#addUp(pair!, add)])
      if (pair) return this.#addProduct(pair, site, add)
      const zeros = `${module}.lora_zeros_${index}`
      this.#addShared(zeros, () => tensorFrom(site.dtype, [rank, size], new Float64Array(rank * size)))
      return add('MatMul', `${module}/lora_zeros_${index}`, [hidden, zeros])
    })
    return add('Concat', `${module}/lora_concat`, products, [intAttribute('axis', -1)])
  }

  #additions(add: AddNode): Additions {
    return {
      version: this.#version,
      add,
      constant: (name, create) => this.#addShared(name, create),
      tensors: () => (this.#stored ??= namedTensors(this.#base)),
    }
  }

  /** Adds a tensor unless a node has added it before. */
  #addShared(name: string, create: () => Tensor): string {
    if (this.#shared.has(name)) return name
    this.#shared.add(name)
    return this.#addTensor(name, create())
  }

  #addTensor(name: string, tensor: Tensor): string {
    this.tensors.push(toTensorProto(this.#claim(name), tensor))
    return name
  }

  /** Returns a name that the model does not have yet; throws `invalid-model` if it has. */
  #claim(name: string): string {
    if (this.#taken.has(name))
      throw new OnnxIreError('invalid-model', `adapter: the model already has a tensor or node named '${name}'`)
    this.#taken.add(name)
    return name
  }
}

const multiply = (name: string, input: string[], output: string): NodeProto =>
  create('NodeProto', { opType: 'Mul', name, input, output: [output] })

const negate = ({ dtype, dims, ...tensor }: Tensor): Tensor =>
  tensorFrom(
    dtype,
    dims,
    numbersOf({ dtype, dims, ...tensor }).map((x) => -x),
  )
