import { describe, expect, it } from 'vitest'
import { needs } from '../../requirements.js'
import { type LauncherName, launchers, linesOf, runJob, script } from './job.js'

/**
 * Trains with IRE and clipping: alone, in the group, with a divided optimizer, with gradients in 16 bits, and with local
 * steps. Prints the largest differences from the weights of one process, and digests of the weights, by training in the
 * group.
 */
const training = script(`
  import { createHash } from 'node:crypto'
  import { Random } from './dist/data/index.js'
  import { adamw, crossEntropy, fromArrays, ire, labelColumn, Trainer } from './dist/index.js'
  import { modelOf } from './dist/graph/index.js'
  import { mlp } from './dist/models/mlp.js'
  import { mpi, node } from './dist/node/index.js'
  const group = await mpi()
  const runtime = node()
  const x = new Random(3).fill(new Float32Array(210), 'normal')
  const data = fromArrays({ x: { dims: [35, 6], data: x }, labels: labelColumn(Array.from({ length: 35 }, (_, i) => i % 3)) })
  const { name, inputs, outputs } = mlp({ features: 6, hidden: [200], classes: 3, seed: 1 })
  async function train(processGroup, options) {
    const trainer = await Trainer.create(modelOf({ name, inputs, outputs }), {
      loss: crossEntropy(),
      optimizer: ire(adamw({ lr: 1e-3 }), { kappa: 2, gamma: 0.7, interval: 5, beta: 0.5 }),
      runtime, processGroup, batchSize: 8, clipNorm: 0.5, ...options,
    })
    await trainer.train(data, { totalSteps: 50 })
    return Object.values(await trainer.parameters())
  }
  const alone = await train()
  const [compressed, local] = [{ gradientCompression: 'bfloat16' }, { localSteps: { steps: 4 } }]
  const [differences, digests] = [[], []]
  for (const options of [{}, { shardOptimizer: true }, compressed, { ...compressed, ...local }]) {
    const together = await train(group, options)
    digests.push(together.reduce((hash, array) => hash.update(array), createHash('sha1')).digest('hex'))
    differences.push(Math.max(...together.flatMap((array, t) => Array.from(array, (v, i) => Math.abs(v - alone[t][i])))))
  }
  console.log(JSON.stringify({ rank: group.rank, differences, digests }))
`)

for (const launcher of Object.keys(launchers) as LauncherName[])
  describe(`training with ${launcher}`, await needs(launcher), () => {
    it('takes the steps of one process, with the same bits in every process', async () => {
      const { code, stdout, stderr } = await runJob(launcher, 2, training)
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      const [first, second] = linesOf<{ rank: number; differences: number[]; digests: string[] }>(stdout)
      expect(second!.digests).toEqual(first!.digests)
      // Every tensor is updated from the same sum of gradients.
      expect(first!.digests[1]).toBe(first!.digests[0])
      const [exact = 1, , compressed = 1, local = 1] = first!.differences
      expect(exact).toBeGreaterThan(0) // sums in another order
      expect(exact).toBeLessThan(1e-5)
      expect(compressed).toBeGreaterThan(exact)
      expect(compressed).toBeLessThan(0.05)
      expect(local).toBeGreaterThan(compressed)
      expect(local).toBeLessThan(1)
    })
  })
