import { describe, expect, it } from 'vitest'
import { Random } from '../../../src/data/index.js'
import { importGraph, input, modelOf, op, parameter, type Value } from '../../../src/graph/index.js'
import {
  crossEntropy,
  decodeModel,
  encodeModel,
  fromArrays,
  inspectModel,
  labelColumn,
  type Model,
  predict,
  sgd,
  type Tensor,
  tieTensors,
  untieTensors,
} from '../../../src/index.js'
import { errorWith } from '../../thrown.js'
import { normal } from '../problem.js'
import { startTrainers } from '../small-trainer.js'

const { runtime, create } = startTrainers({ optimizer: sgd({ lr: 0.1 }) })
const [words, width] = [6, 4]
const table = normal(new Random(3), [words, width])

const transpose = ({ dtype, dims: [rows, columns], data }: Tensor): Tensor => ({
  dtype,
  dims: [columns!, rows!],
  data: Float32Array.from({ length: data.length }, (_, i) =>
    Number(data[(i % rows!) * columns! + Math.floor(i / rows!)]),
  ),
})

/** An embedding, a layer, and a last layer, as its file holds it. */
function read(last: (h: Value, table: Value) => Value): Model {
  const x = input('x', 'int64', ['N'])
  const embedding = parameter('table', table)
  const inner = parameter('inner', normal(new Random(5), [width, width]))
  const y = last(op.Tanh(op.MatMul(op.Gather(embedding, x), inner)), embedding)
  return decodeModel(encodeModel(modelOf({ name: 'm', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) })))
}

const transposed = read((h) => op.MatMul(h, parameter('head', transpose(table))))
const same = read((h) => op.Gemm(h, parameter('head', table), null, { transB: 1 }))
/** The form with a single tensor. */
const tied = read((h, table) => op.MatMul(h, op.Transpose(table, { perm: [1, 0] })))
const other = read((h) => op.MatMul(h, parameter('head', normal(new Random(7), [width, words]))))
const equal = read((h) => op.MatMul(op.MatMul(h, parameter('head', transpose(table))), parameter('more', table)))

const copies = (model: Model) => inspectModel(model).training.copies
const data = fromArrays({
  x: { dtype: 'int64', dims: [8], data: BigInt64Array.from([0, 1, 2, 3, 4, 5, 1, 2], BigInt) },
  labels: labelColumn([0, 1, 2, 3, 4, 5, 0, 1]),
})

async function outputs(model: Model): Promise<number[]> {
  const all: number[] = []
  for await (const { outputs } of predict(model, data, { runtime }))
    all.push(...Array.from(outputs['y']!.data as Float32Array))
  return all
}

/** The model after one step. */
async function trained(model: Model, tie: boolean): Promise<Model> {
  const trainer = await create({ loss: crossEntropy(), tie }, model)
  await trainer.train(data, { totalSteps: 1 })
  return decodeModel(encodeModel(trainer.export()))
}

describe('copies of an embedding in a last layer', () => {
  it('are listed', () => {
    expect([transposed, same, tied, other].map(copies)).toEqual([
      [{ tensor: 'head', embedding: 'table', transposed: true }],
      [{ tensor: 'head', embedding: 'table', transposed: false }],
      [],
      [],
    ])
    expect(copies(equal).map(({ tensor }) => tensor)).toEqual(['head', 'more'])
  })

  it('become one tensor with the same function', async () => {
    for (const model of [transposed, same, equal]) {
      const one = tieTensors(model)
      expect([...importGraph(one).parameters.keys()]).toEqual(['table', 'inner'])
      expect(copies(one)).toEqual([])
      expect(await outputs(one)).toEqual(await outputs(model))
      expect(encodeModel(one).length).toBeLessThan(encodeModel(model).length)
    }
    expect(tieTensors(other)).toBe(other)
    expect(importGraph(untieTensors(tieTensors(transposed), true)).parameters.size).toBe(3)
  })

  it('are trained as one tensor with tie, as in a model that stores one', async () => {
    const expected = await outputs(await trained(tied, false))
    for (const model of [transposed, same]) {
      const one = await outputs(await trained(model, true))
      const apart = await outputs(await trained(model, false))
      expect(Math.max(...one.map((x, i) => Math.abs(x - expected[i]!)))).toBeLessThan(1e-6)
      expect(Math.max(...apart.map((x, i) => Math.abs(x - expected[i]!)))).toBeGreaterThan(1e-3)
    }
    await expect(create({ tie: 'head' as never }, transposed)).rejects.toThrow(errorWith('invalid-option', "'tie'"))
  })
})
