import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Random } from '../../src/data/index.js'
import { input, modelOf, op, parameter, tensor } from '../../src/graph/index.js'
import { fromArrays, ire, labelColumn, type Model, namedTensors, sgd } from '../../src/index.js'
import { readCsv, readJsonl } from '../../src/node/index.js'
import { flat, normal } from './problem.js'
import { startTrainers, train } from './small-trainer.js'

const { create } = startTrainers({
  batchSize: 16,
  optimizer: ire(sgd({ lr: 0.1 }), { kappa: 2, gamma: 0.5, interval: 1 }),
})
const names = ['toString', 'constructor', '__proto__']

const x = normal(new Random(2), [16, 6])
const labels = labelColumn(Array.from({ length: 16 }, (_, i) => i % 3))

/** A norm and a layer; `name` is the weight, or the running mean. */
function model(weight: string, mean: string): Model {
  const x = input('x', 'float32', ['N', 6])
  const vector = (name: string, value: number) =>
    parameter(name, tensor('float32', [6], new Float32Array(6).fill(value)))
  const [y] = op.BatchNormalization(x, vector('scale', 1), vector('bias', 0), vector(mean, 0), vector('variance', 1))
  const logits = op.MatMul(y, parameter(weight, normal(new Random(1), [6, 3])))
  return modelOf({ name: 'm', inputs: new Map([['x', x]]), outputs: new Map([['logits', logits]]) })
}

describe('a tensor with a name of Object.prototype > is trained as any other', () => {
  it.each(names)('weight %s, with micro-batches and IRE', async (name) => {
    const trained = async (weight: string) => {
      const trainer = await create({ microBatch: 5 }, model(weight, 'mean'))
      await train(trainer, fromArrays({ x, labels }), { totalSteps: 3 })
      const parameters = await trainer.parameters()
      expect(Object.keys(parameters).sort()).toEqual(['bias', 'scale', weight].sort())
      expect(namedTensors(trainer.export()).get(weight)!.data).toEqual(parameters[weight])
      return flat(parameters)
    }
    expect(await trained(name)).toEqual(await trained('w'))
  })

  it.each(names)('running mean %s, with and without micro-batches', async (name) => {
    for (const microBatch of [5, 16]) {
      const trained = async (mean: string) => {
        const trainer = await create({ microBatch, batchNorm: 'trained' }, model('w', mean))
        await train(trainer, fromArrays({ x, labels }), { totalSteps: 3 })
        const again = await create({ microBatch, batchNorm: 'trained' }, model('w', mean))
        again.restore(trainer.checkpoint())
        expect(namedTensors(again.export()).get(mean)).toEqual(namedTensors(trainer.export()).get(mean))
        return Array.from(namedTensors(trainer.export()).get(mean)!.data as Float32Array)
      }
      const means = await trained(name)
      expect(means).toEqual(await trained('mean'))
      expect(means).not.toEqual(Array(6).fill(0))
    }
  })
})

describe('data with a column and a tensor of such a name > are read', () => {
  let folder = ''
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'onnx-ire-names-'))
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))
  const valuesOf = (batch: Awaited<ReturnType<Awaited<ReturnType<typeof readCsv>>['batch']>>, name: string) =>
    Array.from((Object.getOwnPropertyDescriptor(batch, name)!.value as { data: Float32Array }).data)

  it.each(names)('%s', async (name) => {
    const tensors = Object.fromEntries([[name, [name]]])
    const [csv, jsonl] = [join(folder, 'a.csv'), join(folder, 'a.jsonl')]
    await writeFile(csv, `${name},other\n1,2\n3,4\n`)
    await writeFile(jsonl, `{"${name}": 1, "other": 2}\n{"${name}": 3, "other": 4}\n`)
    expect(valuesOf(await (await readCsv(csv, { tensors })).batch([0, 1]), name)).toEqual([1, 3])
    expect(
      valuesOf(await (await readJsonl(jsonl, { tensors: Object.fromEntries([[name, name]]) })).batch([0, 1]), name),
    ).toEqual([1, 3])
  })
})
