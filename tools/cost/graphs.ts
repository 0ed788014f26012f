import { Random } from '../../dist/data/index.js'
import { input, op, parameter, type Value } from '../../dist/graph/index.js'
import type { Graph } from '../../dist/index.js'
import { body } from '../../dist/ir/body.js'
import { tensorFrom } from '../../dist/ir/leaf.js'

/** Graphs of about `nodes` nodes, each of a form for which a naive graph traversal is slow. */
export const forms: Readonly<Record<string, (nodes: number) => Graph>> = {
  /** A chain of element-wise nodes. */
  chain: (nodes) =>
    built((x) => {
      for (let i = 0; i < nodes; i++) x = i % 2 === 0 ? op.Tanh(x) : op.Mul(x, weight(i, [width]))
      return x
    }),
  /** Every node adds two earlier nodes: gradients accumulate everywhere. */
  graph: (nodes) =>
    built((x) => {
      const random = new Random(1)
      const values = [x, op.Tanh(x)]
      while (values.length < nodes / 2) {
        const from = Math.max(0, values.length - 50)
        const pick = () => values[from + Math.floor(random.uniform() * (values.length - from))]!
        values.push(op.Add(op.Sin(values.at(-1)!), pick()))
      }
      return values.at(-1)!
    }),
  /** Pre-norm residual blocks with a symbolic batch and transposed heads: reductions, matrix products and layouts. */
  transformer: (nodes) =>
    built((x) => {
      for (let i = 0; i < nodes / 7; i++) {
        const normal = op.LayerNormalization(x, weight(3 * i, [width]), weight(3 * i + 1, [width]))[0]!
        const split = op.Reshape(op.MatMul(normal, weight(3 * i + 2, [width, width])), [0, 2, width / 2])
        const exchanged = op.Reshape(op.Transpose(split, { perm: [0, 2, 1] }), op.Shape(x))
        x = op.Add(x, op.Gelu(exchanged))
      }
      return x
    }),
  /**
   * Convolutions over an image of symbolic size, each with a smaller result; shape arithmetic must not grow with depth.
   */
  convolution: (nodes) => {
    const image = input('image', 'float32', ['batch', 2, 'height', 'width'])
    let x = image
    for (let i = 0; i < nodes / 2; i++)
      x = op.Relu(op.Conv(x, weight(i, [2, 2, 3, 3]), null, { pads: [i % 2, 0, 0, 1] }))
    return { name: 'cost', inputs: new Map([['image', image]]), parameters: new Map(), outputs: new Map([['y', x]]) }
  },
  /** One tensor that every node uses: its gradient has a term per node. */
  shared: (nodes) =>
    built((x) => {
      const w = weight(0, [width])
      for (let i = 0; i < nodes / 2; i++) x = op.Tanh(op.Add(x, w))
      return x
    }),
  /** Parallel nodes, combined at the end. */
  wide: (nodes) => built((x) => op.Sum(Array.from({ length: nodes }, (_, i) => op.Mul(x, weight(i, [width]))))),
  /** A Loop with all nodes in its body. */
  loop: (nodes) =>
    built((x) => {
      const step = input('step', 'int64', [])
      const go = input('go', 'bool', [])
      const state = input('state', 'float32', x.shape)
      const inside = body([step, go, state], () => {
        let y = state
        for (let i = 0; i < nodes; i++) y = i % 2 === 0 ? op.Tanh(y) : op.Mul(y, weight(i, [width]))
        return [go, y]
      })
      return op.Loop(3, null, [x], { body: inside } as never)[0]!
    }),
  /** A chain of If nodes, each with a few nodes in its branches that use outer tensors. */
  branches: (nodes) =>
    built((x, condition) => {
      for (let i = 0; i < nodes / 5; i++) {
        const at = x
        const w = weight(i, [width])
        x = op.If(condition, {
          then_branch: body([], () => [op.Tanh(op.Mul(at, w))]),
          else_branch: body([], () => [op.Sin(op.Add(at, w))]),
        } as never)[0]!
      }
      return x
    }),
}

const width = 4

function weight(i: number, dims: readonly number[]): Value {
  const count = dims.reduce((a, b) => a * b, 1)
  return parameter(
    `w${i}`,
    tensorFrom(
      'float32',
      dims,
      Array.from({ length: count }, (_, j) => Math.cos(i + j)),
    ),
  )
}

function built(build: (x: Value, condition: Value) => Value): Graph {
  const x = input('x', 'float32', ['batch', width])
  const condition = input('condition', 'bool', [])
  const y = build(x, condition)
  return {
    name: 'cost',
    inputs: new Map([
      ['x', x],
      ['condition', condition],
    ]),
    parameters: new Map(),
    outputs: new Map([['y', y]]),
  }
}
