import { isFloat } from '../ir/dtype.js'
import { numbersOf } from '../ir/leaf.js'
import type { Dim, Shape } from '../ir/shape.js'
import { sizeOf, type Tensor } from '../ir/tensor.js'
import { bodiesOf, topological } from '../ir/topology.js'
import type { Attribute, Body, Graph, Node, TensorType, Value } from '../ir/value.js'
import { definitionOf } from '../op/op.js'

const WIDTH = 110

/**
 * A graph as text in the style of ONNX's textual syntax: inputs, outputs, `<parameters and large constants>`, and the nodes that the
 * outputs need, each after those it reads. Small constants stand where they are used; attributes at their defaults are left out;
 * `_` is an operand that is absent or a result that nobody uses.
 *
 * Equal graphs give equal text: unnamed values are called `v1`, `v2` ..., unnamed constants `c1` ..., unknown lengths `?1` ... in
 * order of appearance.
 */
export function printGraph(graph: Graph): string {
  return new Printer(graph).text()
}

class Printer {
  readonly #graph: Graph
  readonly #names = new Map<Value, string>()
  readonly #taken = new Set<string>()
  readonly #lengths = new Map<string, string>()
  readonly #used = new Set<Value>()
  /** Parameters and large constants, as they are met. */
  readonly #tensors = new Map<Value, string>()

  constructor(graph: Graph) {
    this.#graph = graph
  }

