import { isFloat } from '../ir/dtype.js'
import { numbersOf, tensorFrom } from '../ir/leaf.js'
import { checksumTensor, type Tensor } from '../ir/tensor.js'
import { checkModel, type Model, namedTensors } from '../onnx/model.js'
import { edit } from '../onnx/proto/message.js'
import type { NodeProto } from '../onnx/proto/schema.js'
import { append } from '../util/append.js'
import { checksum } from '../util/checksum.js'
import { OnnxIreError } from '../util/errors.js'
import type { Adapter, AdapterLayer } from './adapter.js'
import { type AdapterRecord, createInsertedMatcher, findRecord, removeRecord } from './record.js'
import { replaceNodes } from './scopes.js'
import { transpose } from './stored-layers.js'

/**
 * Reads the adapter of a model, trained or not. One that began with PiSSA has twice the rank: what was trained and,
 * negated, the initial values.
 *
 * @example
 * const adapter = adapterOf(trainer.export())
 *
 * @throws OnnxIreError `invalid-option` if the model has no adapter, `invalid-model` if tensors of it are missing
 */
export function adapterOf(model: Model): Adapter {
  const { config, layers, saved = [], scalings = [] } = recordOf(model)
  const tensors = namedTensors(model)
  const find = (name: string) => {
    const tensor = tensors.get(name)
    if (tensor && isFloat(tensor.dtype)) return tensor
    throw new OnnxIreError(
      'invalid-model',
      `the tensor '${name}' of the model's adapter is ${tensor ? tensor.dtype : 'missing'}: another program has changed the adapter; use the file from before that`,
    )
  }
  const findMatrix = (name: string) => {
    const tensor = find(name)
    if (tensor.dims.length === 2) return transpose(tensor)
    throw new OnnxIreError(
      'invalid-model',
      `the tensor '${name}' of the model's adapter has ${tensor.dims.length} axes instead of 2: another program has changed the adapter; use the file from before that`,
    )
  }
  return {
    config,
    layers: layers.map(({ module, kind, scale, a, b, magnitude, start }): AdapterLayer => {
      return {
        module,
        kind,
        a: kind === 'conv' ? find(a) : start ? stack(findMatrix(a), findMatrix(start.a)) : findMatrix(a),
        b: kind === 'conv' ? find(b) : start ? transpose(stack(find(b), find(start.b))) : findMatrix(b),
        scale,
        ...(magnitude !== undefined && { magnitude: find(magnitude) }),
      }
    }),
    ...(scalings.length > 0 && {
      scalings: scalings.map(({ module, kind, of, factors }) => {
        const tensor = find(factors)
        const dims = of === 'outputs' && kind === 'linear' ? [...tensor.dims, 1] : [1, ...tensor.dims]
        return { module, kind, of, factors: { ...tensor, dims } }
      }),
    }),
    ...(saved.length > 0 && {
      saved: saved.map(({ module, weight, bias, transposed }) => ({
        module,
        weight: transposed ? findMatrix(weight) : find(weight),
        ...(bias !== undefined && { bias: find(bias) }),
      })),
    }),
  }
}

/** The rows of two matrices. */
const stack = (top: Tensor, bottom: Tensor): Tensor =>
  tensorFrom(top.dtype, [top.dims[0]! + bottom.dims[0]!, top.dims[1]!], [...numbersOf(top), ...numbersOf(bottom)])

/**
 * Removes the adapter of a model: the bytes are those of the model before the adapter was inserted.
 *
 * @example
 * const base = removeAdapter(trainer.export())
 *
 * @throws OnnxIreError `invalid-option` if the model has no adapter, `invalid-model` if another program has changed the
 *   nodes of the adapter
 */
export function removeAdapter(model: Model): Model {
  const record = recordOf(model)
  const graph = model.proto.graph!
  const isInserted = createInsertedMatcher(record)
  const original = new Map(record.sites.map(({ base, output }) => [base, output]))
  const places = new Map<string, { readonly at: number; readonly name: string }[]>()
  for (const { output, at, name } of [...(record.saved ?? []), ...(record.scalings ?? [])].flatMap(
    ({ places }) => places,
  ))
    append(places, output, { at, name })
  const restoreInputs = (node: NodeProto): NodeProto => {
    const own = places.get(node.output[0] ?? '')
    if (!own) return node
    places.delete(node.output[0]!)
    return edit(node, { input: own.reduce((input, { at, name }) => input.with(at, name), node.input) })
  }
  const restoreOutput = (node: NodeProto): NodeProto => {
    const output = original.get(node.output[0] ?? '')
    if (output === undefined) return node
    original.delete(node.output[0]!)
    return edit(node, { output: [output, ...node.output.slice(1)] })
  }
  const node = replaceNodes(graph, (each) => (isInserted(each.name ?? '') ? [] : [restoreOutput(restoreInputs(each))]))
  const [missing] = [...original.keys(), ...places.keys()]
  if (missing !== undefined)
    throw new OnnxIreError(
      'invalid-model',
      `the node with the output '${missing}' is missing: another program has changed the nodes of the adapter; use the file from before that`,
    )
  const edited = edit(graph, {
    node,
    initializer: graph.initializer.filter(({ name = '' }) => !isInserted(name)),
    input: graph.input.filter(({ name = '' }) => !isInserted(name)),
  })
  return { ...model, proto: edit(removeRecord(model.proto), { graph: edited }) }
}

/** The record of a model with an adapter. Throws `invalid-option` for other models. */
export function recordOf(model: Model): AdapterRecord {
  checkModel(model)
  const record = findRecord(model.proto)
  if (record) return record
  throw new OnnxIreError(
    'invalid-option',
    'the model has no adapter of this library: create one with lora, or insert one with applyAdapter',
  )
}

/**
 * Computes a checksum of a model's tensors without those of its adapter, by which an adapter names its base
 * (`AdapterConfig.baseChecksum`). The float model and its 4-bit form have different ones.
 *
 * @example
 * ```ts
 * const fits = adapter.config.baseChecksum === checksumBase(model)
 * ```
 */
export function checksumBase(model: Model): string {
  checkModel(model)
  const base = findRecord(model.proto) ? removeAdapter(model) : model
  const tensors = [...namedTensors(base)].sort(([a], [b]) => (a < b ? -1 : 1))
  return checksum(tensors.flatMap(([name, tensor]) => [name, checksumTensor(tensor)]))
}
