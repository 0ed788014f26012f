import { afterAll, describe, expect, it } from 'vitest'
import {
  buildTrainingGraphs,
  exportGraph,
  input,
  op,
  parameter,
  type TrainingGraphs,
  tensor,
} from '../../../src/graph/index.js'
import { crossEntropy, type Graph } from '../../../src/index.js'
import { node } from '../../../src/node/index.js'
import { encode } from '../../../src/onnx/proto/encode.js'

const runtime = node({ threads: 1 })
afterAll(() => runtime.dispose())

const weights = (dims: readonly number[], seed: number) => {
  const length = dims.reduce((product, dim) => product * dim, 1)
  return tensor(
    'float32',
    dims,
    Float32Array.from({ length }, (_, i) => Math.sin(seed + 0.7 * i) / 8),
  )
}

/** A network with a 3x3 convolution of 96 channels, whose gradients have tiles on a CPU. */
function network(): Graph {
  const x = input('x', 'float32', [2, 96, 16, 16])
  const w = parameter('w', weights([96, 96, 3, 3], 1))
  const v = parameter('v', weights([96, 96, 3, 3], 2))
  const filtered = op.Conv(op.Relu(op.Conv(x, v, null, { pads: [1, 1, 1, 1] })), w, null, { pads: [1, 1, 1, 1] })
  const scores = op.ReduceMean(filtered, [2, 3], { keepdims: 0 })
  return {
    name: 'g',
    inputs: new Map([['x', x]]),
    outputs: new Map([['y', scores]]),
    parameters: new Map([
      ['w', w],
      ['v', v],
    ]),
  }
}

const operators = ({ training }: TrainingGraphs) =>
  (exportGraph(training).graph?.node ?? []).map(({ opType }) => opType)

async function gradientsOf({ training }: TrainingGraphs) {
  const program = await runtime.compile(encode('ModelProto', exportGraph(training)))
  const labels = { dtype: 'int64', dims: [2], data: BigInt64Array.of(3n, 7n) } as const
  const feeds = {
    x: weights([2, 96, 16, 16], 3),
    y: labels,
    labels,
    w: weights([96, 96, 3, 3], 1),
    v: weights([96, 96, 3, 3], 2),
  }
  const given = Object.fromEntries(program.inputNames.map((name) => [name, feeds[name as keyof typeof feeds]!]))
  return program.run(given)
}

describe('buildTrainingGraphs > provider', () => {
  const built = (provider?: 'cpu' | 'wasm' | 'webgpu' | 'cuda') =>
    buildTrainingGraphs(network(), { loss: crossEntropy(), ...(provider ? { provider } : {}) })

  it('CPU and WebAssembly > convolution gradients by tiles; GPUs > by convolutions', () => {
    const products = (provider?: 'cpu' | 'wasm' | 'webgpu' | 'cuda') =>
      operators(built(provider)).filter((name) => name === 'ConvTranspose').length
    expect(products('cpu')).toBeGreaterThan(0)
    expect(products()).toBe(products('cpu'))
    expect(products('wasm')).toBe(products('cpu'))
    expect(products('webgpu')).toBe(0)
    expect(products('cuda')).toBe(0)
  })

  it('any provider > equal gradients', async () => {
    const [tiles, plain] = [await gradientsOf(built('cpu')), await gradientsOf(built('webgpu'))]
    for (const name of ['grad/w', 'grad/v']) {
      const [a, b] = [tiles[name]!.data as Float32Array, plain[name]!.data as Float32Array]
      const largest = b.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
      expect(a.every((value, i) => Math.abs(value - b[i]!) <= 2e-5 * largest)).toBe(true)
      expect(largest).toBeGreaterThan(0)
    }
  })
})