  text(): string {
    const { name, inputs, parameters, outputs } = this.#graph
    for (const [own, value] of [...inputs, ...parameters]) this.#give(value, own)
    for (const own of outputs.keys()) this.#taken.add(own)
    for (const [own, value] of outputs)
      if (value.source.kind === 'node' && !this.#names.has(value)) this.#names.set(value, own)
    const main = topological(outputs.values(), (node) => node.scope === undefined)
    this.#use(main, outputs.values())
    const given = [...inputs].map(([own, value]) => this.#declared(value, own))
    for (const [own, value] of parameters) this.#tensors.set(value, this.#declared(value, own))
    const lines = this.#block(main)
    for (const [own, value] of outputs)
      if (this.#names.get(value) !== own) lines.push(`${quoted(own)} = Identity (${this.#operand(value)})`)
    const results = [...outputs].map(([own, value]) => this.#declared(value, own))
    const head = `${quoted(name)} ${listed('(', given, ')')} => ${listed('(', results, ')')}`
    const held = this.#tensors.size === 0 ? '' : `\n${listed('<', [...this.#tensors.values()], '>')}`
    return `${head}${held}\n${braced(lines)}\n`
  }

  #use(nodes: readonly Node[], outputs: Iterable<Value>): void {
    for (const value of outputs) this.#used.add(value)
    for (const node of nodes) {
      for (const value of node.inputs) if (value) this.#used.add(value)
      for (const body of bodiesOf(node)) this.#use(nodesOf(body), body.outputs)
    }
  }

  #block(nodes: readonly Node[]): string[] {
    return nodes.map((node) => {
      const outputs = node.outputs.map((value) => (this.#used.has(value) ? quoted(this.#nameOf(value)) : '_'))
      while (outputs.at(-1) === '_') outputs.pop()
      const attributes = this.#attributes(node)
      const inputs = node.inputs.map((value) => (value ? this.#operand(value) : '_'))
      const operator = node.domain === '' ? node.operator : `${node.domain}.${node.operator}`
      return `${outputs.join(', ')} = ${operator}${attributes.length > 0 ? ` <${attributes.join(', ')}>` : ''} (${inputs.join(', ')})`
    })
  }

  #attributes(node: Node): string[] {
    const specs = definitionOf(node.operator).attributes
    return Object.entries(node.attributes).flatMap(([key, value]) =>
      value === undefined || same(value, specs[key]?.default) ? [] : [`${key} = ${this.#attribute(value)}`],
    )
  }

  #attribute(value: Attribute): string {
    if (typeof value === 'number') return formatNumber(value)
    if (typeof value === 'string') return JSON.stringify(value)
    if (Array.isArray(value)) return `[${value.map((item: Attribute) => this.#attribute(item)).join(', ')}]`
    if ('kind' in value) return this.#body(value)
    return 'dims' in value ? formatTensor(value) : ''
  }

  #body(body: Body): string {
    const inputs = body.inputs.map((value) => this.#declared(value, this.#nameOf(value)))
    const lines = this.#block(nodesOf(body))
    const outputs = body.outputs.map((value) => this.#operand(value))
    return `${listed('(', inputs, ')')} => ${listed('(', outputs, ')')} ${braced(lines)}`
  }

  #operand(value: Value): string {
    const { source } = value
    if (source.kind === 'constant' && !this.#names.has(value)) {
      const text = formatTensor(source.tensor)
      if (text.endsWith('}')) return text
    }
    const name = this.#nameOf(value)
    if (source.kind !== 'node' && source.kind !== 'input' && !this.#tensors.has(value))
      this.#tensors.set(value, this.#declared(value, name))
    return quoted(name)
  }

  #nameOf(value: Value): string {
    return (
      this.#names.get(value) ??
      this.#give(value, value.name ?? this.#numbered(value.source.kind === 'constant' ? 'c' : 'v'))
    )
  }

  #give(value: Value, wanted: string): string {
    let name = wanted
    for (let n = 1; this.#taken.has(name); n++) name = `${wanted}_${n}`
    this.#taken.add(name)
    this.#names.set(value, name)
    return name
  }

  readonly #counts = new Map<string, number>()
  #numbered(letter: string): string {
    for (;;) {
      const count = (this.#counts.get(letter) ?? 0) + 1
      this.#counts.set(letter, count)
      if (!this.#taken.has(`${letter}${count}`)) return `${letter}${count}`
    }
  }

  #declared(type: TensorType, name: string): string {
    return `${type.dtype}${this.#shape(type.shape)} ${quoted(name)}`
  }

  #shape(shape: Shape | undefined): string {
    if (shape === undefined) return '[...]'
    return shape.length === 0 ? '' : `[${shape.map((dim) => this.#length(dim)).join(', ')}]`
  }

  #length(dim: Dim): string {
    return `${dim}`.replace(/\?\d+/g, (unknown) => {
      const known = this.#lengths.get(unknown) ?? `?${this.#lengths.size + 1}`
      this.#lengths.set(unknown, known)
      return known
    })
  }
}

const nodesOf = (body: Body): Node[] => topological(body.outputs, (node) => node.scope === body.scope)
const quoted = (name: string): string => (/^[^\s,()<>{}="]+$/.test(name) ? name : JSON.stringify(name))
const same = (a: unknown, b: unknown): boolean =>
  a === b || (Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((item, i) => item === b[i]))

const indented = (text: string): string => text.replaceAll(/^(?=.)/gm, '  ')
const braced = (lines: readonly string[]): string => (lines.length === 0 ? '{}' : `{\n${indented(lines.join('\n'))}\n}`)

/** On one line where it fits, else one item a line. */
function listed(open: string, items: readonly string[], close: string): string {
  const line = `${open}${items.join(', ')}${close}`
  return line.length <= WIDTH ? line : `${open}\n${indented(items.join(',\n'))}\n${close}`
}

/** Tensors of more elements are shown by their type alone. */
const SMALL = 16

/** The shortest decimal that reads back as the same number, taken as float32 when it is one: 0.00001, not 0.000009999999747378752. */
export function formatNumber(value: number): string {
  if (Number.isInteger(value) || Math.fround(value) !== value) return `${value}`
  for (let digits = 1; digits < 9; digits++) {
    const shorter = Number(value.toPrecision(digits))
    if (Math.fround(shorter) === value) return `${shorter}`
  }
  return `${value}`
}

/** A small tensor with its elements, `int64[2] {1, 2}`, a scalar without brackets, `float32 {0.5}`; a larger one as `float32[64, 3]`. */
export function formatTensor(tensor: Tensor): string {
  const { dtype, dims, data } = tensor
  const type = `${dtype}${dims.length === 0 ? '' : `[${dims.join(', ')}]`}`
  if (sizeOf(dims) > SMALL || dtype === 'int4' || dtype === 'uint4') return type
  const elements =
    dtype === 'string'
      ? Array.from(data as readonly string[], (text) => JSON.stringify(text))
      : isFloat(dtype)
        ? numbersOf(tensor).map(formatNumber)
        : Array.from(data as ArrayLike<number | bigint>, String)
  return `${type} {${elements.join(', ')}}`
}
