import { expect } from 'vitest'
import { Random } from '../../../src/data/index.js'
import { exportGraph, gradients, importGraph, input, type Value } from '../../../src/graph/index.js'
import { type DType, decodeModel, type Tensor, type Tensors } from '../../../src/index.js'
import { isFloat } from '../../../src/ir/dtype.js'
import { tensorFrom } from '../../../src/ir/leaf.js'
import { encode } from '../../../src/onnx/proto/encode.js'
import { create } from '../../../src/onnx/proto/message.js'
import type { ModelProto } from '../../../src/onnx/proto/schema.js'
import { info, modelProto, node } from '../build.js'
import { difference, numbers, run } from '../session.js'

/** An operand of a node: its dims, and its elements unless they are sampled from ±[0.3, 1.5]. */
export interface Operand {
  readonly dims: readonly number[]
  readonly values?: readonly number[]
  readonly dtype?: DType
  /** Fed, but not differentiated. */
  readonly fixed?: boolean
  /** Declared dims, with names in place of some lengths. Default: the lengths. */
  readonly symbolic?: readonly (string | number)[]
}

/** `of(2, 3)`: an operand of floats. */
export const of = (...dims: readonly number[]): Operand => ({ dims })
export const int32 = (dims: readonly number[], ...values: readonly number[]): Operand => ({
  dims,
  values,
  dtype: 'int32',
})
export const int64 = (dims: readonly number[], ...values: readonly number[]): Operand => ({
  dims,
  values,
  dtype: 'int64',
})

/** Batch and length without a number, as exporters declare them. */
export const symbolic = (operand: Operand | null): Operand | null => {
  if (!operand) return null
  const open = { 1: [], 2: operand.dtype ? [0, 1] : [], 3: [0, 1], 4: [0, 2], 5: [1, 3] }[operand.dims.length] ?? []
  return { ...operand, symbolic: operand.dims.map((length, axis) => (open.includes(axis) ? `d${length}` : length)) }
}

export interface Original {
  readonly name: string
  readonly operator: string
  readonly operands: readonly (Operand | null)[]
  readonly attributes?: Parameters<typeof node>[3]
  /** Number of outputs to compare; the first is differentiated. */
  readonly outputs?: number
  readonly domain?: string
  readonly opset?: number
  /** Absent outputs. */
  readonly skipped?: readonly number[]
}

function built({
  operator,
  operands,
  attributes = {},
  outputs = 1,
  domain = 'com.microsoft',
  opset = 23,
  skipped = [],
}: Original): ModelProto {
  const names = operands.map((operand, i) => (operand ? `x${i}` : '_')).join(' ')
  const results = Array.from({ length: outputs }, (_, i) => (skipped.includes(i) ? '_' : `y${i}`))
  const proto = modelProto(
    {
      nodes: [node(operator, names, results.join(' '), attributes, domain)],
      inputs: operands.flatMap((operand, i) =>
        operand ? [info(`x${i}`, operand.symbolic ?? operand.dims, operand.dtype)] : [],
      ),
      outputs: results.flatMap((name) => (name === '_' ? [] : [create('ValueInfoProto', { name })])),
    },
    { opset, ir: 11 },
  )
  return {
    ...proto,
    opsetImport: [...proto.opsetImport, create('OperatorSetIdProto', { domain: 'com.microsoft', version: 1n })],
  }
}

function drawn({ dims, values, dtype = 'float32' }: Operand, random: Random): Tensor {
  const length = dims.reduce((a, b) => a * b, 1)
  const one = () => (random.uniform() < 0.5 ? -1 : 1) * (0.3 + 1.2 * random.uniform())
  return tensorFrom(dtype, dims, values ?? Array.from({ length }, one))
}

/** The graph that importing makes of a model of one node. */
export const importedOriginal = (original: Original) => importGraph(decodeModel(encode('ModelProto', built(original))))

/**
 * Checks that a node has the same outputs in onnxruntime and after import. Returns the graph and feeds for further
 * checks.
 */
async function compared(original: Original) {
  const proto = built(original)
  const bytes = encode('ModelProto', proto)
  const random = new Random(11).stream(original.name)
  const feeds: Record<string, Tensor> = {}
  for (const [i, operand] of original.operands.entries()) if (operand) feeds[`x${i}`] = drawn(operand, random)
  const graph = importGraph(decodeModel(bytes))
  const expected = await run(bytes, feeds)
  const found = await run(encode('ModelProto', exportGraph(graph)), feeds)
  for (const [name, value] of Object.entries(expected)) {
    expect(difference(found[name]!, value), `${name} of ${original.name}`).toBeLessThan(2e-5)
  }
  return { bytes, feeds, graph, expected, random }
}

/**
 * Checks a node against onnxruntime's own kernel: equal outputs, and a gradient that agrees with central differences of
 * the kernel along random directions of all floating operands.
 */
export async function checkOriginal(original: Original): Promise<void> {
  const { bytes, feeds, graph, expected, random } = await compared(original)
  const moving = original.operands.flatMap((operand, i) =>
    operand && !operand.fixed && isFloat(operand.dtype ?? 'float32') ? [`x${i}`] : [],
  )
  if (moving.length === 0) return
  const y = graph.outputs.get('y0')!
  const dy = input('dy', y.dtype, y.shape)
  const weights = drawn({ dims: expected['y0']!.dims }, random)
  const dxs = gradients(
    [[y, dy]],
    moving.map((name) => graph.inputs.get(name)!),
  )
  const outputs = new Map<string, Value>(dxs.flatMap((dx, i) => (dx ? [[moving[i]!, dx]] : [])))
  const proto = exportGraph({
    name: 'gradient',
    inputs: new Map([...graph.inputs, ['dy', dy]]),
    outputs: new Map([...outputs].map(([name, value]) => [`d${name}`, value])),
  })
  const results = await run(encode('ModelProto', proto), { ...feeds, dy: weights })
  const scalar = async (at: Tensors) => {
    const value = numbers((await run(bytes, at))['y0']!)
    return value.reduce((sum, element, i) => sum + element * numbers(weights)[i]!, 0)
  }
  for (const directions of [moving, ...(moving.length > 1 ? moving.map((name) => [name]) : [])]) {
    const v = new Map(directions.map((name) => [name, numbers(drawn({ dims: feeds[name]!.dims }, random))]))
    const moved = (h: number): Tensors =>
      Object.fromEntries(
        Object.entries(feeds).map(([name, x]) => [
          name,
          v.has(name)
            ? tensorFrom(
                x.dtype,
                x.dims,
                numbers(x).map((element, i) => element + h * v.get(name)![i]!),
              )
            : x,
        ]),
      )
    const h = 4e-3
    const measured = ((await scalar(moved(h))) - (await scalar(moved(-h)))) / (2 * h)
    let [product, scale] = [0, 0]
    for (const name of directions) {
      const gradient = results[`d${name}`]
      if (gradient) expect(gradient.dims).toEqual(feeds[name]!.dims)
      for (const [i, g] of (gradient ? numbers(gradient) : []).entries()) {
        product += g * v.get(name)![i]!
        scale += Math.abs(g * v.get(name)![i]!)
      }
    }
    expect(
      Math.abs(product - measured) / Math.max(scale, Math.abs(measured), 1e-1),
      `${original.name} along ${directions}: gradient ${product}, difference ${measured}`,
    ).toBeLessThan(5e-3)
  }
}
