import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Random } from '../../src/data/index.js'
import { importGraph, input, modelOf, op, parameter } from '../../src/graph/index.js'
import {
  adamw,
  crossEntropy,
  type DType,
  encodeModel,
  ire,
  type Model,
  namedTensors,
  type Runtime,
  type Tensor,
  Trainer,
} from '../../src/index.js'
import { body } from '../../src/ir/body.js'
import { dtypes } from '../../src/ir/dtype.js'
import { constant, numbersOf, scalar, tensorFrom } from '../../src/ir/leaf.js'
import { sizeOf } from '../../src/ir/tensor.js'
import { bodiesOf, withBodies } from '../../src/ir/topology.js'
import type { Value } from '../../src/ir/value.js'
import { toFloat32 } from '../../src/lowering/precision.js'
import { node as engine } from '../../src/node/index.js'
import { decodeModel } from '../../src/onnx/model.js'
import { graph, graphProto, info, int, modelBytes, node } from '../onnx/build.js'
import { clusters } from '../train/problem.js'

let runtime: Runtime
beforeAll(() => {
  runtime = engine({ worker: false, threads: 1 })
})
afterAll(() => runtime.dispose())

/** Normally distributed elements, the same for the same name. */
function drawn(name: string, dtype: DType, ...dims: readonly number[]): Tensor {
  const random = new Random(9).stream(name)
  return tensorFrom(
    dtype,
    dims,
    Array.from({ length: sizeOf(dims) }, () => 0.4 * random.normal()),
  )
}
const weight = (name: string, dtype: DType, ...dims: readonly number[]) => parameter(name, drawn(name, dtype, ...dims))
const yes = constant(tensorFrom('bool', [], [1]))
const round = () => [input('i', 'int64', []), input('again', 'bool', [])]

/** The classifier `x [N, 6] -> y [N, 3]` whose last layer is a plain product. */
const classifier = (dtype: DType, hidden: (x: Value) => Value): Model => {
  const x = input('x', dtype, ['N', 6])
  const y = op.MatMul(hidden(x), weight('out', dtype, 6, 3))
  return modelOf({ name: 'bodies', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) })
}

type Build = (dtype: DType) => (x: Value) => Value

