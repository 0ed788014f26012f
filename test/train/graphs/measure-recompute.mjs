import { readFileSync } from 'node:fs'
import { crossEntropy } from '../../../dist/index.js'
import { compileGraph } from '../../../dist/lowering/compile.js'
import { vit } from '../../../dist/models/vit.js'
import { node } from '../../../dist/node/index.js'
import { buildTrainingGraphs } from '../../../dist/train/graphs/build.js'

/** Reports by how many bytes the memory of this process grows in a run: `measure-recompute.mjs stored|blocks`. */
const recompute = process.argv[2] === 'stored' ? {} : { recompute: 'blocks' }
const size = 16
const graph = vit({ size: 32, patch: 4, width: 64, heads: 2, layers: 12, classes: 10, seed: 1 })
const { training } = buildTrainingGraphs(graph, { loss: crossEntropy(), ...recompute })
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
