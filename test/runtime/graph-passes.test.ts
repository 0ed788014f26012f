import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { InferenceSession } from 'onnxruntime-node'
import { afterAll, describe, expect, it } from 'vitest'
import { transformer } from '../../models/transformer.js'
import { buildTrainingGraphs, importGraph, input, modelOf, op, parameter, type Value } from '../../src/graph/index.js'
import { type CompileHints, crossEntropy, decodeModel, encodeModel, type Graph, type Runtime } from '../../src/index.js'
import { body } from '../../src/ir/body.js'
import { tensorFrom } from '../../src/ir/leaf.js'
import { compileGraph } from '../../src/lowering/compile.js'
import type { GraphSpec } from '../../src/onnx/export/export-graph.js'
import { walkNodes } from '../../src/onnx/import/model-nodes.js'
import type { GraphProto } from '../../src/onnx/proto/schema.js'
import { skipNeedlessPasses } from '../../src/runtime/graph-passes.js'
import { smallConvnet } from '../train/problem.js'

const folder = mkdtempSync(join(tmpdir(), 'optimizers-'))
afterAll(() => rmSync(folder, { recursive: true }))
let files = 0

/** A graph after onnxruntime has optimized it. */
async function optimize(spec: GraphSpec, operators?: ReadonlySet<string>): Promise<GraphProto> {
  const optimizedModelFilePath = join(folder, `${files++}.onnx`)
  const options: InferenceSession.SessionOptions = { logSeverityLevel: 3, optimizedModelFilePath }
  const session = await InferenceSession.create(
    encodeModel(modelOf(spec)),
    operators ? skipNeedlessPasses(options, operators) : options,
  )
  await session.release()
  return decodeModel(new Uint8Array(readFileSync(optimizedModelFilePath))).proto.graph!
}

/** A graph with a number for each tensor: onnxruntime's own names can differ between two sessions. */
function withoutNames({ node, initializer, input, output }: GraphProto) {
  const numbers = new Map<string, number>()
  const numberOf = (name: string) => {
    if (!numbers.has(name)) numbers.set(name, numbers.size)
    return numbers.get(name)!
  }
  return {
    input: input.map(({ name = '' }) => numberOf(name)),
    node: node.map(({ opType, domain, attribute, ...each }) => ({
      opType,
      domain,
      attribute,
      input: each.input.map(numberOf),
      output: each.output.map(numberOf),
    })),
    output: output.map(({ name = '' }) => numberOf(name)),
    initializer: initializer
      .map(({ name = '', ...tensor }) => [numberOf(name), tensor] as const)
      .sort(([a], [b]) => a - b),
  }
}

async function expectSameSession(spec: GraphSpec) {
  const { graph } = modelOf(spec).proto
  expect(withoutNames(await optimize(spec, operatorsOf(graph!)))).toEqual(withoutNames(await optimize(spec)))
}

const operatorsOf = (graph: GraphProto) => new Set(Array.from(walkNodes(graph), ({ opType = '' }) => opType))

const weight = (name: string, dims: readonly number[]) => {
  const size = dims.reduce((a, b) => a * b, 1)
  return parameter(
    name,
    tensorFrom(
      'float32',
      dims,
      Array.from({ length: size }, (_, i) => Math.sin(i)),
    ),
  )
}

function graphOf(build: (x: Value) => Value): Graph {
  const x = input('x', 'float32', ['N', 8])
  const spec = { name: 'model', inputs: new Map([['x', x]]), outputs: new Map([['y', build(x)]]) }
  return importGraph(modelOf(spec))
}

/** x Phi(x) by its definition, which a pass of onnxruntime replaces by one node. */
const gelu = (x: Value) => op.Mul(op.Mul(x, op.Add(op.Erf(op.Div(x, Math.SQRT2)), 1)), 0.5)

/** A layer normalization by its definition, which a pass of onnxruntime replaces by one node. */
function layerNorm(x: Value): Value {
  const mean = (of: Value) => op.ReduceMean(of, [1], { keepdims: 1 })
  const centered = op.Sub(x, mean(x))
  const std = op.Sqrt(op.Add(mean(op.Pow(centered, 2)), 1e-5))
  return op.Add(op.Mul(op.Div(centered, std), weight('scale', [8])), weight('bias', [8]))
}

