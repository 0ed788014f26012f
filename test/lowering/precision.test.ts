import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Random } from '../../src/data/index.js'
import { constant, importGraph, input, modelOf, op, parameter } from '../../src/graph/index.js'
import {
  adamw,
  crossEntropy,
  type DType,
  encodeModel,
  evaluateModel,
  fromArrays,
  inspectModel,
  ire,
  type Model,
  namedTensors,
  type Runtime,
  type Tensor,
  Trainer,
} from '../../src/index.js'
import { dtypes } from '../../src/ir/dtype.js'
import { numbersOf, tensorFrom } from '../../src/ir/leaf.js'
import { topological } from '../../src/ir/topology.js'
import { refineShape } from '../../src/ir/value.js'
import { toFloat32 } from '../../src/lowering/precision.js'
import { node } from '../../src/node/index.js'
import { clusters, smallMlp } from '../train/problem.js'

let runtime: Runtime
beforeAll(() => {
  runtime = node({ worker: false, threads: 1 })
})
afterAll(() => runtime.dispose())

const drawn = (random: Random, dtype: DType, dims: readonly number[]): Tensor =>
  tensorFrom(
    dtype,
    dims,
    Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => 0.5 * random.normal()),
  )

/** Two layers in one type, or the second in float32 after a Cast. */
function model(dtype: DType, mixed = false): Model {
  const random = new Random(5)
  const x = input('x', dtype, ['N', 6])
  const hidden = op.Relu(
    op.Add(op.MatMul(x, parameter('w1', drawn(random, dtype, [6, 16]))), parameter('b1', drawn(random, dtype, [16]))),
  )
  const after = mixed ? op.Cast(hidden, { to: dtypes.float32.onnx }) : hidden
  const y = op.MatMul(after, parameter('w2', drawn(random, mixed ? 'float32' : dtype, [16, 3])))
  return modelOf({ name: 'half', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) })
}

const train = (of: Model, epochs: number) =>
  Trainer.create(of, {
    loss: crossEntropy(),
    optimizer: ire(adamw({ lr: 1e-2 }), { kappa: 1, gamma: 0.8 }),
    runtime,
  }).then(async (trainer) => {
    const losses: number[] = []
    for await (const { loss } of trainer.fit(clusters(96, [6]), { totalEpochs: epochs })) losses.push(loss)
    return { trainer, losses }
  })

describe('half precision', () => {
  it('returns a float32 graph unchanged', () => {
    const graph = importGraph(smallMlp())
    expect(toFloat32(graph)).toBe(graph)
  })

  it.each(['float16', 'bfloat16'] as const)('converts every value of a %s graph', (dtype) => {
    const graph = toFloat32(importGraph(model(dtype)))
    const nodes = topological(graph.outputs.values())
    const types = new Set([...nodes.flatMap((each) => [...each.inputs, ...each.outputs]).map((value) => value?.dtype)])
    expect(types).toEqual(new Set(['float32']))
    expect([...graph.parameters.keys()]).toEqual(['w1', 'b1', 'w2'])
  })

  it('leaves constants without a name nameless, so that an exported graph names them', () => {
    const x = input('x', 'float16', [2])
    const y = op.Where(
      op.Greater(x, 0),
      constant(tensorFrom('float16', [], [3])),
      constant(tensorFrom('float16', [], [4])),
    )
    const half = { name: 'half', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) }
    const { graph } = modelOf(toFloat32(half)).proto
    expect(graph!.node.flatMap((each) => each.input).filter((name) => name === '')).toEqual([])
  })

  it.each([
    ['float16', false],
    ['bfloat16', false],
    ['float16', true],
  ] as const)('%s models train in float32 and keep their types (mixed: %s)', async (dtype, mixed) => {
    const start = model(dtype, mixed)
    const { trainer, losses } = await train(start, 6)
    expect(losses.at(-1)!).toBeLessThan(0.5 * losses[0]!)
    expect((await trainer.parameters())['w1']).toBeInstanceOf(Float32Array)

    const tuned = trainer.export()
    const before = namedTensors(start)
    for (const [name, tensor] of namedTensors(tuned)) {
      expect(tensor.dtype).toBe(before.get(name)!.dtype)
      const exact = Array.from((await trainer.parameters())[name]!)
      // Rounded to nearest: half a unit in the last of 11 (or 8) binary digits.
      const unit = tensor.dtype === 'float16' ? 2 ** -11 : tensor.dtype === 'bfloat16' ? 2 ** -8 : 0
      for (const [i, value] of numbersOf(tensor).entries())
        expect(Math.abs(value - exact[i]!)).toBeLessThanOrEqual(unit * Math.abs(exact[i]!) + 1e-7)
    }
    const [was, is] = [encodeModel(start), encodeModel(tuned)]
    expect(is.length).toBe(was.length)
    await trainer.dispose()
  })

  it('keeps declared shapes that inference cannot find', () => {
    const shape = input('shape', 'int64', [2])
    const x = input('x', 'float16', ['N', 6])
    const reshaped = op.Reshape(x, shape)
    refineShape(reshaped, ['N', 6])
    const y = op.MatMul(reshaped, parameter('w', drawn(new Random(1), 'float16', [6, 3])))
    const { outputs } = toFloat32({
      name: 'declared',
      inputs: new Map([
        ['x', x],
        ['shape', shape],
      ]),
      parameters: new Map(),
      outputs: new Map([
        ['y', y],
        ['z', reshaped],
      ]),
    })
    expect(outputs.get('z')).toMatchObject({ dtype: 'float32', shape: [expect.any(String), 6] })
  })

  it('inspect reports the tensors that training changes', () => {
    const { training, tensors } = inspectModel(model('float16'))
    expect(training).toMatchObject({ tensors: 3, blocked: null })
    expect(tensors.map(({ trainable }) => trainable)).toEqual([true, true, true])
  })

  it('the loss of a float16 model counts more positions than float16 can represent', async () => {
    const [examples, classes, length] = [2, 2, 40_000]
    const x = input('x', 'float16', ['N', classes, length])
    const still = modelOf({ name: 'still', inputs: new Map([['x', x]]), outputs: new Map([['y', op.Mul(x, 1)]]) })
    const data = fromArrays({
      x: tensorFrom('float16', [examples, classes, length], new Float32Array(examples * classes * length)),
      labels: { dims: [examples, length], data: new BigInt64Array(examples * length) },
    })
    const measures = await evaluateModel(still, data, { loss: crossEntropy({ axis: 1 }), runtime })
    expect(measures.count).toBe(examples * length)
    // A float32 sum of 80,000 terms.
    expect(measures.loss).toBeCloseTo(Math.log(2), 3)
  })

  it('an exported float16 model runs in onnxruntime and is as accurate as the trained model', async () => {
    const { trainer } = await train(model('float16'), 6)
    const data = clusters(96, [6])
    const { accuracy } = await trainer.evaluate(data)
    const program = await runtime.compile(encodeModel(trainer.export()))
    const { x, labels } = await data.batch(Array.from({ length: 96 }, (_, i) => i))
    const results = await program.run({ x: tensorFrom('float16', x!.dims, numbersOf(x!)) })
    const scores = numbersOf(results['y']!)
    const right = numbersOf(labels!).filter((label, i) => {
      const row = scores.slice(3 * i, 3 * i + 3)
      return row.indexOf(Math.max(...row)) === label
    })
    expect(Math.abs(right.length / 96 - accuracy!)).toBeLessThan(0.03)
    await trainer.dispose()
  })
})
