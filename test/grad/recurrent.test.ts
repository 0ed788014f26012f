import * as ort from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import { gradients } from '../../src/grad/gradient.js'
import type { DType } from '../../src/ir/dtype.js'
import { input, parameter, scalar } from '../../src/ir/leaf.js'
import { tensor } from '../../src/ir/tensor.js'
import type { Value } from '../../src/ir/value.js'
import { exportGraph } from '../../src/onnx/export/export-graph.js'
import { encode } from '../../src/onnx/proto/encode.js'
import { recurrentExpansions } from '../../src/op/compose/recurrent.js'
import { op } from '../../src/op/op.js'
import { Random } from '../../src/util/random.js'
import { checkCase } from './check.js'
import { evaluate } from './evaluate.js'

type Operator = keyof typeof recurrentExpansions
type Attributes = Record<string, string | number | string[] | number[]>
type Layer = (x: readonly (Value | null)[], attributes: Attributes) => readonly Value[]

const gates = { RNN: 1, GRU: 3, LSTM: 4 }
const functions = { RNN: 1, GRU: 2, LSTM: 3 }
const outputs = { RNN: 2, GRU: 2, LSTM: 3 }
const [T, N, I, H] = [5, 3, 4, 2]

const expanded =
  (operator: Operator): Layer =>
  (x, attributes) => {
    const all = { direction: 'forward', layout: 0, linear_before_reset: 0, input_forget: 0, ...attributes }
    return [(recurrentExpansions[operator] as (x: unknown, a: unknown) => Value | readonly Value[])(x, all)].flat()
  }
const kernel =
  (operator: Operator): Layer =>
  (x, attributes) =>
    (op[operator] as unknown as (...x: unknown[]) => readonly Value[])(...x, { hidden_size: H, ...attributes })

/** Shapes of the operands of an operator: x, w, r, b, sequence_lens, initial_h and for LSTM initial_c and p. */
function shapesOf(operator: Operator, directions: number): (readonly number[])[] {
  const g = gates[operator]
  const state = [directions, N, H]
  return [
    [T, N, I],
    [directions, g * H, I],
    [directions, g * H, H],
    [directions, 2 * g * H],
    [N],
    state,
    ...(operator === 'LSTM' ? [state, [directions, 3 * H]] : []),
  ]
}

async function run(values: readonly Value[], feeds: Record<string, ort.Tensor>, inputs: readonly Value[]) {
  const model = exportGraph({
    name: 'layer',
    inputs: new Map(inputs.map((x) => [x.name!, x])),
    outputs: new Map(values.map((y, i) => [`y${i}`, y])),
  })
  const session = await ort.InferenceSession.create(encode('ModelProto', model), { logSeverityLevel: 3 })
  const results = await session.run(feeds)
  return values.map((_, i) => Array.from(results[`y${i}`]!.data as Float32Array))
}

interface Form {
  readonly name: string
  readonly attributes?: Attributes
  /** Optional operands (b, lens, h, c, p) that are present. */
  readonly with?: string
}

/** Largest difference of an expansion from onnxruntime's kernel on random operands, relative to the largest result. */
async function difference(operator: Operator, { name, attributes = {}, with: present = '' }: Form): Promise<number> {
  const random = new Random(3).stream(name)
  const directions = attributes['direction'] === 'bidirectional' ? 2 : 1
  const names = ['x', 'w', 'r', 'b', 'lens', 'h', 'c', 'p']
  const feeds: Record<string, ort.Tensor> = {}
  const operands = shapesOf(operator, directions).map((dims, i) => {
    const own = names[i]!
    if (i > 2 && !present.split(' ').includes(own)) return null
    const size = dims.reduce((a, b) => a * b, 1)
    feeds[own] =
      own === 'lens'
        ? new ort.Tensor('int32', Int32Array.of(5, 2, 3), dims)
        : new ort.Tensor(
            'float32',
            Float32Array.from({ length: size }, () => 1.6 * random.uniform() - 0.8),
            dims,
          )
    return input(own, own === 'lens' ? 'int32' : ('float32' as DType), dims)
  })
  const inputs = operands.filter((x) => x !== null)
  const [ours, theirs] = [
    await run(expanded(operator)(operands, attributes), feeds, inputs),
    await run(kernel(operator)(operands, attributes), feeds, inputs),
  ]
  expect(ours.length).toBe(outputs[operator])
  const distances = ours.flatMap((values, i) => {
    expect(values.length).toBe(theirs[i]!.length)
    return values.map((value, j) => Math.abs(value - theirs[i]![j]!))
  })
  return Math.max(...distances) / Math.max(1e-3, ...theirs.flat().map(Math.abs))
}

/** Number of parameters of each activation. */
const activations = {
  Relu: 0,
  Tanh: 0,
  Sigmoid: 0,
  Affine: 2,
  LeakyRelu: 1,
  ThresholdedRelu: 1,
  ScaledTanh: 2,
  HardSigmoid: 2,
  Elu: 1,
  Softsign: 0,
  Softplus: 0,
}