const forward = {
  'a layer normalization by its definition': graphOf((x) => op.MatMul(layerNorm(x), weight('w', [8, 3]))),
  'a Gelu by its definition': graphOf((x) => op.MatMul(gelu(op.Add(x, weight('b', [8]))), weight('w', [8, 3]))),
  'a Gelu by Tanh': graphOf((x) => op.MatMul(op.Gelu(x, { approximate: 'tanh' }), weight('w', [8, 3]))),
  attention: graphOf((x) => op.MatMul(op.Softmax(op.MatMul(x, weight('k', [8, 5])), { axis: 1 }), weight('v', [5, 3]))),
  'quantized weights': graphOf((x) => {
    const [q, scale, zero] = op.DynamicQuantizeLinear(x)
    return op.MatMul(op.DequantizeLinear(q, scale, zero), weight('w', [8, 3]))
  }),
  'an image network': importGraph(smallConvnet()),
}

describe('passes that are left out', () => {
  for (const [name, graph] of Object.entries(forward))
    it(`change nothing > ${name}`, () =>
      expectSameSession({ name: 'model', inputs: graph.inputs, outputs: graph.outputs }))

  const trained = {
    'an image network': forward['an image network'],
    'a transformer': transformer({ vocabulary: 16, context: 8, width: 8, heads: 2, layers: 2 }),
  }
  for (const [name, graph] of Object.entries(trained))
    it(`change nothing > the training graph of ${name}`, () =>
      expectSameSession(buildTrainingGraphs(graph, { loss: crossEntropy({ logits: 'logits' }) }).training))

  it('are those that look for other operators, and those that the user has disabled', async () => {
    const { inputs, outputs } = forward['a Gelu by its definition']
    const spec = { name: 'model', inputs, outputs }
    expect(operatorsOf(await optimize(spec, new Set(['Erf'])))).toContain('BiasGelu')
    expect(operatorsOf(await optimize(spec, new Set()))).toContain('Erf')
    const normalized = forward['a layer normalization by its definition']
    const { graph } = modelOf({ name: 'model', inputs: normalized.inputs, outputs: normalized.outputs }).proto
    expect(operatorsOf(await optimize(normalized, operatorsOf(graph!)))).toContain('LayerNormalization')
    expect(operatorsOf(await optimize(normalized, new Set(['ReduceMean', 'Sqrt'])))).toContain('ReduceMean')
    const given = { extra: { optimization: { disable_specified_optimizers: 'ConstantFolding', other: '1' } } }
    const { optimization } = skipNeedlessPasses(given, new Set(['Erf', 'DequantizeLinear'])).extra
    expect(optimization.other).toBe('1')
    expect(optimization.disable_specified_optimizers.split(';')).toEqual(
      expect.arrayContaining(['ConstantFolding', 'QuickGeluFusion']),
    )
    expect(optimization.disable_specified_optimizers).not.toMatch(/QDQ|GeluFusionL/)
  })

  it('are chosen by the operators of a graph and of its bodies', async () => {
    const compiled: (ReadonlySet<string> | undefined)[] = []
    const runtime = {
      provider: 'cpu',
      compile: async (_: Uint8Array, { operators }: CompileHints = {}) => {
        compiled.push(operators)
      },
    } as unknown as Runtime
    const x = input('x', 'float32', ['N'])
    const condition = input('condition', 'bool', [])
    const [y] = op.If(condition, {
      then_branch: body([], () => [op.Erf(x)]),
      else_branch: body([], () => [op.Sin(x)]),
    } as never)
    const inputs = new Map([
      ['x', x],
      ['condition', condition],
    ])
    await compileGraph(runtime, { name: 'model', inputs, outputs: new Map([['y', op.Relu(y!)]]) })
    expect(compiled).toEqual([new Set(['If', 'Erf', 'Sin', 'Relu'])])
  })
})
