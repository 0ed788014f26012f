import { sizeOf } from '../../ir/tensor.js'
import { withBodies } from '../../ir/topology.js'
import type { Graph, Node, Value } from '../../ir/value.js'
import { importGraph } from '../../onnx/import/import-graph.js'
import type { Model } from '../../onnx/model.js'
import { edit } from '../../onnx/proto/message.js'
import { inputsWith } from '../../op/facts.js'
import { definitionOf } from '../../op/op.js'
import { append } from '../../util/append.js'
import { checkArguments } from '../../util/check.js'
import { OnnxIreError, prefixError } from '../../util/errors.js'
import { matchNames, type NamePatterns } from '../../util/pattern.js'
import { addCopies, findCopies, separateCopies } from './separate-statistics.js'
import { findWeights } from './trainable.js'

/** A tensor that several layers share: training changes it for all of them. */
export interface SharedTensor {
  readonly tensor: string
  /** Names of the layers that read the tensor, in the order of the model. */
  readonly layers: readonly string[]
}

/**
 * Finds the weights that several layers share: stored once and read by each, also through nodes that copy, transpose or
 * reshape. Embeddings tied to a last layer are shared on purpose; exporters also store equal initial tensors once.
 */
export function findSharedTensors(graph: Graph): readonly SharedTensor[] {
  const users = findUsers(graph)
  return [...findWeights(graph)].flatMap((weight) => {
    const layers = layersOf(weight, users)
    return layers.length > 1 ? [{ tensor: weight.name!, layers: layers.map(nameOf) }] : []
  })
}

/**
 * Gives layers that share a tensor tensors of their own with the same elements. A copy that the file names keeps this
 * name; others get the name of the tensor with a number. Training and export then treat them separately.
 * @param which patterns of the names of shared tensors; true for all
 *
 * @example
 * const separate = untieTensors(await readModel('resnet18.onnx'), true)
 *
 * @throws OnnxIreError `invalid-option` for a pattern without a shared tensor, and for a tensor that cannot be
 * separated
 */
export function untieTensors(model: Model, which: true | NamePatterns): Model {
  checkArguments('untieTensors(model, true)', { which })
  const graph = importGraph(model)
  const shared = findSharedTensors(graph).map(({ tensor }) => tensor)
  const names = which === true ? shared : selectShared(which, shared)
  if (names.length === 0) return model
  const chosen = new Set(names)
  checkReaders(graph, chosen)
  const copied = new Map([...findCopies(model.proto.graph!)].filter(([, name]) => chosen.has(name)))
  const proto = separateCopies(model.proto.graph!, copied)
  const separated = new Set([...chosen, ...copied.keys()])
  const taken = new Set(proto.node.flatMap(({ output }) => output))
  for (const { name = '' } of [...proto.initializer, ...proto.input]) taken.add(name)
  const copies = new Map<string, string>()
  const read = new Set<string>()
  const node = proto.node.map((each) => {
    const input = each.input.map((name) => {
      if (!separated.has(name)) return name
      if (!read.has(name)) {
        read.add(name)
        return name
      }
      let number = 2
      while (taken.has(`${name}.${number}`)) number++
      const copy = `${name}.${number}`
      taken.add(copy)
      copies.set(copy, name)
      return copy
    })
    return input.every((name, i) => name === each.input[i]) ? each : edit(each, { input })
  })
  const untied = { ...model, proto: edit(model.proto, { graph: addCopies(edit(proto, { node }), copies) }) }
  const left = findSharedTensors(importGraph(untied)).find(({ tensor }) => chosen.has(tensor))
  if (left)
    throw new OnnxIreError(
      'invalid-option',
      `untie: the tensor '${left.tensor}' cannot be separated for the layers ${left.layers.join(', ')}: it is no initializer, one node prepares it for several layers, or one of them is in a body of If, Loop or Scan. Leave it out of untie`,
    )
  return untied
}

function selectShared(patterns: NamePatterns, shared: readonly string[]): readonly string[] {
  try {
    return matchNames(patterns, shared, 'tensor that several layers share')
  } catch (error) {
    throw prefixError(error, 'untie')
  }
}

type Users = ReadonlyMap<Value, readonly Node[]>

function findUsers(graph: Graph): Users {
  const users = new Map<Value, Node[]>()
  for (const node of withBodies(graph.outputs.values()))
    for (const x of new Set(node.inputs)) if (x) append(users, x, node)
  return users
}

/** Layers that read a value as a weight, directly or through nodes that keep all of its elements. */
function layersOf(value: Value, users: Users): readonly Node[] {
  const found = (users.get(value) ?? []).flatMap((node) =>
    keepsElements(node) ? layersOf(node.outputs[0]!, users) : readsAsWeight(node, value) ? [node] : [],
  )
  return [...new Set(found)]
}

function readsAsWeight(node: Node, value: Value): boolean {
  if (inputsWith('weights', node).includes(value)) return true
  const isBias = inputsWith('vectorWeights', node).includes(value)
  return isBias && node.inputs.some((x) => x !== value && x?.source.kind === 'node')
}

function keepsElements({ operator, inputs, outputs }: Node): boolean {
  if (definitionOf(operator).view === undefined) return false
  const [x, y] = [inputs[0]?.shape, outputs[0]?.shape]
  const isKnown = (shape: typeof x): shape is readonly number[] =>
    shape?.every((dim) => typeof dim === 'number') === true
  return isKnown(x) && isKnown(y) && sizeOf(x) === sizeOf(y)
}

/**
 * Throws `invalid-option` if a tensor has a reader that is no layer: it would have to read the tensor of one of them.
 */
function checkReaders(graph: Graph, names: ReadonlySet<string>): void {
  const users = findUsers(graph)
  for (const name of names) {
    const other = (users.get(graph.parameters.get(name)!) ?? []).find(
      (node) => !keepsElements(node) && !readsAsWeight(node, graph.parameters.get(name)!),
    )
    if (other)
      throw new OnnxIreError(
        'invalid-option',
        `untie: the tensor '${name}' cannot be separated: ${nameOf(other)} reads it too, and is no layer. Leave it out of untie`,
      )
  }
}

const nameOf = ({ operator, name, outputs }: Node): string => name || `${operator} '${outputs[0]?.name ?? '?'}'`
