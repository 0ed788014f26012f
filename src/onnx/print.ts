import { isFloat } from '../ir/dtype.js'
import { numbersOf } from '../ir/leaf.js'
import type { Dim, Shape } from '../ir/shape.js'
import { sizeOf, type Tensor } from '../ir/tensor.js'
import { bodiesOf, nodesOf, topological } from '../ir/topology.js'
import type { Attribute, Body, Graph, Node, TensorType, Value } from '../ir/value.js'
import { definitionOf } from '../op/op.js'
import { claimName } from '../util/claim-name.js'
import { getOwn } from '../util/record.js'

const maxWidth = 110

/**
 * Prints a graph as text in the style of ONNX's textual syntax (https://onnx.ai/onnx/repo-docs/Syntax.html): inputs,
 * outputs, `<parameters and large constants>`, and the nodes that the outputs need, in topological order. Small
 * constants are printed at their uses, attributes equal to their defaults are omitted, and `_` is an absent operand
 * or an unused result.
 *
 * The text depends on the graph only: unnamed values are numbered `v1`, `v2` ..., unnamed constants `c1` ..., and
 * unknown lengths `?1` ..., in order of appearance.
 *
 * @example
 * ```ts
 * const x = input('x', 'float32', ['N', 4])
 * const outputs = new Map([['y', op.Relu(x)]])
 * console.log(printGraph({ name: 'g', inputs: new Map([['x', x]]), parameters: new Map(), outputs }))
 * // g (float32[N, 4] x) => (float32[N, 4] y)
 * // {
 * //   y = Relu (x)
 * // }
 * ```
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
  /** Declarations of parameters and large constants, in order of appearance. */
  readonly #tensors = new Map<Value, string>()

  constructor(graph: Graph) {
    this.#graph = graph
  }

  text(): string {
    const { name, inputs, parameters, outputs } = this.#graph
    for (const [own, value] of [...inputs, ...parameters]) this.#assignName(value, own)
    for (const own of outputs.keys()) this.#taken.add(own)
    for (const [own, value] of outputs)
      if (value.source.kind === 'node' && !this.#names.has(value)) this.#names.set(value, own)
    const main = topological(outputs.values(), (node) => node.scope === undefined)
    this.#markUsed(main, outputs.values())
    const given = [...inputs].map(([own, value]) => this.#formatDeclaration(value, own))
    for (const [own, value] of parameters) this.#tensors.set(value, this.#formatDeclaration(value, own))
    const lines = this.#formatNodes(main)
    for (const [own, value] of outputs)
      if (this.#names.get(value) !== own) lines.push(`${quote(own)} = Identity (${this.#formatOperand(value)})`)
    const results = [...outputs].map(([own, value]) => this.#formatDeclaration(value, own))
    const head = `${quote(name)} ${formatList('(', given, ')')} => ${formatList('(', results, ')')}`
    const tensors = this.#tensors.size === 0 ? '' : `\n${formatList('<', [...this.#tensors.values()], '>')}`
    return `${head}${tensors}\n${formatBlock(lines)}\n`
  }

  #markUsed(nodes: readonly Node[], outputs: Iterable<Value>): void {
    for (const value of outputs) this.#used.add(value)
    for (const node of nodes) {
      for (const value of node.inputs) if (value) this.#used.add(value)
      for (const body of bodiesOf(node)) this.#markUsed(nodesOf(body), body.outputs)
    }
  }

  #formatNodes(nodes: readonly Node[]): string[] {
    return nodes.map((node) => {
      const outputs = node.outputs.map((value) => (this.#used.has(value) ? quote(this.#nameOf(value)) : '_'))
      while (outputs.at(-1) === '_') outputs.pop()
      const attributes = this.#formatAttributes(node)
      const inputs = node.inputs.map((value) => (value ? this.#formatOperand(value) : '_'))
      const operator = node.domain === '' ? node.operator : `${node.domain}.${node.operator}`
      return `${outputs.join(', ')} = ${operator}${attributes.length > 0 ? ` <${attributes.join(', ')}>` : ''} (${inputs.join(', ')})`
    })
  }

  #formatAttributes(node: Node): string[] {
    const specs = definitionOf(node.operator).attributes
    return Object.entries(node.attributes).flatMap(([key, value]) =>
      value === undefined || same(value, getOwn(specs, key)?.default)
        ? []
        : [`${key} = ${this.#formatAttribute(value)}`],
    )
  }

  #formatAttribute(value: Attribute): string {
    if (typeof value === 'number') return formatNumber(value)
    if (typeof value === 'string') return JSON.stringify(value)
    if (Array.isArray(value)) return `[${value.map((item: Attribute) => this.#formatAttribute(item)).join(', ')}]`
    if ('kind' in value) return this.#formatBody(value)
    return 'dims' in value ? formatTensor(value) : ''
  }

  #formatBody(body: Body): string {
    const inputs = body.inputs.map((value) => this.#formatDeclaration(value, this.#nameOf(value)))
    const lines = this.#formatNodes(nodesOf(body))
    const outputs = body.outputs.map((value) => this.#formatOperand(value))
    return `${formatList('(', inputs, ')')} => ${formatList('(', outputs, ')')} ${formatBlock(lines)}`
  }

  #formatOperand(value: Value): string {
    const { source } = value
    if (source.kind === 'constant' && !this.#names.has(value)) {
      const text = formatTensor(source.tensor)
      if (text.endsWith('}')) return text
    }
    const name = this.#nameOf(value)
    if (source.kind !== 'node' && source.kind !== 'input' && !this.#tensors.has(value))
      this.#tensors.set(value, this.#formatDeclaration(value, name))
    return quote(name)
  }

  #nameOf(value: Value): string {
    return (
      this.#names.get(value) ??
      this.#assignName(value, value.name ?? this.#numberedName(value.source.kind === 'constant' ? 'c' : 'v'))
    )
  }

  #assignName(value: Value, wanted: string): string {
    const name = claimName(wanted, this.#taken)
    this.#names.set(value, name)
    return name
  }

  readonly #counts = new Map<string, number>()
  #numberedName(letter: string): string {
    for (;;) {
      const count = (this.#counts.get(letter) ?? 0) + 1
      this.#counts.set(letter, count)
      if (!this.#taken.has(`${letter}${count}`)) return `${letter}${count}`
    }
  }

  #formatDeclaration(type: TensorType, name: string): string {
    return `${type.dtype}${this.#formatShape(type.shape)} ${quote(name)}`
  }

  #formatShape(shape: Shape | undefined): string {
    if (shape === undefined) return '[...]'
    return shape.length === 0 ? '' : `[${shape.map((dim) => this.#formatDim(dim)).join(', ')}]`
  }

  #formatDim(dim: Dim): string {
    return `${dim}`.replace(/\?\d+/g, (unknown) => {
      const known = this.#lengths.get(unknown) ?? `?${this.#lengths.size + 1}`
      this.#lengths.set(unknown, known)
      return known
    })
  }
}

const quote = (name: string): string => (/^[^\s,()<>{}="]+$/.test(name) ? name : JSON.stringify(name))
const same = (a: unknown, b: unknown): boolean =>
  a === b || (Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((item, i) => item === b[i]))

const indent = (text: string): string => text.replaceAll(/^(?=.)/gm, '  ')
const formatBlock = (lines: readonly string[]): string =>
  lines.length === 0 ? '{}' : `{\n${indent(lines.join('\n'))}\n}`

/** Formats a list on one line if it fits, otherwise with one item per line. */
function formatList(open: string, items: readonly string[], close: string): string {
  const line = `${open}${items.join(', ')}${close}`
  return line.length <= maxWidth ? line : `${open}\n${indent(items.join(',\n'))}\n${close}`
}

/** The largest number of elements of a tensor that are printed. */
const maxShownElements = 16

/**
 * The shortest decimal of a number; of a float32 the shortest that rounds to it: 0.00001, not
 * 0.000009999999747378752.
 */
function formatNumber(value: number): string {
  if (Number.isInteger(value) || Math.fround(value) !== value) return `${value}`
  for (let digits = 1; digits < 9; digits++) {
    const shorter = Number(value.toPrecision(digits))
    if (Math.fround(shorter) === value) return `${shorter}`
  }
  return `${value}`
}

/**
 * Formats a small tensor with its elements (`int64[2] {1, 2}`, `float32 {0.5}`), a larger one by its type
 * (`float32[64, 3]`).
 */
function formatTensor(tensor: Tensor): string {
  const { dtype, dims, data } = tensor
  const type = `${dtype}${dims.length === 0 ? '' : `[${dims.join(', ')}]`}`
  if (sizeOf(dims) > maxShownElements || dtype === 'int4' || dtype === 'uint4') return type
  const elements =
    dtype === 'string'
      ? Array.from(data as readonly string[], (text) => JSON.stringify(text))
      : isFloat(dtype)
        ? numbersOf(tensor).map(formatNumber)
        : Array.from(data as ArrayLike<number | bigint>, String)
  return `${type} {${elements.join(', ')}}`
}
