import { describe, expect, it } from 'vitest'
import { importGraph } from '../../src/graph/index.js'
import { adam, type BaseOptimizer, decodeModel, sgd, type Tensor } from '../../src/index.js'
import { exportGraph } from '../../src/onnx/export/export-graph.js'
import { encode } from '../../src/onnx/proto/encode.js'
import { create } from '../../src/onnx/proto/message.js'
import { attributeTypes, type NodeProto } from '../../src/onnx/proto/schema.js'
import { type Update, update } from '../../src/optim/index.js'
import { encodeUtf8 } from '../../src/util/utf8.js'
import { float, graphProto, info, node, text } from './build.js'
import { errorAt } from './errors.js'
import { numbers, session } from './session.js'

const domain = 'ai.onnx.preview.training'
const list = (...names: string[]) => ({ type: attributeTypes.strings, strings: names.map(encodeUtf8) })

/** Imports a model of float64 tensors and gives its bytes in operators of ai.onnx. */
function standard(nodes: readonly NodeProto[], inputs: Readonly<Record<string, readonly number[]>>, outputs: string) {
  const proto = create('ModelProto', {
    irVersion: 8n,
    opsetImport: [
      create('OperatorSetIdProto', { domain: '', version: 17n }),
      create('OperatorSetIdProto', { domain, version: 1n }),
    ],
    graph: graphProto({
      nodes,
      inputs: Object.entries(inputs).map(([name, dims]) => info(name, dims, name === 'T' ? 'int64' : 'float64')),
      outputs: outputs.split(' ').map((name) => info(name, undefined, 'float64')),
    }),
  })
  const graph = importGraph(decodeModel(encode('ModelProto', proto)))
  return encode('ModelProto', exportGraph(graph))
}

const doubles = (...data: number[]): Tensor => ({
  dtype: 'float64',
  dims: [data.length],
  data: Float64Array.from(data),
})
const scalar = (x: number): Tensor => ({ dtype: 'float64', dims: [], data: Float64Array.of(x) })
const count = (t: number): Tensor => ({ dtype: 'int64', dims: [], data: BigInt64Array.of(BigInt(t)) })

const start = [0.5, -1, 2]
/** Gradients of three updates. */
const steps = [
  [0.25, -0.5, 1],
  [-0.75, 0.125, 0.5],
  [0.5, 0.25, -1],
]

/** Parameters after each of our updates. */
function runOptimizer(optimizer: BaseOptimizer): number[][] {
  let at: Pick<Update, 'parameters'> = { parameters: { X: Float64Array.from(start) } }
  return steps.map((g) => {
    at = update({ optimizer, ...at, gradients: { X: Float64Array.from(g) } })
    return [...at.parameters['X']!]
  })
}

/** Parameters after each update of an operator with these moments; `first` is the first count of updates. */
async function runOnnxruntime(operator: NodeProto, moments: readonly string[], first: number): Promise<number[][]> {
  const inputs = { R: [], T: [], ...Object.fromEntries(['X', 'G', ...moments].map((name) => [name, [3]])) }
  const model = await session(standard([operator], inputs, ['X', ...moments].map((name) => `${name}_new`).join(' ')))
  let state: Record<string, Tensor> = {
    X: doubles(...start),
    ...Object.fromEntries(moments.map((name) => [name, doubles(0, 0, 0)])),
  }
  const found: number[][] = []
  for (const [i, g] of steps.entries()) {
    const results = await model.run({ R: scalar(0.125), T: count(first + i), G: doubles(...g), ...state })
    state = Object.fromEntries(Object.keys(state).map((name) => [name, results[`${name}_new`]!]))
    found.push(numbers(state['X']!))
  }
  return found
}

const close = (found: readonly number[][], expected: readonly number[][]) => {
  expect(found).toHaveLength(expected.length)
  for (const [i, row] of expected.entries()) for (const [j, x] of row.entries()) expect(found[i]![j]).toBeCloseTo(x, 12)
}

