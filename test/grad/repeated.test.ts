import { afterAll, describe, expect, it } from 'vitest'
import { gradients } from '../../src/grad/gradient.js'
import { shareRepeated } from '../../src/grad/repeated.js'
import { buildTrainingGraphs, parameter, tensor } from '../../src/graph/index.js'
import { crossEntropy } from '../../src/index.js'
import { body } from '../../src/ir/body.js'
import { input, scalar } from '../../src/ir/leaf.js'
import { topological } from '../../src/ir/topology.js'
import type { Value } from '../../src/ir/value.js'
import { node } from '../../src/node/index.js'
import { exportGraph } from '../../src/onnx/export/export-graph.js'
import { encode } from '../../src/onnx/proto/encode.js'
import { op } from '../../src/op/op.js'

const runtime = node({ threads: 1, worker: false })
afterAll(() => runtime.dispose())

const [T, N, I, H] = [6, 2, 3, 4]

/** Layers from x [T, N, I] with weights, as the values that a loss reads. */
type Build = (x: Value, weight: (...dims: number[]) => Value) => readonly Value[]

const lstm = (x: Value, weight: (...dims: number[]) => Value, from: number) =>
  op.LSTM(x, weight(1, 4 * H, from), weight(1, 4 * H, H), weight(1, 8 * H), { hidden_size: H })

const cases: Readonly<Record<string, Build>> = {
  'two layers of LSTM, all outputs read': (x, weight) => {
    const [below] = lstm(x, weight, I)
    return lstm(op.Squeeze(below!, [1]), weight, H)
  },
  'LSTM in both directions, last state read': (x, weight) => {
    const attributes = { hidden_size: H, direction: 'bidirectional' }
    const [, h] = op.LSTM(x, weight(2, 4 * H, I), weight(2, 4 * H, H), weight(2, 8 * H), attributes)
    return [h!]
  },
  'GRU backwards, sequences of several lengths': (x, weight) => {
    const lengths = op.Cast(op.Add(op.Mul(weight(N), 0), 4), { to: 6 })
    const attributes = { hidden_size: H, direction: 'reverse' }
    return op.GRU(x, weight(1, 3 * H, I), weight(1, 3 * H, H), weight(1, 6 * H), lengths, attributes).slice(0, 1)
  },
  RNN: (x, weight) => op.RNN(x, weight(1, H, I), weight(1, H, H), weight(1, 2 * H), { hidden_size: H }),
  'Scan that stacks backwards along axis 1': (x, weight) => {
    const of = body([input('s', 'float32', [N, I]), input('u', 'float32', [N, I])], (s, u) => {
      const next = op.Tanh(op.Add(op.Mul(s!, u!), s!))
      return [next, op.Mul(next, u!)]
    })
    const attributes = { num_scan_inputs: 1, scan_output_axes: [1], scan_output_directions: [1] }
    return op.Scan([weight(N, I), x], { body: of, ...attributes })
  },
}

/** The loss and its gradients. */
function outputsOf(build: Build, inputs: Value[]): ReadonlyMap<string, Value> {
  const x = input('x', 'float32', [T, N, I])
  inputs.push(x)
  const read = build(x, (...dims) => {
    const w = input(`w${inputs.length}`, 'float32', dims)
    inputs.push(w)
    return w
  })
  const terms = read.map((y) => op.ReduceSum(op.Mul(y, y), null, { keepdims: 0 }))
  const loss = terms.reduce((sum, term) => op.Add(sum, term))
  const dxs = gradients([[loss, scalar('float32', 1)]], inputs)
  return new Map([['loss', loss], ...dxs.flatMap((dx, i) => (dx ? [[`d${i}`, dx] as const] : []))])
}

async function run(inputs: readonly Value[], outputs: ReadonlyMap<string, Value>) {
  const spec = { name: 'g', inputs: new Map(inputs.map((x) => [x.name!, x])), outputs }
  const program = await runtime.compile(encode('ModelProto', exportGraph(spec)))
  const feeds = inputs.map(({ name, shape }, k) => {
    const dims = shape as readonly number[]
    const data = Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(k + 1.3 * i) / 2)
    return [name!, { dtype: 'float32', dims, data }] as const
  })
  return program.run(Object.fromEntries(feeds))
}

const operatorsOf = (outputs: ReadonlyMap<string, Value>) =>
  topological(outputs.values()).map(({ operator }) => operator)

describe('shareRepeated', () => {
  it.each(Object.entries(cases))('%s > one Scan less, equal results', async (_, build) => {
    const inputs: Value[] = []
    const twice = outputsOf(build, inputs)
    const once = shareRepeated(twice)
    const count = (outputs: ReadonlyMap<string, Value>, pattern: RegExp) =>
      operatorsOf(outputs).filter((name) => pattern.test(name)).length
    expect(count(once, /^(LSTM|GRU|RNN)$/)).toBe(0)
    expect(count(once, /^(Scan|LSTM|GRU|RNN)$/)).toBeLessThan(count(twice, /^(Scan|LSTM|GRU|RNN)$/))
    const [a, b] = [await run(inputs, once), await run(inputs, twice)]
    expect(Object.keys(a)).toEqual(Object.keys(b))
    for (const [name, { data, dims }] of Object.entries(b)) {
      expect(a[name]!.dims).toEqual(dims)
      const largest = (data as Float32Array).reduce((most, y) => Math.max(most, Math.abs(y)), 0)
      expect((data as Float32Array).every((y, i) => Math.abs(y - Number(a[name]!.data[i])) <= 1e-5 * largest)).toBe(
        true,
      )
      expect(largest).toBeGreaterThan(0)
    }
  })

  it('training graph of an LSTM > runs it once, in a Scan', () => {
    const x = input('x', 'float32', [T, N, I])
    const weight = (name: string, ...dims: number[]) =>
      parameter(name, tensor('float32', dims, new Float32Array(dims.reduce((a, b) => a * b, 1))))
    const [w, r, b] = [weight('w', 1, 4 * H, I), weight('r', 1, 4 * H, H), weight('b', 1, 8 * H)]
    const [, h] = op.LSTM(x, w, r, b, { hidden_size: H })
    const graph = {
      name: 'g',
      inputs: new Map([['x', x]]),
      outputs: new Map([['y', op.Squeeze(h, [0])]]),
      parameters: new Map([w, r, b].map((value) => [value.name!, value])),
    }
    const { training, evaluation } = buildTrainingGraphs(graph, { loss: crossEntropy() })
    expect(operatorsOf(training.outputs)).not.toContain('LSTM')
    expect(operatorsOf(evaluation.outputs)).toContain('LSTM')
  })

  it('no recurrent layer > the outputs themselves', () => {
    const outputs = outputsOf((x) => [op.Relu(x)], [])
    expect(shareRepeated(outputs)).toBe(outputs)
  })
})
