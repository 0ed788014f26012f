import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { build, type Preset } from '../../../models/index.js'
import { Random } from '../../../src/data/index.js'
import { body, constant, input, modelOf, op, parameter, type Value } from '../../../src/graph/index.js'
import { inspectModel, type Model } from '../../../src/index.js'

const weight = (name: string, ...dims: number[]): Value =>
  parameter(name, {
    dtype: 'float32',
    dims,
    data: Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i + 1)),
  })

const modelFrom = (x: Value, y: Value): Model =>
  modelOf({ name: 'test', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) })
/**
 * A preset of the package. Its random weights are zeros: `inspectModel` does not read them, and sampling takes seconds.
 */
const built = (name: string): Model => {
  const preset = new URL(`../../../models/presets/${name}.json`, import.meta.url)
  const { normal, uniform } = Random.prototype
  Object.assign(Random.prototype, { normal: () => 0, uniform: () => 0.5 })
  try {
    return modelOf(build(JSON.parse(readFileSync(preset, 'utf8')) as Preset))
  } finally {
    Object.assign(Random.prototype, { normal, uniform })
  }
}

/** x [N, 4] -> 6 -> 2 */
const perceptron = (batch: number | string = 'N') => {
  const x = input('x', 'float32', [batch, 4])
  const hidden = op.Relu(op.Gemm(x, weight('first.weight', 4, 6), weight('first.bias', 6)))
  return modelFrom(x, op.MatMul(hidden, weight('second.weight', 6, 2)))
}

describe('operations of a step', () => {
  test('perceptron > counted by hand', () => {
    const { forward, training } = inspectModel(perceptron()).cost
    const forwards = 2 * 24 + 6 + 6 + 2 * 12
    expect(forward).toEqual({ flops: forwards, atLeast: false, notes: [] })
    // second.weight, hidden, Relu's mask and product, first.weight: the input has no gradient.
    const products = 2 * 12 + 2 * 12 + 2 * 24
    expect(training!.flops).toBeGreaterThanOrEqual(forwards + products)
    expect(training!.flops).toBeLessThanOrEqual(forwards + products + 4 * 6)
  })

  test('fixed batch size > its examples are counted', () => {
    const one = inspectModel(perceptron()).cost
    const eight = inspectModel(perceptron(8)).cost
    expect(eight.forward).toEqual(one.forward)
    expect(inspectModel(perceptron(), { shapes: { x: [8, 4] } }).cost).toEqual(eight)
  })

  // Multiply-adds as published, in billions: https://pytorch.org/vision/stable/models.html and, for ViT-S/16, timm's
  // results.
  test.each([
    ['resnet-50', 4.09],
    ['vit-s-16', 4.61],
  ])('%s > %d G multiply-adds', (name, published) => {
    const { forward, training } = inspectModel(built(name)).cost
    expect(forward!.flops / 2e9 / published).toBeGreaterThan(0.995)
    expect(forward!.flops / 2e9 / published).toBeLessThan(1.02)
    expect(training!.flops / forward!.flops).toBeCloseTo(3, 0)
  })

  test('iterations of a Scan > are counted as often as they run', () => {
    const x = input('x', 'float32', ['N', 5, 3])
    const w = weight('w', 3, 3)
    const slice = input('slice', 'float32', ['N', 3])
    const of = body([slice], (row) => [op.MatMul(row!, w)])
    const [y] = op.Scan([x], { body: of, num_scan_inputs: 1, scan_input_axes: [1], scan_output_axes: [1] })
    const { layers, cost } = inspectModel(modelFrom(x, y!))
    expect(cost.forward).toEqual({ flops: 5 * 18, atLeast: false, notes: [] })
    expect(layers.find(({ parameters }) => parameters > 0)).toMatchObject({ operators: ['MatMul'], flops: 5 * 18 })
    // The Scan does not count its body again.
    expect(layers.reduce((sum, { flops }) => sum + flops!, 0)).toBe(cost.forward!.flops)
  })

  test('a Loop with unknown trip count > is counted once and noted', () => {
    const x = input('x', 'float32', ['N', 3])
    const w = weight('w', 3, 3)
    const of = body(
      [input('round', 'int64', []), input('go', 'bool', []), input('state', 'float32', ['N', 3])],
      (_, go, state) => [go!, op.MatMul(state!, w)],
    )
    const rounds = op.Cast(op.ReduceSum(x, null, { keepdims: 0 }), { to: 7 })
    const [y] = op.Loop(rounds, null, [x], { body: of })
    const { forward } = inspectModel(modelFrom(x, y!)).cost
    expect(forward).toMatchObject({
      flops: 18 + 3,
      atLeast: true,
      notes: [expect.stringMatching(/^Loop has an unknown number of iterations/)],
    })
  })

  test('nodes that depend only on constants > are computed at load and not counted', () => {
    const x = input('x', 'float32', ['N', 3])
    const scaled = op.Mul(weight('w', 3, 2), weight('scale', 2))
    const { cost } = inspectModel(modelFrom(x, op.MatMul(x, scaled)))
    expect(cost.forward!.flops).toBe(12)
  })
})

