import type { Random } from 'onnx-ire/data'
import { create, edit } from '../../../dist/onnx/proto/message.js'
import {
  attributeTypes,
  type Dimension,
  type GraphProto,
  type ModelProto,
  type NodeProto,
  type TypeProto,
  type ValueInfoProto,
} from '../../../dist/onnx/proto/schema.js'
import { changeOne, hostileIntegers, hostileNames, pick } from '../random.js'
import { withGraph } from './corpus.js'
import {
  attributeNames,
  dimsOf,
  elementTypes,
  extremeAttribute,
  manyOf,
  randomAttribute,
  randomTensor,
  symbols,
  tensorLike,
  typeOf,
} from './hostile-parts.js'

/** A change of a model that its structure suggests. */
export type Change = (proto: ModelProto, random: Random, operators: readonly string[]) => ModelProto

/**
 * Changes the node of the sample: the last one of the main graph, which is the operator under attack, or a random one.
 */
const onNode = (proto: ModelProto, random: Random, change: (node: NodeProto) => Partial<NodeProto>): ModelProto =>
  withGraph(proto, ({ node }) => {
    const at = random.integer(3) > 0 ? node.length - 1 : random.integer(Math.max(node.length, 1))
    return { node: node.map((each, i) => (i === at ? edit(each, change(each)) : each)) }
  })

const onInput = (proto: ModelProto, random: Random, change: (info: ValueInfoProto) => ValueInfoProto): ModelProto =>
  withGraph(proto, ({ input }) => ({ input: changeOne(random, input, change) }))

const typed = (info: ValueInfoProto, type: Partial<TypeProto>): ValueInfoProto =>
  edit(info, { type: create('TypeProto', type) })

const tensorType = (elemType: number, dim: readonly Dimension[] | undefined): Partial<TypeProto> => ({
  tensorType: create('TensorType', { elemType, ...(dim ? { shape: create('TensorShapeProto', { dim }) } : {}) }),
})

const length = (value: bigint | number): Dimension => create('Dimension', { dimValue: BigInt(value) })
const symbol = (dimParam: string): Dimension => create('Dimension', { dimParam })

const withDims = (info: ValueInfoProto, dims: readonly Dimension[] | undefined): ValueInfoProto =>
  typed(info, tensorType(typeOf(info), dims))

/** Renames a value everywhere in a graph and in its bodies. */
function renameIn(graph: GraphProto, from: string, to: string): GraphProto {
  const swap = (name: string | undefined) => (name === from ? to : name)
  const list = (names: readonly string[]) => names.map((name) => (name === from ? to : name))
  const named = <T extends { readonly name?: string | undefined }>(items: readonly T[]) =>
    items.map((item) => (item.name === from ? edit(item, { name: swap(item.name) } as Partial<T>) : item))
  return edit(graph, {
    input: named(graph.input),
    output: named(graph.output),
    initializer: named(graph.initializer),
    node: graph.node.map((node) =>
      edit(node, {
        input: list(node.input),
        output: list(node.output),
        attribute: node.attribute.map((each) => (each.g ? edit(each, { g: renameIn(each.g, from, to) }) : each)),
      }),
    ),
  })
}

const namesIn = ({ input, output, initializer, node }: GraphProto): string[] => [
  ...new Set([
    ...[...input, ...output, ...initializer].flatMap(({ name }) => name ?? []),
    ...node.flatMap((n) => n.output),
  ]),
]

/** The nodes of the graph as a function, called once, or through a chain of functions that call each other. */
function asFunction(proto: ModelProto, random: Random): ModelProto {
  const { graph } = proto
  if (!graph) return proto
  const inputs = graph.input.map(({ name = '' }) => name)
  const outputs = graph.output.map(({ name = '' }) => name)
  const name = pick(random, [...hostileNames, 'f', 'Add', 'Relu'])
  const domain = pick(random, ['', 'local', '__proto__', 'com.microsoft'])
  const depth = pick(random, [1, 1, 1, 2, 2, 50, 300, 5000])
  const recursive = random.integer(6) === 0
  const call = (opType: string) => create('NodeProto', { opType, domain, input: inputs, output: outputs })
  const nameOf = (level: number) => (level === 0 ? name : `${name.slice(0, 20)}${level}`)
  const functions = Array.from({ length: depth }, (_, level) =>
    create('FunctionProto', {
      name: nameOf(level),
      domain,
      input: inputs,
      output: outputs,
      opsetImport: proto.opsetImport,
      node: level + 1 < depth ? [call(nameOf(level + 1))] : recursive ? [call(name)] : graph.node,
    }),
  )
  const opsets = domain === '' ? [] : [create('OperatorSetIdProto', { domain, version: 1n })]
  const called = withGraph(proto, () => ({ node: [call(name)] }))
  return edit(called, { functions, opsetImport: [...proto.opsetImport, ...opsets] })
}

