import { afterAll, expect, test } from 'vitest'
import { input } from '../../../src/ir/leaf.js'
import type { Value } from '../../../src/ir/value.js'
import { node } from '../../../src/node/index.js'
import { modelOf } from '../../../src/onnx/export/export-graph.js'
import { encodeModel } from '../../../src/onnx/model.js'
import * as f from '../../../src/optim/expr/expr.js'
import { formulaToOnnx } from '../../../src/optim/expr/onnx.js'

const runtime = node({ threads: 1, worker: false })
afterAll(() => runtime.dispose())

const x = f.array('x')
const y = f.array('y')
const c = f.scalar('c')

async function computed(
  outputs: Record<string, f.Expr>,
  arrays: Record<string, readonly number[]>,
  scalars: Record<string, number>,
): Promise<{ results: Record<string, number[]>; operators: string[] }> {
  const formula = f.formula(outputs)
  const named = (names: readonly string[], kind: string, dims: readonly number[]) =>
    Object.fromEntries(names.map((name) => [name, input(`${kind}/${name}`, 'float32', dims)]))
  const [a, s] = [named(formula.arrays, 'array', [3, 2]), named(formula.scalars, 'scalar', [])]
  const inputs = new Map<string, Value>(
    [...Object.values(a), ...Object.values(s)].map((value) => [value.name!, value] as const),
  )
  const { outputs: made } = formulaToOnnx(formula, a, s)
  const model = modelOf({ name: 'formula', inputs, outputs: new Map(Object.entries(made)) })
  const program = await runtime.compile(encodeModel(model))
  const feeds = [
    ...formula.arrays.map(
      (name) => [`array/${name}`, { dtype: 'float32', dims: [3, 2], data: Float32Array.from(arrays[name]!) }] as const,
    ),
    ...formula.scalars.map(
      (name) => [`scalar/${name}`, { dtype: 'float32', dims: [], data: Float32Array.of(scalars[name]!) }] as const,
    ),
  ]
  const found = await program.run(Object.fromEntries(feeds))
  for (const { dims } of Object.values(found)) expect(dims).toEqual([3, 2])
  return {
    results: Object.fromEntries(Object.entries(found).map(([name, { data }]) => [name, [...(data as Float32Array)]])),
    operators: model.proto.graph!.node.map(({ opType }) => opType!),
  }
}

const xs = [-2.5, -0.0, 0, 0.75, 3, 1e-30]
const ys = [2, -1, 0.5, 0.75, -4, 7]

test('expression as a graph > every operation on arrays, scalars and numbers > equals the interpreter', async () => {
  const terms: Record<string, [f.Expr, (x: number, y: number) => number]> = {
    add: [x.add(y), (x, y) => x + y],
    sub: [x.sub(c), (x) => x - 0.75],
    subtracted: [f.constant(1).sub(x), (x) => 1 - x],
    mul: [x.mul(y), (x, y) => x * y],
    div: [x.div(y), (x, y) => x / y],
    min: [x.min(c), (x) => Math.min(x, 0.75)],
    max: [y.max(0.5), (_, y) => Math.max(y, 0.5)],
    atMost: [x.atMost(c), (x) => (x <= 0.75 ? 1 : 0)],
    sqrt: [x.abs().sqrt(), (x) => Math.sqrt(Math.abs(x))],
    sign: [x.sign().add(0), (x) => Math.sign(x) + 0],
    itself: [y, (_, y) => y],
    uniform: [c.add(1), () => 1.75],
    constant: [f.constant(0).sub(2).mul(3), () => -6],
  }
  const outputs = Object.fromEntries(Object.entries(terms).map(([name, [term]]) => [name, term]))
  const { results, operators } = await computed(outputs, { x: xs, y: ys }, { c: 0.75 })
  for (const [name, [, plain]] of Object.entries(terms))
    expect(results[name], name).toEqual(xs.map((_, i) => Math.fround(plain(Math.fround(xs[i]!), Math.fround(ys[i]!)))))
  expect(operators).not.toContain('Sign')
})

test('expression as a graph > shared subexpressions > are computed once; an array and a scalar may share a name', async () => {
  const shared = x.mul(x).sqrt()
  const { results, operators } = await computed(
    { a: shared.add(f.scalar('x')), b: shared.sub(1) },
    { x: xs },
    { x: 10 },
  )
  expect(operators.filter((name) => name === 'Sqrt')).toHaveLength(1)
  expect(results['a']![4]).toBe(13)
  expect(results['b']![4]).toBe(2)
})
