import { afterAll, describe, expect, it } from 'vitest'
import { HostBackend } from '../../../src/backend/host.js'
import { Random } from '../../../src/data/index.js'
import {
  buildTrainingGraphs,
  constant,
  importGraph,
  input,
  modelOf,
  op,
  parameter,
  scalar,
  type Value,
} from '../../../src/graph/index.js'
import {
  adamw,
  crossEntropy,
  encodeModel,
  evaluateModel,
  fromArrays,
  type Model,
  mse,
  sgd,
  Trainer,
} from '../../../src/index.js'
import { body } from '../../../src/ir/body.js'
import { tensorFrom } from '../../../src/ir/leaf.js'
import { node } from '../../../src/node/index.js'
import type { NodeProto } from '../../../src/onnx/proto/schema.js'
import { Programs } from '../../../src/train/programs.js'
import * as build from '../../onnx/build.js'
import { errorWith } from '../../thrown.js'
import { clusters } from '../problem.js'

const runtime = node({ threads: 1 })
afterAll(() => runtime.dispose())

/** x [N, 6], with Dropout before and after a matrix. */
function dropping(ratio: number, training = false): Model {
  const random = new Random(1)
  const weights = (rows: number, columns: number) =>
    tensorFrom('float32', [rows, columns], random.fill(new Float64Array(rows * columns), 'normal'))
  const x = input('x', 'float32', ['N', 6])
  const mode = training ? constant(tensorFrom('bool', [], [1])) : null
  const [seen] = op.Dropout(x, scalar('float32', ratio), mode)
  const hidden = op.Relu(op.MatMul(seen, parameter('w', weights(6, 8))))
  const [kept] = op.Dropout(hidden, scalar('float32', ratio), mode)
  return modelOf({
    name: 'dropping',
    inputs: new Map([['x', x]]),
    outputs: new Map([['logits', op.MatMul(kept, parameter('v', weights(8, 3)))]]),
  })
}

const points = clusters(40, [6])

