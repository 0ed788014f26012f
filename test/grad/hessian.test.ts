import * as ort from 'onnxruntime-node'
import { beforeAll, describe, expect, it } from 'vitest'
import { gradients } from '../../src/grad/gradient.js'
import { constant, input, scalar, tensorFrom } from '../../src/ir/leaf.js'
import type { Shape } from '../../src/ir/shape.js'
import type { Value } from '../../src/ir/value.js'
import { exportGraph } from '../../src/onnx/export/export-graph.js'
import { encode } from '../../src/onnx/proto/encode.js'
import { op } from '../../src/op/op.js'
import { Random } from '../../src/util/random.js'

const [batch, features, hidden, classes] = [8, 5, 7, 3]
const random = new Random(3)
const draw = (length: number) => Float64Array.from({ length }, () => 2 * random.uniform() - 1)

const shapes = { w1: [features, hidden], b1: [hidden], w2: [hidden, classes], b2: [classes] }
const names = Object.keys(shapes) as (keyof typeof shapes)[]
type Vectors = Readonly<Record<keyof typeof shapes, Float64Array>>

const vectors = (): Vectors => {
  const of = (shape: readonly number[]) => draw(shape.reduce((a, b) => a * b))
  return { w1: of(shapes.w1), b1: of(shapes.b1), w2: of(shapes.w2), b2: of(shapes.b2) }
}
const labels = constant(tensorFrom('int64', [batch], [0, 2, 1, 1, 0, 2, 2, 1]))
const targets = constant(tensorFrom('float64', [batch, classes], [...draw(batch * classes)]))
const x = draw(batch * features)

const losses: Record<string, (logits: Value) => Value> = {
  'cross-entropy': (logits) => op.SoftmaxCrossEntropyLoss(logits, labels)[0],
  'squared error': (logits) => {
    const error = op.Sub(logits, targets)
    return op.ReduceMean(op.Mul(error, error), null, { keepdims: 0 })
  },
}
const layers: Record<string, (x: Value, w: Value, b: Value) => Value> = {
  Gemm: (x, w, b) => op.Gemm(x, w, b),
  'MatMul and Add': (x, w, b) => op.Add(op.MatMul(x, w), b),
}

type Compute = (parameters: Vectors, direction: Vectors) => Promise<Vectors>

/** Functions of parameters and a direction: the gradient, and the Hessian times the direction. */
async function compile(
  loss: (logits: Value) => Value,
  layer: (x: Value, w: Value, b: Value) => Value,
  rows: number | string,
): Promise<{ gradient: Compute; product: Compute }> {
  const leaf = (name: string, shape: Shape) => input(name, 'float64', shape)
  const data = leaf('x', [rows, features])
  const [w1, b1, w2, b2] = names.map((name) => leaf(name, shapes[name])) as [Value, Value, Value, Value]
  const direction = names.map((name) => leaf(`v_${name}`, shapes[name]))
  const wrt = [w1, b1, w2, b2]
  const y = loss(layer(op.Tanh(layer(data, w1, b1)), w2, b2))
  const gradient = gradients([[y, scalar('float64', 1)]], wrt) as Value[]
  const product = gradients(
    gradient.map((g, i) => [g, direction[i]!] as const),
    wrt,
  ) as Value[]
  const inputs = new Map([data, ...wrt, ...direction].map((value) => [value.name!, value]))
  const session = async (outputs: readonly Value[]): Promise<Compute> => {
    const graph = { name: 'g', inputs, outputs: new Map(names.map((name, i) => [`out_${name}`, outputs[i]!])) }
    const run = await ort.InferenceSession.create(encode('ModelProto', exportGraph(graph)), { logSeverityLevel: 3 })
    return async (parameters, direction) => {
      const feeds: Record<string, ort.Tensor> = { x: new ort.Tensor('float64', x, [batch, features]) }
      for (const name of names) {
        feeds[name] = new ort.Tensor('float64', parameters[name], shapes[name])
        feeds[`v_${name}`] = new ort.Tensor('float64', direction[name], shapes[name])
      }
      const results = await run.run(feeds)
      const of = (name: keyof typeof shapes) => results[`out_${name}`]!.data as Float64Array
      return { w1: of('w1'), b1: of('b1'), w2: of('w2'), b2: of('b2') }
    }
  }
  return { gradient: await session(gradient), product: await session(product) }
}

const combined = (a: Vectors, b: Vectors, f: (a: number, b: number) => number): Vectors => {
  const of = (name: keyof typeof shapes) => a[name].map((value, i) => f(value, b[name][i]!))
  return { w1: of('w1'), b1: of('b1'), w2: of('w2'), b2: of('b2') }
}
const dot = (a: Vectors, b: Vectors) =>
  names.reduce((sum, name) => sum + a[name].reduce((s, value, i) => s + value * b[name][i]!, 0), 0)

describe.each(Object.keys(losses))('Hessian of a two-layer perceptron under %s', (loss) => {
  describe.each(Object.keys(layers))('layers as %s', (layer) => {
    describe.each([batch, 'N'])('a batch of %s', (rows) => {
      let functions: Awaited<ReturnType<typeof compile>>
      const [theta, v, u] = [vectors(), vectors(), vectors()]
      beforeAll(async () => {
        functions = await compile(losses[loss]!, layers[layer]!, rows)
      })

      it('Hessian-vector product > equals the difference of gradients along the vector', async () => {
        const h = 1e-5
        const at = (sign: number) =>
          functions.gradient(
            combined(theta, v, (t, d) => t + sign * h * d),
            v,
          )
        const difference = combined(await at(1), await at(-1), (after, before) => (after - before) / (2 * h))
        const product = await functions.product(theta, v)
        expect(Math.sqrt(dot(product, product))).toBeGreaterThan(1e-2)
        for (const name of names) {
          product[name].forEach((value, i) => {
            expect(value, `${name}[${i}]`).toBeCloseTo(difference[name][i]!, 8)
          })
        }
      })

      it('Hessian > is symmetric', async () => {
        const [hv, hu] = [await functions.product(theta, v), await functions.product(theta, u)]
        expect(dot(u, hv)).toBeCloseTo(dot(v, hu), 12)
      })
    })
  })
})
