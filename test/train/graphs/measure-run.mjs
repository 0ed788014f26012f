import { readFileSync } from 'node:fs'
import { input, op, parameter } from '../../../dist/graph/index.js'
import { crossEntropy } from '../../../dist/index.js'
import { compileGraph } from '../../../dist/lowering/compile.js'
import { vit } from '../../../dist/models/vit.js'
import { node } from '../../../dist/node/index.js'
import { buildTrainingGraphs } from '../../../dist/train/graphs/build.js'

/**
 * Reports by how many bytes the memory of this process grows in a run of a training graph: `measure-run.mjs CASE`, of
 * layers whose activations are stored or computed again by blocks, or of 32,000 classes at 512 positions at once or in
 * chunks.
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
const cases = {
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