describe('dropout', () => {
  it('drops the given share and scales up the rest, in the loss and in its gradient', async () => {
    const x = input('x', 'float32', ['N', 50])
    const [y] = op.Dropout(x, scalar('float32', 0.25))
    const w = parameter('w', tensorFrom('float32', [1, 50], new Float64Array(50).fill(1)))
    const model = modelOf({
      name: 'scaled',
      inputs: new Map([['x', x]]),
      outputs: new Map([['y', op.Mul(y, w)]]),
    })
    const loss = mse({ targets: 't' })
    const graphs = buildTrainingGraphs(importGraph(model), { loss, trainable: 'w', dropout: 'on' })
    const programs = new Programs(graphs, HostBackend.forEvaluation(runtime, graphs.parameters))
    const ones = (value: number) => tensorFrom('float32', [200, 50], new Float64Array(10_000).fill(value))
    const run = (seed: number) =>
      programs.gradient({
        kind: 'loss',
        batch: { x: ones(1), t: ones(0) },
        size: 200,
        parameters: { w: new Float32Array(50).fill(1) },
        statistics: {},
        random: new Random(seed),
      })
    const result = await run(0)
    // Each element is (4/3)^2 with probability 3/4: 4/3 in the mean, with variance (16/9)^2 3/16.
    expect(result.loss).toBeCloseTo(4 / 3, 1)
    // d loss / d w sums to 2 loss, as the loss is quadratic in w.
    const sum = Array.from(result.gradients['w']!).reduce((total, g) => total + g, 0)
    expect(sum).toBeCloseTo(2 * result.loss, 4)
    expect((await run(0)).loss).toBe(result.loss)
    expect((await run(1)).loss).not.toBe(result.loss)
    await programs.release()
  })

  it('is off in evaluation and in the exported model, and off by default', async () => {
    const options = { loss: crossEntropy(), optimizer: sgd({ lr: 0.01 }), runtime, batchSize: 8 }
    const [on, off] = await Promise.all([
      Trainer.create(dropping(0.5), { ...options, dropout: 'on' }),
      Trainer.create(dropping(0.5), options),
    ])
    const none = await Trainer.create(dropping(0), { ...options, dropout: 'on' })
    expect((await on.evaluate(points)).loss).toBe((await none.evaluate(points)).loss)
    expect(Buffer.compare(encodeModel(on.export()), encodeModel(dropping(0.5)))).toBe(0)
    const losses = await Promise.all(
      [on, off, none].map(async (trainer) => {
        const seen: number[] = []
        for await (const _ of trainer.fit(points, { totalSteps: 3, onStep: ({ loss }) => seen.push(loss) }));
        return seen
      }),
    )
    expect(losses[1]).toEqual(losses[2])
    expect(losses[0]![0]).not.toBe(losses[1]![0])
  })

  it('that the file sets to training mode > is off unless the option activates it, and remains in the exported file', async () => {
    const random = dropping(0.5, true)
    const [resting, off, on] = await Promise.all([
      Trainer.create(dropping(0.5), { loss: crossEntropy(), optimizer: sgd({ lr: 0.01 }), runtime }),
      Trainer.create(random, { loss: crossEntropy(), optimizer: sgd({ lr: 0.01 }), runtime }),
      Trainer.create(random, { loss: crossEntropy(), optimizer: sgd({ lr: 0.01 }), runtime, dropout: 'on' }),
    ])
    const losses = await Promise.all(
      [resting, off, on].map(async (trainer) => {
        const seen: number[] = []
        for await (const _ of trainer.fit(points, { totalSteps: 3, onStep: ({ loss }) => seen.push(loss) }));
        return seen
      }),
    )
    expect(losses[1]).toEqual(losses[0])
    expect(losses[2]).not.toEqual(losses[0])
    const untrained = await Trainer.create(random, { loss: crossEntropy(), optimizer: sgd({ lr: 0.01 }), runtime })
    expect(Buffer.compare(encodeModel(untrained.export()), encodeModel(random))).toBe(0)
    const measured = await Promise.all(
      [dropping(0.5), random].map((model) => evaluateModel(model, points, { loss: crossEntropy(), runtime })),
    )
    expect(measured[1]).toEqual(measured[0])
  })

  it('of a length that the model computes in floats > drops; by other operators > invalid-shape that names it', async () => {
    const train = async (rounded: readonly NodeProto[]) => {
      const number = (x: number) => ({ value: build.value({ dtype: 'float32', dims: [], data: Float32Array.of(x) }) })
      const nodes = [
        build.node('Shape', 'x', 'shape', { end: build.int(1) }),
        build.node('Cast', 'shape', 'n', { to: build.int(1) }),
        build.node('Constant', '', 'three', number(3)),
        build.node('Div', 'n three', 'third'),
        ...rounded,
        build.node('Cast', 'length', 'integer', { to: build.int(7) }),
        build.node('Expand', 'w integer', 'wide'),
        build.node('Constant', '', 'ratio', number(0.5)),
        build.node('Dropout', 'wide ratio', 'kept'),
        build.node('ReduceMean', 'kept', 'mean', { keepdims: build.int(0) }),
        build.node('Mul', 'x mean', 'y'),
      ]
      const [inputs, outputs] = [[build.info('x', ['N', 1])], [build.info('y', ['N', 1])]]
      const initializers = { w: build.floats32([1], [1]) }
      const proto = build.modelProto({ nodes, inputs, outputs, initializers })
      const given = { loss: mse({ targets: 't' }), optimizer: sgd({ lr: 0.01 }), runtime, batchSize: 7, trainable: 'w' }
      const trainer = await Trainer.create({ proto, external: null }, { ...given, dropout: 'on' })
      const ones = { dims: [14, 1], data: new Float32Array(14).fill(1) }
      const losses: number[] = []
      const onStep = ({ loss }: { readonly loss: number }) => void losses.push(loss)
      await trainer.train(fromArrays({ x: ones, t: ones }), { totalSteps: 1, onStep })
      await trainer.dispose()
      return losses[0]!
    }
    // The mean of three elements that are 0 or 2.
    const losses = [0, 1, 2, 3].map((kept) => ((2 * kept) / 3 - 1) ** 2)
    const loss = await train([build.node('Ceil', 'third', 'length')])
    expect(losses.some((each) => Math.abs(each - loss) < 1e-5)).toBe(true)
    const root = [build.node('Sqrt', 'third', 'root'), build.node('Ceil', 'root', 'length')]
    await expect(train(root)).rejects.toThrow(errorWith('invalid-shape', "Dropout 'Dropout_kept'"))
  })

  it('that cannot be activated > invalid-option that names the node', () => {
    const build = (make: (x: Value) => Value) => {
      const x = input('x', 'float32', ['N', 6])
      const logits = op.MatMul(make(x), parameter('w', tensorFrom('float32', [6, 3], new Float32Array(18).fill(0.1))))
      const model = modelOf({ name: 'm', inputs: new Map([['x', x]]), outputs: new Map([['logits', logits]]) })
      return () => buildTrainingGraphs(importGraph(model), { loss: crossEntropy(), dropout: 'on' })
    }
    const isPositive = (x: Value) => op.Greater(op.ReduceSum(x, null, { keepdims: 0 }), 0)
    const inBody = (x: Value) =>
      op.If(isPositive(x), {
        then_branch: body([], () => [op.Dropout(x, scalar('float32', 0.5))[0]]),
        else_branch: body([], () => [op.Neg(x)]),
      })[0]!
    expect(build(inBody)).toThrow(errorWith('invalid-option', "dropout is 'on', but Dropout"))
    const computed = (x: Value) => op.Dropout(x, op.ReduceMax(op.Sigmoid(x), null, { keepdims: 0 }))[0]
    expect(build(computed)).toThrow(errorWith('invalid-option', "dropout is 'on', but the ratio of Dropout"))
    expect(build((x) => op.Dropout(x, scalar('float32', 0.5))[0])).not.toThrow()
  })

  it('continues bit for bit after a resume', async () => {
    const create = () =>
      Trainer.create(dropping(0.3), { loss: crossEntropy(), optimizer: adamw(), runtime, batchSize: 8, dropout: 'on' })
    const [whole, first, second] = await Promise.all([create(), create(), create()])
    for await (const _ of whole.fit(points, { totalSteps: 7 }));
    for await (const _ of first.fit(points, { totalSteps: 3 }));
    second.restore(first.checkpoint())
    for await (const _ of second.fit(points, { totalSteps: 7 }));
    expect(Buffer.compare(encodeModel(second.export()), encodeModel(whole.export()))).toBe(0)
  })
})