const forms: Readonly<Record<string, Build>> = {
  'If over captured weights': (dtype) => (x) => {
    const [a, b] = [weight('a', dtype, 6, 6), weight('b', dtype, 6, 6)]
    const [y] = op.If(op.Greater(op.ReduceMax(x, [0, 1], { keepdims: 0 }), scalar(dtype, 1.5)), {
      then_branch: body([], () => [op.Tanh(op.MatMul(x, a))]),
      else_branch: body([], () => [op.Tanh(op.MatMul(op.Mul(x, scalar(dtype, 2)), b))]),
    })
    return y!
  },
  'If whose branch is a leaf': (dtype) => (x) => {
    const [a, b] = [weight('a', dtype, 6, 6), weight('b', dtype, 6, 6)]
    const [w] = op.If(op.Greater(op.ReduceMax(x, [0, 1], { keepdims: 0 }), scalar(dtype, 1.5)), {
      then_branch: body([], () => [a]),
      else_branch: body([], () => [op.Add(a, b)]),
    })
    return op.MatMul(x, w!)
  },
  'Loop with a state and stacked outputs': (dtype) => (x) => {
    const w = weight('w', dtype, 6, 6)
    const [last, all] = op.Loop(scalar('int64', 6), yes, [x], {
      body: body([...round(), input('state', dtype, ['N', 6])], (_, again, s) => {
        const next = op.Tanh(op.Add(op.MatMul(s!, w), x))
        return [again!, next, op.Mul(next, next)]
      }),
    })
    return op.Add(last!, op.ReduceMean(all!, [0], { keepdims: 0 }))
  },
  'Scan over columns': (dtype) => (x) => {
    const [w, start] = [weight('w', dtype, 6, 6), op.Mul(x, scalar(dtype, 0.5))]
    const [last] = op.Scan([start, x], {
      num_scan_inputs: 1,
      scan_input_axes: [1],
      body: body([input('state', dtype, ['N', 6]), input('column', dtype, ['N'])], (s, column) => {
        const next = op.Tanh(op.Add(op.MatMul(s!, w), op.Unsqueeze(column!, [1])))
        return [next, op.ReduceSum(next, [1], { keepdims: 0 })]
      }),
    })
    return last!
  },
  'If in Loop in If, with types and tensors in attributes': (dtype) => (x) => {
    const [a, b] = [weight('a', dtype, 6, 6), weight('b', dtype, 6)]
    const rows = op.Shape(x, { start: 0, end: 1 })
    const cond = op.Greater(op.ReduceMax(x, [0, 1], { keepdims: 0 }), scalar(dtype, -9))
    const inner = (i: Value, s: Value) =>
      op.If(op.Equal(op.Mod(i, 2), scalar('int64', 0)), {
        then_branch: body([], () => [op.Tanh(op.Add(op.MatMul(s, a), b))]),
        else_branch: body([], () => [op.Add(s, op.Cast(i, { to: dtypes[dtype].onnx }))]),
      })[0]!
    const [y] = op.If(cond, {
      then_branch: body([], () => {
        const shape = op.Concat([rows, constant(tensorFrom('int64', [1], [6]))], { axis: 0 })
        const zeros = op.ConstantOfShape(shape, { value: tensorFrom(dtype, [1], [0]) })
        const [s] = op.Loop(scalar('int64', 5), yes, [op.Add(zeros, x)], {
          body: body([...round(), input('state', dtype, ['N', 6])], (i, again, s) => [again!, inner(i!, s!)]),
        })
        return [s!]
      }),
      else_branch: body([], () => [op.Neg(x)]),
    })
    return y!
  },
}

/** A body that contains its weights and splits its operand into a sequence. */
function ownWeights(): Model {
  const branch = (name: string) =>
    graph(
      graphProto({
        nodes: [
          node('SplitToSequence', 'x', `s_${name}`, { axis: int(1), keepdims: int(1) }),
          node('ConcatFromSequence', `s_${name}`, `c_${name}`, { axis: int(1) }),
          node('MatMul', `c_${name} w_${name}`, `m_${name}`),
          node('Tanh', `m_${name}`, `t_${name}`),
        ],
        outputs: [info(`t_${name}`, undefined, 'float16')],
        initializers: { [`w_${name}`]: drawn(name, 'float16', 6, 6) },
      }),
    )
  return decodeModel(
    modelBytes({
      nodes: [
        node('ReduceMax', 'x', 'max', { keepdims: int(0) }),
        node('Greater', 'max bound', 'cond'),
        node('If', 'cond', 'h', { then_branch: branch('then'), else_branch: branch('else') }),
        node('MatMul', 'h out', 'y'),
      ],
      inputs: [info('x', ['N', 6], 'float16')],
      outputs: [info('y', ['N', 3], 'float16')],
      initializers: { bound: tensorFrom('float16', [], [1.5]), out: drawn('out', 'float16', 6, 3) },
    }),
  )
}

const typesIn = (outputs: Iterable<Value>): Set<DType> =>
  new Set(
    withBodies(outputs)
      .flatMap((each) => [
        ...each.inputs,
        ...each.outputs,
        ...bodiesOf(each).flatMap(({ inputs, outputs }) => [...inputs, ...outputs]),
      ])
      .flatMap((value) => (value ? [value.dtype] : [])),
  )

/** The logits of `model` for rows in any floating type. */
async function logits(model: Model, x: Tensor): Promise<number[]> {
  const program = await runtime.compile(encodeModel(model))
  const results = await program.run({ x })
  await program.release()
  return numbersOf(results['y']!)
}

const interfaceOf = ({ proto }: Model) => [proto.graph!.input, proto.graph!.output]