describe('symbolic dims', () => {
  const convolution = () => {
    const x = input('x', 'float32', ['N', 3, 'H', 'W'])
    return modelFrom(x, op.Conv(x, weight('conv.weight', 4, 3, 1, 1)))
  }

  test('missing > are named', () => {
    const { cost, layers } = inspectModel(convolution())
    expect(cost).toEqual({
      missing: [
        { input: 'x', axis: 2, name: 'H' },
        { input: 'x', axis: 3, name: 'W' },
      ],
      error: null,
      forward: null,
      training: null,
      memory: null,
    })
    expect(layers).toEqual([
      { name: 'conv', operators: ['Conv'], shape: [1, 4, 'H', 'W'], parameters: 12, trainable: 12, flops: null },
    ])
  })

  test('given > are used', () => {
    const { cost, layers } = inspectModel(convolution(), { shapes: { x: [1, 3, 5, 7] } })
    expect(cost.forward!.flops).toBe(35 * 4 * 3 * 2)
    expect(layers[0]).toMatchObject({ shape: [1, 4, 5, 7], flops: 35 * 4 * 3 * 2 })
  })

  test('fixed in the file for one input > is used for every input', () => {
    const [a, b] = [input('a', 'float32', ['N', 'T', 3]), input('b', 'float32', ['N', 'T', 3])]
    const y = op.MatMul(op.Add(a, b), weight('w', 3, 2))
    const inputs = new Map([
      ['a', a],
      ['b', b],
    ])
    const model = modelOf({ name: 'two', inputs, outputs: new Map([['y', y]]) })
    const { cost } = inspectModel(model, { shapes: { a: [1, 10, 3] } })
    expect(cost.missing).toEqual([])
    expect(cost.forward!.flops).toBe(30 + 10 * 6 * 2)
  })

  test.each([
    ['of no input', { y: [1, 3, 5, 7] }],
    ['of another rank', { x: [3, 5, 7] }],
    ['against the file', { x: [1, 4, 5, 7] }],
    ['not whole', { x: [1, 3, 5, 0.5] }],
  ] as const)('shape %s > rejects', (_, shapes) => {
    expect(() => inspectModel(convolution(), { shapes })).toThrow(expect.objectContaining({ code: 'invalid-option' }))
  })
})

