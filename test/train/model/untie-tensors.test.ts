import { describe, expect, it } from 'vitest'
import { Random } from '../../../src/data/index.js'
import { importGraph, input, modelOf, op, parameter, tensor, type Value } from '../../../src/graph/index.js'
import {
  crossEntropy,
  decodeModel,
  encodeModel,
  fromArrays,
  inspectModel,
  labelColumn,
  type Model,
  predict,
  replaceHead,
  sgd,
  type Tensor,
  type TrainerOptions,
  untieTensors,
} from '../../../src/index.js'
import { errorWith } from '../../thrown.js'
import { normal } from '../problem.js'
import { startTrainers } from '../small-trainer.js'

const { runtime, create } = startTrainers({ optimizer: sgd({ lr: 0.1 }) })

const width = 4
const random = new Random(3)
const x = normal(random, [8, width])
const data = fromArrays({ x, labels: labelColumn([0, 1, 2, 3, 0, 1, 2, 3]) })

const vector = (name: string, value: number) =>
  parameter(name, tensor('float32', [width], new Float32Array(width).fill(value)))
const matrix = (name: string) => parameter(name, normal(new Random(5), [width, width]))

/** A model as its file holds it. */
function read(build: (x: Value) => Value, ids = false): Model {
  const x = ids ? input('x', 'int64', ['N']) : input('x', 'float32', ['N', width])
  return decodeModel(
    encodeModel(modelOf({ name: 'm', inputs: new Map([['x', x]]), outputs: new Map([['y', build(x)]]) })),
  )
}

/**
 * A linear layer and its norm; scale and bias of the second one are Identity nodes, as exporters write equal tensors.
 */
const merged = read((x) => {
  const [scale, bias, w] = [vector('scale', 1), vector('bias', 0), matrix('w')]
  const norm = (of: Value, s: Value, b: Value) => op.LayerNormalization(of, s, b, { axis: -1 })[0]
  const first = norm(op.MatMul(x, w), scale, bias)
  return op.MatMul(norm(first, op.Identity(scale), op.Identity(bias)), parameter('head', normal(random, [width, 4])))
})

/** One matrix of two layers. */
const twice = read((x) => {
  const w = matrix('w')
  return op.MatMul(op.Tanh(op.MatMul(x, w)), w)
})

/** An embedding whose transposed table is the last layer. */
const tied = read((x) => {
  const w = matrix('table')
  return op.MatMul(op.Tanh(op.Gather(w, x)), op.Transpose(w, { perm: [1, 0] }))
}, true)

const shared = (model: Model) => inspectModel(model).training.shared.map(({ tensor }) => tensor)

async function outputs(model: Model): Promise<number[]> {
  const all: number[] = []
  for await (const { outputs } of predict(model, data, { runtime }))
    all.push(...Object.values(outputs).flatMap(({ data }) => Array.from(data as Float32Array)))
  return all
}

/** Tensors of the model after one step, by name. */
async function trained(model: Model, options: Partial<TrainerOptions> = {}): Promise<Record<string, number[]>> {
  const trainer = await create({ loss: crossEntropy(), ...options }, model)
  await trainer.train(data, { totalSteps: 1 })
  const { parameters } = importGraph(decodeModel(encodeModel(trainer.export())))
  return Object.fromEntries(
    [...parameters].map(([name, { source }]) => [
      name,
      Array.from((source as { tensor: Tensor }).tensor.data as Float32Array),
    ]),
  )
}

describe('shared tensors', () => {
  it('are listed with the layers that read them', () => {
    const layers = (model: Model) => inspectModel(model).training.shared.map(({ layers }) => layers.length)
    expect([shared(merged), shared(twice), shared(tied)]).toEqual([['scale', 'bias'], ['w'], ['table']])
    expect([layers(merged), layers(twice), layers(tied)]).toEqual([[2, 2], [2], [2]])
    expect(shared(read((x) => op.MatMul(op.MatMul(x, matrix('a')), matrix('b'))))).toEqual([])
  })

  it('are one tensor in training, unless they are separated', async () => {
    const names = Object.keys(await trained(merged))
    expect(names.filter((name) => /scale|bias/.test(name))).toEqual(['scale', 'bias'])
    const separate = await trained(merged, { untie: true })
    const own = Object.keys(separate).filter((name) => !names.includes(name))
    expect(own).toHaveLength(2)
    for (const name of own) expect([separate['scale'], separate['bias']]).not.toContainEqual(separate[name])
  })

  it('are separated with the same function and the names of the file', async () => {
    for (const model of [merged, twice]) {
      const separate = untieTensors(model, true)
      expect(shared(separate)).toEqual([])
      expect(await outputs(separate)).toEqual(await outputs(model))
    }
    const names = (model: Model) => [...importGraph(untieTensors(model, true)).parameters.keys()]
    expect([names(twice), names(tied)]).toEqual([
      ['w', 'w.2'],
      ['table', 'table.2'],
    ])
    const copies = merged.proto.graph!.node.filter(({ opType }) => opType === 'Identity').map(({ output }) => output[0])
    expect(names(merged)).toEqual(expect.arrayContaining(copies))
  })

  it('are separated by patterns', () => {
    expect(shared(untieTensors(merged, 'sc*'))).toEqual(['bias'])
    expect(shared(untieTensors(merged, ['scale', 'bias']))).toEqual([])
  })

  it('of a last layer can be replaced once they are separated', async () => {
    const head = { classes: 7 }
    const tiedHead = read((x) => op.MatMul(op.Tanh(op.MatMul(x, matrix('w'))), op.Identity(matrix('v'))))
    expect(shared(tiedHead)).toEqual([])
    expect(() => replaceHead(twice, head)).toThrow(errorWith('invalid-option', 'untie'))
    const separate = await create({ untie: true, head }, twice)
    expect((await separate.parameters())['w.2']).toHaveLength(7 * width)
  })

  it('that cannot be separated are refused', async () => {
    for (const untie of ['head', ['scale', 'typo'], 3])
      await expect(create({ untie: untie as never }, merged)).rejects.toThrow(errorWith('invalid-option', 'untie'))
    const prepared = read((x) => {
      const w = op.Transpose(matrix('w'), { perm: [1, 0] })
      return op.MatMul(op.MatMul(x, w), w)
    })
    expect(() => untieTensors(prepared, true)).toThrow(errorWith('invalid-option', "'w'"))
    const normed = read((x) => {
      const w = matrix('w')
      return op.Mul(op.MatMul(op.MatMul(x, w), w), op.ReduceSum(w))
    })
    expect(() => untieTensors(normed, 'w')).toThrow(errorWith('invalid-option', "'w'"))
  })
})