/** Trains a model, and checks that the export differs only in its weights and has the same accuracy. */
async function trainAndExport(model: Model): Promise<void> {
  const data = clusters(96, [6])
  const trainer = await Trainer.create(model, {
    loss: crossEntropy(),
    optimizer: ire(adamw({ lr: 2e-2 }), { kappa: 1, gamma: 0.8 }),
    runtime,
  })
  const losses: number[] = []
  for await (const { loss } of trainer.fit(data, { totalEpochs: 8 })) losses.push(loss)
  expect(losses.at(-1)!).toBeLessThan(0.7 * losses[0]!)
  expect(Object.values(await trainer.parameters()).every((array) => array instanceof Float32Array)).toBe(true)

  const tuned = trainer.export()
  const [before, after] = [namedTensors(model), namedTensors(tuned)]
  expect([...after].map(([name, { dtype }]) => [name, dtype])).toEqual(
    [...before].map(([name, { dtype }]) => [name, dtype]),
  )
  for (const name of Object.keys(await trainer.parameters()))
    expect(after.get(name)!.data).not.toEqual(before.get(name)!.data)
  expect(interfaceOf(tuned)).toEqual(interfaceOf(model))
  const { accuracy } = await trainer.evaluate(data)
  await trainer.dispose()
  const { dtype } = importGraph(model).inputs.get('x')!
  // onnxruntime takes no bfloat16 feeds from JavaScript.
  if (dtype === 'bfloat16') return

  const { x, labels } = await data.batch(Array.from({ length: 96 }, (_, i) => i))
  const scores = await logits(tuned, tensorFrom(dtype, x!.dims, numbersOf(x!)))
  const right = numbersOf(labels!).filter((label, i) => {
    const row = scores.slice(3 * i, 3 * i + 3)
    return row.indexOf(Math.max(...row)) === label
  })
  expect(Math.abs(right.length / 96 - accuracy!)).toBeLessThan(0.03)
}

describe('half precision in bodies', () => {
  describe.each(Object.entries(forms))('%s', (_, build) => {
    it.each(['float16', 'bfloat16'] as const)('%s: no value in half precision remains', (dtype) => {
      const before = importGraph(classifier(dtype, build(dtype)))
      const after = toFloat32(before)
      expect(typesIn(before.outputs.values())).toContain(dtype)
      const types = typesIn(after.outputs.values())
      expect(types).toContain('float32')
      for (const half of ['float16', 'bfloat16'] as const) expect(types).not.toContain(half)
      expect([...after.parameters.keys()]).toEqual([...before.parameters.keys()])
    })

    it('the float32 graph computes the same as the float16 model', async () => {
      const model = classifier('float16', build('float16'))
      const wide = modelOf(toFloat32(importGraph(model)))
      const x = drawn('x', 'float16', 7, 6)
      const exact = await logits(wide, tensorFrom('float32', x.dims, numbersOf(x)))
      for (const [i, y] of (await logits(model, x)).entries())
        expect(Math.abs(y - exact[i]!)).toBeLessThan(0.01 * (1 + Math.abs(exact[i]!)))
    })

    it.each(['float16', 'bfloat16'] as const)('trains in float32 and is exported in %s', (dtype) =>
      trainAndExport(classifier(dtype, build(dtype))),
    )
  })

  it('weights inside a body, downstream of sequences', async () => {
    const model = ownWeights()
    expect([...importGraph(model).parameters.keys()].toSorted()).toEqual(['bound', 'out', 'w_else', 'w_then'])
    await trainAndExport(model)
  })

  it('bfloat16 weights captured by a model with float32 inputs', () =>
    trainAndExport(
      classifier('float32', (x) => {
        const w = weight('w', 'bfloat16', 6, 6)
        const [y] = op.Loop(scalar('int64', 5), yes, [x], {
          body: body([...round(), input('state', 'float32', ['N', 6])], (_, again, s) => [
            again!,
            op.Tanh(op.Add(op.MatMul(s!, op.Cast(w, { to: dtypes.float32.onnx })), x)),
          ]),
        })
        return y!
      }),
    ))
})