describe('optimizers of ai.onnx.preview.training > equal those of this library if the formulas are equal', () => {
  const momentum = (attributes: Record<string, number | string>) =>
    node(
      'Momentum',
      'R T X G V',
      'X_new V_new',
      Object.fromEntries(
        Object.entries(attributes).map(([name, x]) => [name, typeof x === 'number' ? float(x) : text(x)]),
      ),
      domain,
    )

  it('Momentum is SGD: alpha the momentum, 1 - beta the dampening, norm_coefficient the weight decay', async () =>
    close(
      await runOnnxruntime(momentum({ alpha: 0.75, beta: 0.5, norm_coefficient: 0.25, mode: 'standard' }), ['V'], 0),
      runOptimizer(sgd({ lr: 0.125, momentum: 0.75, dampening: 0.5, weightDecay: 0.25 })),
    ))

  it('Momentum in mode nesterov is SGD with nesterov', async () =>
    close(
      await runOnnxruntime(momentum({ alpha: 0.75, beta: 1, norm_coefficient: 0, mode: 'nesterov' }), ['V'], 0),
      runOptimizer(sgd({ lr: 0.125, momentum: 0.75, nesterov: true })),
    ))

  it('Adam is Adam if T counts from 1 and epsilon is 0', async () => {
    const attributes = { alpha: float(0.75), beta: float(0.875), norm_coefficient: float(0.25), epsilon: float(0) }
    close(
      await runOnnxruntime(node('Adam', 'R T X G V H', 'X_new V_new H_new', attributes, domain), ['V', 'H'], 1),
      runOptimizer(adam({ lr: 0.125, betas: [0.75, 0.875], weightDecay: 0.25, eps: 0 })),
    )
  })

  it('Adam does not correct its moments for T = 0, and shrinks by norm_coefficient_post at the end', async () => {
    const attributes = { alpha: float(0.75), beta: float(0.75), norm_coefficient_post: float(0.5), epsilon: float(0) }
    const [x] = await runOnnxruntime(
      node('Adam', 'R T X G V H', 'X_new V_new H_new', attributes, domain),
      ['V', 'H'],
      0,
    )
    // V = G / 4 and H = G^2 / 4: a step of R / 2 in the sign of G.
    close([x!], [start.map((at, i) => (at - Math.sign(steps[0]![i]!) / 16) / 2)])
  })

  it('Adagrad divides by the root of the sum of squares, at a rate of R / (1 + decay_factor T)', async () => {
    const attributes = { decay_factor: float(0.5), epsilon: float(0.25) }
    const sums = start.map(() => 0)
    const x = [...start]
    const expected = steps.map((g, t) =>
      x.map((_, i) => {
        sums[i]! += g[i]! ** 2
        x[i]! -= (0.125 / (1 + 0.5 * t)) * (g[i]! / (Math.sqrt(sums[i]!) + 0.25))
        return x[i]!
      }),
    )
    close(await runOnnxruntime(node('Adagrad', 'R T X G H', 'X_new H_new', attributes, domain), ['H'], 0), expected)
  })

  it('several tensors > each is updated with its state', async () => {
    const several = node('Adagrad', 'R T A B GA GB HA HB', 'A1 B1 HA1 HB1', {}, domain)
    const inputs = { R: [], T: [], A: [1], B: [2], GA: [1], GB: [2], HA: [1], HB: [2] }
    const model = await session(standard([several], inputs, 'A1 B1 HA1 HB1'))
    const results = await model.run({
      R: scalar(1),
      T: count(0),
      A: doubles(1),
      B: doubles(2, 3),
      GA: doubles(3),
      GB: doubles(4, 0.5),
      HA: doubles(7),
      HB: doubles(9, 2),
    })
    expect(['HA1', 'HB1'].map((name) => numbers(results[name]!))).toEqual([[16], [25, 2.25]])
    const epsilon = Math.fround(1e-6)
    close(
      [numbers(results['A1']!), numbers(results['B1']!)],
      [[1 - 3 / (4 + epsilon)], [2 - 4 / (5 + epsilon), 3 - 0.5 / (1.5 + epsilon)]],
    )
  })

  it('an incomplete optimizer node > import > throws invalid-model', () => {
    expect(() =>
      standard([node('Adam', 'R T X G V', 'X_new', {}, domain)], { R: [], T: [], X: [1], G: [1], V: [1] }, 'X_new'),
    ).toThrow(errorAt('invalid-model', /^Adam .* 5 inputs/))
    expect(() => standard([momentum({ alpha: 1 })], { R: [], T: [], X: [1], G: [1], V: [1] }, 'X_new')).toThrow(
      errorAt('invalid-model', "'beta'"),
    )
  })
})

describe('the Gradient operator', () => {
  const gradient = (inputs: string, outputs: string, xs: string[], y: string, zs: string[] = []) =>
    node(
      'Gradient',
      inputs,
      outputs,
      { xs: list(...xs), y: text(y), ...(zs.length > 0 ? { zs: list(...zs) } : {}) },
      domain,
    )
  const product = [node('Mul', 'a b', 'c'), node('Mul', 'c a', 'd')]

  it('named tensors > returns the derivatives: d = a^2 b', async () => {
    const model = await session(
      standard([...product, gradient('a b', 'da db', ['a', 'b'], 'd')], { a: [2], b: [2] }, 'd da db'),
    )
    const results = await model.run({ a: doubles(2, 3), b: doubles(5, 7) })
    expect(['d', 'da', 'db'].map((name) => numbers(results[name]!))).toEqual([
      [20, 63],
      [20, 42],
      [4, 9],
    ])
  })

  it('applied twice, with a constant tensor > returns the second derivative', async () => {
    const twice = [...product, gradient('a b', 'da', ['a'], 'd', ['b']), gradient('a', 'daa', ['a'], 'da')]
    const results = await (await session(standard(twice, { a: [1], b: [1] }, 'daa'))).run({
      a: doubles(2),
      b: doubles(5),
    })
    expect(numbers(results['daa']!)).toEqual([10])
  })

  it('inputs that are not the named tensors, or depend on each other > import > throws', () => {
    const at = (node: NodeProto) => () => standard([...product, node], { a: [1], b: [1] }, 'g')
    expect(at(gradient('b', 'g', ['a'], 'd'))).toThrow(errorAt('unsupported-operator', "'a'"))
    expect(at(gradient('a c', 'g h', ['a', 'c'], 'd'))).toThrow(errorAt('unsupported-operator', "'c'"))
    expect(at(gradient('a', 'g', ['a', 'b'], 'd'))).toThrow(expect.objectContaining({ code: 'invalid-model' }))
    expect(at(gradient('a', 'g', ['a'], 'nothing'))).toThrow(errorAt('invalid-model', "'nothing'"))
  })
})