const forms = (operator: Operator): Form[] => {
  const all = operator === 'LSTM' ? 'b lens h c p' : 'b lens h'
  const special: Attributes[] =
    operator === 'GRU' ? [{ linear_before_reset: 1 }] : operator === 'LSTM' ? [{ input_forget: 1 }] : []
  return [
    { name: 'nothing optional' },
    { name: 'bias', with: 'b' },
    { name: 'everything optional', with: all },
    { name: 'reverse', attributes: { direction: 'reverse' }, with: all },
    { name: 'reverse, all of one length', attributes: { direction: 'reverse' }, with: 'b h' },
    { name: 'bidirectional', attributes: { direction: 'bidirectional' }, with: all },
    { name: 'bidirectional without anything', attributes: { direction: 'bidirectional' } },
    { name: 'clip', attributes: { clip: 0.4 }, with: all },
    ...special.flatMap((attributes) => [
      { name: JSON.stringify(attributes), attributes, with: 'b' },
      {
        name: `${JSON.stringify(attributes)} bidirectional`,
        attributes: { ...attributes, direction: 'bidirectional' },
        with: all,
      },
      { name: `${JSON.stringify(attributes)} clip`, attributes: { ...attributes, clip: 0.4 }, with: all },
    ]),
    ...Object.entries(activations).map(([activation, parameters]) => ({
      name: activation,
      attributes: {
        activations: Array<string>(functions[operator]).fill(activation),
        ...(parameters > 0 && { activation_alpha: Array<number>(functions[operator]).fill(0.15) }),
        ...(parameters > 1 && { activation_beta: Array<number>(functions[operator]).fill(0.4) }),
      },
      with: 'b',
    })),
    {
      name: 'parameters of functions in turn',
      attributes: {
        direction: 'bidirectional',
        activations: Array.from(
          { length: 2 * functions[operator] },
          (_, i) => ['LeakyRelu', 'HardSigmoid', 'Tanh'][i % 3]!,
        ),
        activation_alpha: [0.3, 0.15, 0.1, 0.25],
        activation_beta: [0.4, 0.6],
      },
      with: 'b',
    },
  ]
}

describe.each(['RNN', 'GRU', 'LSTM'] as const)('the expansion of %s', (operator) => {
  it.each(forms(operator))("$name > equals onnxruntime's kernel", async (form) => {
    expect(await difference(operator, form)).toBeLessThan(1e-5)
  })
})

describe.each(['RNN', 'GRU', 'LSTM'] as const)('the expansion of %s in float64', (operator) => {
  // The kernels are float32; what they are differentiated as is not.
  const state = { shape: [1, N, H] }
  const weights = [
    [6, N, I],
    [1, gates[operator] * H, I],
    [1, gates[operator] * H, H],
    [1, 2 * gates[operator] * H],
  ]
  const operands = [
    ...weights.map((shape) => ({ shape, range: [-0.8, 0.8] as const })),
    state,
    ...(operator === 'LSTM' ? [state, { shape: [1, 3 * H] }] : []),
  ]
  const build =
    (attributes: Attributes) =>
    (x: Value, w: Value, r: Value, b: Value, ...rest: Value[]) =>
      expanded(operator)([x, w, r, b, null, ...rest], attributes)

  it.each([{}, { linear_before_reset: 1, input_forget: 1, clip: 0.7, direction: 'reverse' }] as Attributes[])(
    'has the gradients that differences give: %j',
    async (attributes) => {
      const case_ = { name: `${operator} in float64`, operands, build: build(attributes) }
      await checkCase(case_, { symbolic: false })
      await checkCase(case_, { symbolic: true })
    },
  )

  it('batch-first layout > equals the transposed time-first layout', async () => {
    const values = { x: [N, T, I], w: [1, gates[operator] * H, I], r: [1, gates[operator] * H, H], h: [N, 1, H] }
    const random = new Random(5)
    const feeds = Object.fromEntries(
      Object.entries(values).map(([name, dims]) => {
        const data = Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => random.uniform() - 0.5)
        return [name, new ort.Tensor('float32', data, dims)]
      }),
    )
    const inputs = Object.entries(values).map(([name, dims]) => input(name, 'float32', dims))
    const [x, w, r, h] = inputs as [Value, Value, Value, Value]
    const swap = (value: Value) => op.Transpose(value, { perm: [1, 0, 2] })
    const first = expanded(operator)([x, w, r, null, null, h], { layout: 1 })
    const [y, ...last] = kernel(operator)([swap(x), w, r, null, null, swap(h)], {})
    const ours = await run(first, feeds, inputs)
    const theirs = await run([op.Transpose(y!, { perm: [2, 0, 1, 3] }), ...last.map(swap)], feeds, inputs)
    for (const [i, values] of ours.entries())
      for (const [j, value] of values.entries()) expect(value).toBeCloseTo(theirs[i]![j]!, 5)
  })
})

describe.each(['RNN', 'GRU', 'LSTM'] as const)('a long sequence through %s', (operator) => {
  const random = new Random(7)
  const operand = (name: string, dims: readonly number[]) =>
    parameter(name, tensor('float32', dims, random.fill(new Float32Array(dims.reduce((a, b) => a * b, 1)), 'normal')))
  const steps = 400
  const x = operand('x', [steps, N, I])
  const [w, r] = [I, H].map((from) => op.Mul(operand(`from${from}`, [1, gates[operator] * H, from]), 0.3))
  const last = op.ReduceSum(kernel(operator)([x, w!, r!], {})[1]!, null, { keepdims: 0 })
  const gradientFor = async (seed: number) =>
    (await evaluate(gradients([[last, scalar('float32', seed)]], [x])[0]!))[0]!

  it('gradients of early steps > become 0 and not subnormal', async () => {
    const dx = (await gradientFor(1)).map(Math.abs)
    expect(dx.slice(0, N * I).filter((g) => g !== 0)).toEqual([])
    expect(Math.max(...dx.slice(-N * I))).toBeGreaterThan(1e-3)
    expect(dx.filter((g) => g > 0 && g < 2 ** -126)).toEqual([])
    // They shrink gradually.
    expect(dx.filter((g) => g > 0 && g < 1e-25).length).toBeGreaterThan(0)
  })

  it('a gradient that is not a number > is one at all steps', async () => {
    expect((await gradientFor(Number.NaN)).every(Number.isNaN)).toBe(true)
  })
})
