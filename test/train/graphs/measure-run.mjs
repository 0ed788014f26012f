import { readFileSync } from 'node:fs'
import { input, op, parameter } from '../../../dist/graph/index.js'
import { crossEntropy } from '../../../dist/index.js'
import { constant } from '../../../dist/ir/leaf.js'
import { compileGraph } from '../../../dist/lowering/compile.js'
import { vit } from '../../../dist/models/vit.js'
import { node } from '../../../dist/node/index.js'
import { buildTrainingGraphs } from '../../../dist/train/graphs/build.js'

/**
 * Reports by how many bytes the memory of this process grows in a run of a training graph: `measure-run.mjs CASE`, of
 * layers whose activations are stored or computed again by blocks, of 32,000 classes at 512 positions at once or in
 * chunks, or of frozen quantized weights.
 */
const layers = () => vit({ size: 32, patch: 4, width: 64, heads: 2, layers: 12, classes: 10, seed: 1 })
const vocabulary = () => {
  const x = input('x', 'float32', ['N', 128, 64])
  const zeros = (...dims) => ({ dtype: 'float32', dims, data: new Float32Array(dims[0] * dims[1]) })
  const [v, w] = [parameter('V', zeros(64, 64)), parameter('W', zeros(64, 32_000))]
  const y = op.MatMul(op.Tanh(op.MatMul(x, v)), w)
  const parameters = new Map([v, w].map((value) => [value.name, value]))
  return { name: 'g', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]), parameters }
}
/** 24 layers of 4-bit weights, of 4 MiB as floats, behind one trained vector. */
const quantized = () => {
  const width = 1024
  const x = input('x', 'float32', ['N', width])
  const v = parameter('V', { dtype: 'float32', dims: [width], data: new Float32Array(width).fill(1) })
  let y = op.Mul(x, v)
  for (let layer = 0; layer < 24; layer++) {
    const bytes = {
      dtype: 'uint8',
      dims: [width, width / 32, 16],
      data: new Uint8Array((width * width) / 2).fill(layer),
    }
    const scales = {
      dtype: 'float32',
      dims: [width, width / 32],
      data: new Float32Array((width * width) / 32).fill(0.01),
    }
    const attributes = { K: width, N: width, bits: 4, block_size: 32 }
    y = op.Tanh(op.MatMulNBits(y, constant(bytes), constant(scales), attributes))
  }
  return { name: 'g', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]), parameters: new Map([['V', v]]) }
}
/** The same with DequantizeLinear and MatMul. */
const dequantized = () => {
  const width = 1024
  const x = input('x', 'float32', ['N', width])
  const v = parameter('V', { dtype: 'float32', dims: [width], data: new Float32Array(width).fill(1) })
  const scale = constant({ dtype: 'float32', dims: [], data: new Float32Array([0.01]) })
  let y = op.Mul(x, v)
  for (let layer = 0; layer < 24; layer++) {
    const q = constant({ dtype: 'int8', dims: [width, width], data: new Int8Array(width * width).fill(layer) })
    y = op.Tanh(op.MatMul(y, op.DequantizeLinear(q, scale, null)))
  }
  return { name: 'g', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]), parameters: new Map([['V', v]]) }
}
const cases = {
  quantized: [quantized, 8, { loss: crossEntropy(), trainable: 'V' }],
  dequantized: [dequantized, 8, { loss: crossEntropy(), trainable: 'V' }],
  stored: [layers, 16, { loss: crossEntropy() }],
  blocks: [layers, 16, { loss: crossEntropy(), recompute: 'blocks' }],
  whole: [vocabulary, 4, { loss: crossEntropy() }],
  chunks: [vocabulary, 4, { loss: crossEntropy({ chunk: 'auto' }) }],
}
const [create, size, options] = cases[process.argv[2]]
const { training } = buildTrainingGraphs(create(), options)
const program = await compileGraph(node({ worker: false, threads: 1 }), training)
const feeds = Object.fromEntries(
  [...training.inputs].map(([name, { source, dtype, shape }]) => {
    if (source.kind === 'parameter') return [name, source.tensor]
    const dims = shape.map((dim) => (typeof dim === 'number' ? dim : size))
    const count = dims.reduce((a, b) => a * b, 1)
    return [name, { dtype, dims, data: dtype === 'int64' ? new BigInt64Array(count) : new Float32Array(count).fill(1) }]
  }),
)
const read = (field) =>
  1024 * Number(new RegExp(`^${field}:\\s*(\\d+) kB$`, 'm').exec(readFileSync('/proc/self/status', 'utf8'))[1])
const before = read('VmRSS')
await program.run(feeds)
process.send(read('VmHWM') - before)
process.disconnect()