describe('layers', () => {
  test('bias and norm > belong to the preceding layer; positions do not', () => {
    const x = input('x', 'float32', ['N', 3, 4])
    const projected = op.Add(op.MatMul(x, weight('projection.weight', 4, 8)), weight('projection.bias', 8))
    const placed = op.Add(projected, weight('positions', 3, 8))
    const y = op.LayerNormalization(op.Relu(placed), weight('norm.weight', 8), weight('norm.bias', 8))[0]
    const { layers, training } = inspectModel(modelFrom(x, y))
    expect(layers.map(({ name, operators, parameters }) => [name, ...operators, parameters])).toEqual([
      ['projection', 'MatMul', 'Add', 40],
      ['positions', 'Add', 24],
      [expect.any(String), 'Relu', 0],
      ['norm', 'LayerNormalization', 16],
    ])
    expect(training.elements).toBe(80)
  })

  test.each(['resnet-18-cifar', 'vit-t-4', 'llama-tiny', 'transformer'])(
    'layers of %s > contain every weight exactly once',
    (name) => {
      const { layers, training, cost } = inspectModel(built(name))
      const sum = (of: (layer: (typeof layers)[number]) => number) =>
        layers.reduce((total, layer) => total + of(layer), 0)
      expect(sum(({ parameters }) => parameters)).toBe(training.elements)
      expect(sum(({ trainable }) => trainable)).toBe(training.elements)
      expect(sum(({ flops }) => flops!)).toBe(cost.forward!.flops)
    },
  )

  test('shared weight > is counted with the first layer', () => {
    const x = input('x', 'float32', ['N', 4])
    const w = weight('tied.weight', 4, 4)
    const { layers } = inspectModel(modelFrom(x, op.MatMul(op.Relu(op.MatMul(x, w)), w)))
    expect(layers.map(({ parameters }) => parameters)).toEqual([16, 0, 0])
  })
})

describe('memory', () => {
  test('bytes per trained parameter > by optimizer', () => {
    const { memory } = inspectModel(perceptron()).cost
    const elements = 24 + 6 + 12
    expect(memory).toMatchObject({
      gradients: 4 * elements,
      moments: { sgd: 4 * elements, adam: 8 * elements, ireMask: elements },
    })
    expect(memory!.parameters).toBeGreaterThanOrEqual(4 * elements)
    expect(memory!.run).toMatchObject({ weights: 2 * 4 * elements, optimizer: 2 * 4 * elements + 2 * elements })
  })

  test('activations > grow with the batch', () => {
    const { memory } = inspectModel(built('resnet-18-cifar')).cost
    const { memory: of64 } = inspectModel(built('resnet-18-cifar'), { shapes: { x: [64, 3, 32, 32] } }).cost
    const { fixed, perExample } = memory!.activations!
    // Gaps in the arena depend on the batch.
    expect(Math.abs((of64!.activations!.perExample * 64) / (fixed + 64 * perExample) - 1)).toBeLessThan(0.15)
    // The inputs of the five convolutions of the first stage (65,536 elements each) are stored until the weight
    // gradients.
    expect(perExample).toBeGreaterThan(4 * 4 * 65_536)
  })

  test('model that cannot be trained > the forward pass is reported', () => {
    const x = input('x', 'float32', ['N', 4])
    const { cost, training } = inspectModel(modelFrom(x, op.Relu(x)))
    expect(training.blocked).not.toBeNull()
    expect(cost).toMatchObject({ forward: { flops: 4 }, training: null, memory: null })
  })

  test('quantized weights of a convolution of several groups > every stored element is counted', () => {
    const x = input('x', 'float32', ['N', 4, 5, 5])
    const w = constant({ dtype: 'int8', dims: [4, 1, 3, 3], data: new Int8Array(36) })
    const scale = constant({ dtype: 'float32', dims: [], data: Float32Array.of(0.1) })
    const y = op.Conv(x, op.DequantizeLinear(w, scale), { group: 4 })
    expect(inspectModel(modelFrom(x, y)).training.total).toBe(36 + 1)
  })

  test('quantized model > the reason is that of a trainer, with its advice', () => {
    const x = input('x', 'float32', ['N', 4])
    const [q, scale, zero] = op.DynamicQuantizeLinear(x)
    const w = constant({ dtype: 'int8', dims: [4, 2], data: Int8Array.of(1, 2, 3, 4, 5, 6, 7, 8) })
    const y = op.Mul(op.Cast(op.MatMulInteger(q, w, zero), { to: 1 }), scale)
    const { blocked } = inspectModel(modelFrom(x, y)).training
    expect(blocked).toMatchObject({
      code: 'invalid-option',
      message: expect.stringMatching(/quantized \(DynamicQuantizeLinear.*MatMulInteger.*the float model/),
    })
  })
})