/** The graph inside of bodies of If, Loop or Scan, up to and beyond protobuf's own depth. */
function nested(proto: ModelProto, random: Random): ModelProto {
  const kind = pick(random, ['If', 'If', 'Loop', 'Scan'])
  const depth = pick(random, [1, 2, 5, 20, 33])
  return withGraph(proto, (graph) => {
    let inner = graph.node
    for (let level = 0; level < depth; level++) {
      const output = graph.output.map((each) => edit(each, { name: `${each.name}_${level}` }))
      const identities = graph.output.map((each, i) =>
        create('NodeProto', { opType: 'Identity', input: [each.name ?? ''], output: [output[i]!.name ?? ''] }),
      )
      const bodyOf = (name: string, node: readonly NodeProto[]) =>
        create('AttributeProto', {
          name,
          type: attributeTypes.graph,
          g: create('GraphProto', { name: `body${level}`, node: [...node, ...identities], output }),
        })
      // The other branch holds the nodes of the innermost graph: two copies per level would double the file each time.
      const branches =
        kind === 'If' ? [bodyOf('then_branch', inner), bodyOf('else_branch', graph.node)] : [bodyOf('body', inner)]
      const input = kind === 'If' ? [graph.input[0]?.name ?? 'c'] : ['', '', ''].slice(0, random.integer(4))
      const node = create('NodeProto', { opType: kind, input, output: graph.output.map(({ name = '' }) => name) })
      inner = [edit(node, { attribute: branches })]
    }
    return { node: inner }
  })
}

/** Many nodes: walks over a graph have to be linear. */
function long(proto: ModelProto, random: Random, operators: readonly string[]): ModelProto {
  const count = pick(random, [300, 300, 300, 300, 3000, 3000, 20_000])
  const kind = random.integer(4)
  return withGraph(proto, ({ node }) => {
    const from = node.at(-1)?.output[0] ?? 'x'
    const opType = kind === 0 ? 'Unknown' : kind === 1 ? undefined : pick(random, ['Identity', 'Relu', ...operators])
    const nodes = Array.from({ length: count }, (_, i) =>
      create('NodeProto', { opType, input: [i === 0 || kind === 2 ? from : `long${i - 1}`], output: [`long${i}`] }),
    )
    return { node: [...node, ...(kind === 3 ? nodes.reverse() : nodes)] }
  })
}

/** Structured changes, by name. */
export const changes: Readonly<Record<string, Change>> = {
  'no change': (proto) => proto,
  'missing operand': (proto, random) =>
    onNode(proto, random, ({ input }) => ({
      input:
        random.integer(2) === 0 ? changeOne(random, input, () => '') : input.slice(0, random.integer(input.length + 1)),
    })),
  'more operands': (proto, random) =>
    onNode(proto, random, ({ input }) => ({
      input: [...input, ...Array<string>(pick(random, [1, 2, 10, 1000, 100_000])).fill(input[0] ?? 'x')],
    })),
  'operands in another order': (proto, random) =>
    onNode(proto, random, ({ input }) => ({ input: random.shuffle([...input]) })),
  'unknown operand': (proto, random) =>
    onNode(proto, random, ({ input }) => ({ input: changeOne(random, input, () => pick(random, hostileNames)) })),
  'another number of outputs': (proto, random) =>
    onNode(proto, random, ({ output }) => ({
      output: pick(random, [
        [],
        [...output, 'more'],
        [...output, ...output],
        [...output, '', '', 'last'],
        ['', ...output],
      ]),
    })),
  'a cycle': (proto, random) =>
    onNode(proto, random, ({ input, output }) => ({ input: changeOne(random, input, () => output[0] ?? '') })),
  scalar: (proto, random) => onInput(proto, random, (info) => withDims(info, [])),
  'another rank': (proto, random) =>
    onInput(proto, random, (info) => {
      const dims = dimsOf(info)
      return withDims(
        info,
        pick(random, [dims.slice(1), [...dims, length(2)], [length(1), ...dims], manyOf(random, length(1))]),
      )
    }),
  'axis of length 0': (proto, random) =>
    onInput(proto, random, (info) =>
      withDims(
        info,
        changeOne(random, dimsOf(info), () => length(0)),
      ),
    ),
  'huge length': (proto, random) =>
    onInput(proto, random, (info) =>
      withDims(
        info,
        changeOne(random, dimsOf(info), () => length(pick(random, hostileIntegers))),
      ),
    ),
  'other lengths': (proto, random) =>
    onInput(proto, random, (info) =>
      withDims(
        info,
        dimsOf(info).map(() => length(random.integer(6))),
      ),
    ),
  'symbolic length': (proto, random) =>
    onInput(proto, random, (info) =>
      withDims(
        info,
        changeOne(random, dimsOf(info), () => symbol(pick(random, symbols(random)))),
      ),
    ),
  'symbolic lengths everywhere': (proto) =>
    withGraph(proto, ({ input }) => ({
      input: input.map((info, k) =>
        withDims(
          info,
          dimsOf(info).map((_, i) => symbol(`n${k}_${i}`)),
        ),
      ),
    })),
  'unknown rank': (proto, random) => onInput(proto, random, (info) => withDims(info, undefined)),
  'unknown ranks everywhere': (proto) =>
    withGraph(proto, ({ input }) => ({ input: input.map((info) => withDims(info, undefined)) })),
  'another element type': (proto, random) =>
    onInput(proto, random, (info) => typed(info, tensorType(pick(random, elementTypes), dimsOf(info)))),
  'no tensor': (proto, random) =>
    onInput(proto, random, (info) =>
      typed(
        info,
        pick(random, [
          {},
          { sequenceType: create('SequenceType', {}) },
          { optionalType: create('OptionalType', {}) },
          { mapType: create('MapType', {}) },
        ]),
      ),
    ),
  'hostile constant': (proto, random) =>
    withGraph(proto, ({ input, initializer }) => {
      if (input.length === 0) return {}
      const at = random.integer(input.length)
      const tensor = tensorLike(random, input[at]!)
      if (!tensor) return {}
      return {
        initializer: [...initializer, tensor],
        input: random.integer(3) === 0 ? input : input.filter((_, i) => i !== at),
      }
    }),
  'hostile constants everywhere': (proto, random) =>
    withGraph(proto, ({ input, initializer }) => ({
      initializer: [...initializer, ...input.slice(1).flatMap((info) => tensorLike(random, info) ?? [])],
      input: input.slice(0, 1),
    })),
  'damaged tensor': (proto, random) =>
    withGraph(proto, ({ input, initializer }) => ({
      initializer: [
        ...initializer.slice(0, random.integer(2) === 0 ? 0 : initializer.length),
        randomTensor(random, pick(random, [...initializer, ...input].map(({ name = '' }) => name).concat('t'))),
      ],
    })),
  'extreme attribute': (proto, random) =>
    onNode(proto, random, ({ attribute }) => ({
      attribute: changeOne(random, attribute, (each) => extremeAttribute(random, each)),
    })),
  'attribute of another type': (proto, random) =>
    onNode(proto, random, ({ attribute }) => ({
      attribute: changeOne(random, attribute, ({ name = '' }) => randomAttribute(random, name)),
    })),
  'attribute missing or twice': (proto, random) =>
    onNode(proto, random, ({ attribute }) => ({
      attribute:
        random.integer(2) === 0 ? attribute.filter(() => random.integer(2) === 0) : [...attribute, ...attribute],
    })),
  'another attribute': (proto, random) =>
    onNode(proto, random, ({ attribute }) => ({
      attribute: [...attribute, randomAttribute(random, pick(random, [...attributeNames, ...hostileNames]))],
    })),
  'hostile name': (proto, random) =>
    withGraph(proto, (graph) => renameIn(graph, pick(random, [...namesIn(graph), 'x0']), pick(random, hostileNames))),
  'two values of one name': (proto, random) =>
    withGraph(proto, (graph) =>
      renameIn(graph, pick(random, [...namesIn(graph), 'x0']), pick(random, [...namesIn(graph), 'x0'])),
    ),
  'another operator': (proto, random, operators) => onNode(proto, random, () => ({ opType: pick(random, operators) })),
  'hostile operator': (proto, random) =>
    onNode(proto, random, () => ({
      opType: pick(random, hostileNames),
      domain: pick(random, ['', 'com.microsoft', ...hostileNames]),
    })),
  'operator of another domain': (proto, random, operators) =>
    edit(
      onNode(proto, random, () => ({ opType: pick(random, operators), domain: 'com.microsoft' })),
      { opsetImport: [...proto.opsetImport, create('OperatorSetIdProto', { domain: 'com.microsoft', version: 1n })] },
    ),
  'operator sets': (proto, random) =>
    edit(proto, {
      opsetImport: pick(random, [
        [],
        [...proto.opsetImport, ...proto.opsetImport],
        [create('OperatorSetIdProto', {})],
        [create('OperatorSetIdProto', { domain: 'ai.onnx', version: pick(random, hostileIntegers) })],
        [create('OperatorSetIdProto', { domain: pick(random, hostileNames), version: 1n })],
      ]),
    }),
  'as a function': asFunction,
  'in nested bodies': nested,
  'many nodes': long,
}

/** The model in another operator set. */
export const inOperatorSet = (proto: ModelProto, version: number): ModelProto =>
  edit(proto, {
    opsetImport: proto.opsetImport.map((set) => (set.domain ? set : edit(set, { version: BigInt(version) }))),
  })
