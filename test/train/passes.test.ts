import { afterAll, describe, expect, it } from 'vitest'
import { importGraph, input, modelOf, op, parameter } from '../../src/graph/index.js'
import {
  compileModel,
  evaluateModel,
  fromArrays,
  type Model,
  multipleNegatives,
  sgd,
  Trainer,
  triplet,
} from '../../src/index.js'
import { numbersOf, tensorFrom } from '../../src/ir/leaf.js'
import { node } from '../../src/node/index.js'
import { encodeModel } from '../../src/onnx/model.js'
import { trainerOptions } from '../../src/recipe/index.js'
import { repeatModel } from '../../src/train/model/repeat-model.js'
import { Random } from '../../src/util/random.js'
import { float, int } from '../loss/problem.js'
import { errorWith } from '../thrown.js'

const runtime = node({ threads: 1, worker: false })
afterAll(() => runtime.dispose())

const [words, width, out] = [12, 5, 4]
const random = new Random(5)
const normals = (n: number) => Array.from(random.fill(new Float32Array(n), 'normal'))
const [table, projection] = [normals(words * width), normals(width * out)]

/** Hidden states tanh(table[ids] p) of an encoder, with a mask as transformers.js feeds it. */
function encoder(first: readonly number[] = table): Model {
  const ids = input('input_ids', 'int64', ['batch', 'length'])
  const mask = input('attention_mask', 'int64', ['batch', 'length'])
  const embedded = op.Gather(parameter('table', float([words, width], first)), ids)
  const hidden = op.Tanh(op.MatMul(embedded, parameter('projection', float([width, out], projection))))
  return modelOf({
    name: 'encoder',
    inputs: new Map([
      ['input_ids', ids],
      ['attention_mask', mask],
    ]),
    // The mask is read, so that the file has it as an input.
    outputs: new Map([['last_hidden_state', op.Mul(hidden, op.Unsqueeze(op.Cast(mask, { to: 1 }), [2]))]]),
  })
}

/** Texts of a pass: lengths differ from text to text, and from pass to pass. */
const texts = (n: number, length: number) =>
  Array.from({ length: n }, (_, i) => Array.from({ length: 1 + ((i + length) % length) }, () => random.integer(words)))
const padded = (rows: readonly (readonly number[])[]) => {
  const length = Math.max(...rows.map((row) => row.length))
  const fill = (of: (row: readonly number[], i: number) => number) =>
    int(
      [rows.length, length],
      rows.flatMap((row) => Array.from({ length }, (_, i) => of(row, i))),
    )
  return { input_ids: fill((row, i) => row[i] ?? 0), attention_mask: fill((row, i) => Number(i < row.length)) }
}
const data = (passes: Readonly<Record<string, readonly (readonly number[])[]>>) =>
  fromArrays(
    Object.fromEntries(
      Object.entries(passes).flatMap(([pass, rows]) =>
        Object.entries(padded(rows)).map(([name, { dims, data }]) => [
          `${pass}/${name}`,
          { dims, data: data as BigInt64Array },
        ]),
      ),
    ),
  )

/** Mean of tanh(table[id] p) over the words of a text, in plain arithmetic. */
const embed = (text: readonly number[], first: readonly number[]): number[] =>
  Array.from({ length: out }, (_, o) => {
    const each = text.map((id) => {
      let sum = 0
      for (let k = 0; k < width; k++) sum += first[id * width + k]! * projection[k * out + o]!
      return Math.tanh(sum)
    })
    return each.reduce((a, b) => a + b, 0) / text.length
  })
const rows = { anchor: texts(6, 4), positive: texts(6, 7), negative: texts(6, 3) }

function plainTriplet(first: readonly number[]): number {
  const distance = (a: readonly number[], b: readonly number[]) =>
    Math.sqrt(a.reduce((sum, v, i) => sum + (v - b[i]! + 1e-6) ** 2, 0))
  const each = rows.anchor.map((text, i) => {
    const [a, p, n] = [text, rows.positive[i]!, rows.negative[i]!].map((one) => embed(one, first))
    return Math.max(0, distance(a!, p!) - distance(a!, n!) + 1)
  })
  return each.reduce((a, b) => a + b, 0) / each.length
}

const options = { passes: ['anchor', 'positive', 'negative'], pooling: 'mean' } as const

describe('passes of one model with shared weights', () => {
  it('loss and update of triplets of different lengths equal plain arithmetic', async () => {
    const model = encoder()
    const { loss } = await evaluateModel(model, data(rows), { ...options, loss: triplet(), runtime })
    expect(loss).toBeCloseTo(plainTriplet(table), 5)

    const trainer = await Trainer.create(model, { ...options, loss: triplet(), optimizer: sgd({ lr: 1 }), runtime })
    await trainer.train(data(rows), { totalSteps: 1 })
    const after = (await trainer.parameters())['table']!
    for (let i = 0; i < table.length; i++) {
      const moved = (by: number) => plainTriplet(table.with(i, table[i]! + by))
      expect(table[i]! - after[i]!).toBeCloseTo((moved(1e-4) - moved(-1e-4)) / 2e-4, 4)
    }
    const exported = trainer.export()
    const names = exported.proto.graph!.input.map(({ name }) => name)
    expect(names).toEqual(encoder().proto.graph!.input.map(({ name }) => name))
    // The exported model gives the trained loss, and the same bytes as the model with the new table.
    const measured = await trainer.evaluate(data(rows))
    expect((await evaluateModel(exported, data(rows), { ...options, loss: triplet(), runtime })).loss).toBeCloseTo(
      measured.loss,
      6,
    )
    expect(encodeModel(exported).length).toBe(encodeModel(model).length)
    await trainer.dispose()
  })

  it('a checkpoint of passes in another order is refused', async () => {
    const create = (passes: readonly string[]) =>
      Trainer.create(encoder(), { passes, pooling: 'mean', loss: multipleNegatives(), optimizer: sgd(), runtime })
    const [trainer, swapped] = [await create(['anchor', 'positive']), await create(['positive', 'anchor'])]
    expect(() => swapped.restore(trainer.checkpoint())).toThrow(errorWith('checkpoint', 'passes'))
    for (const each of [trainer, swapped]) await each.dispose()
  })

  it('the first position is pooled', async () => {
    const first = Object.fromEntries(
      Object.entries(rows).map(([pass, texts]) => [pass, texts.map((text) => [text[0]!])]),
    )
    const of = async (pooling: 'mean' | 'first', texts: Parameters<typeof data>[0]) =>
      (await evaluateModel(encoder(), data(texts), { ...options, pooling, loss: triplet(), runtime })).loss
    expect(await of('first', rows)).toBeCloseTo(await of('mean', first), 6)
  })

  it('the mean of no position is 0 in float16, too', async () => {
    const h = input('h', 'float16', ['N', 'T', 2])
    const attention = input('attention_mask', 'int64', ['N', 'T'])
    const graph = { inputs: new Map([['h', h] as const, ['attention_mask', attention] as const]), name: 'states' }
    const outputs = new Map([['y', op.Add(h, op.Cast(op.Unsqueeze(attention, [2]), { to: 10 }))]])
    const pooled = repeatModel(importGraph(modelOf({ ...graph, outputs })), { pooling: 'mean' })
    const program = await compileModel(runtime, modelOf(pooled))
    const feeds = { h: tensorFrom('float16', [2, 1, 2], [1, 2, 3, 4]), attention_mask: int([2, 1], [0, 1]) }
    expect(numbersOf((await program.run(feeds))['y']!)).toEqual([0, 0, 4, 5])
    await program.release()
  })

  it('pairs are learned with in-batch negatives, from a recipe', async () => {
    const pairs = Array.from({ length: 6 }, (_, i) => ({ anchor: [2 * i], positive: [2 * i + 1] }))
    const all = data({ anchor: pairs.map((pair) => pair.anchor), positive: pairs.map((pair) => pair.positive) })
    const recipe = {
      model: 'encoder.onnx',
      data: { train: { kind: 'jsonl', file: 'pairs.jsonl', tensors: {} } },
      loss: { kind: 'multiple-negatives' },
      metrics: ['accuracy', 'top5'],
      passes: ['anchor', 'positive'],
      pooling: 'mean',
      optimizer: { kind: 'adamw', lr: 0.03, ire: { kappa: 1, gamma: 0.8 } },
      batchSize: 6,
    } as const
    const trainer = await Trainer.create(encoder(), { ...trainerOptions(recipe), runtime })
    const before = await trainer.evaluate(all)
    await trainer.train(all, { totalSteps: 150 })
    const after = await trainer.evaluate(all)
    expect(before.accuracy).toBeLessThan(0.6)
    expect(after.accuracy).toBe(1)
    expect(after['top5']).toBe(1)
    await trainer.dispose()
  })

  it('a model that takes one pair at a time is refused, unless the number of examples is freed', async () => {
    const x = input('x', 'float32', [1, width])
    const outputs = new Map([['y', op.MatMul(x, parameter('projection', float([width, out], projection)))]])
    const model = modelOf({ name: 'one', inputs: new Map([['x', x]]), outputs })
    const pass = () => ({ dims: [6, width], data: Float32Array.from(normals(6 * width)) })
    const pairs = fromArrays({ 'anchor/x': pass(), 'positive/x': pass() })
    const given = { loss: multipleNegatives(), passes: ['anchor', 'positive'], runtime }
    await expect(evaluateModel(model, pairs, given)).rejects.toThrow(errorWith('invalid-option', 'freeBatch'))
    const create = (freeBatch: boolean) => Trainer.create(model, { ...given, optimizer: sgd(), freeBatch })
    await expect(create(false)).rejects.toThrow(errorWith('invalid-option', 'freeBatch'))
    const trainer = await create(true)
    expect((await trainer.evaluate(pairs)).loss).toBeGreaterThan(0.1)
    await trainer.dispose()
  })

  it('invalid passes are rejected, with field and value', async () => {
    const of = (given: object) =>
      Trainer.create(encoder(), { loss: multipleNegatives(), optimizer: sgd({ lr: 1 }), runtime, ...given })
    await expect(of({ passes: ['a'] })).rejects.toThrow(errorWith('invalid-option', "'passes'"))
    await expect(of({ passes: ['a', 'a'] })).rejects.toThrow(errorWith('invalid-option', "'passes'"))
    await expect(of({ passes: ['a', 'b/c'] })).rejects.toThrow(errorWith('invalid-option', "'passes[1]' is 'b/c'"))
    await expect(of({ passes: ['a', 'b'], pooling: 'max' })).rejects.toThrow(errorWith('invalid-option', "'pooling'"))
    await expect(of({ passes: ['a', 'b'] })).rejects.toThrow(errorWith('invalid-option', "'pooling'"))
    await expect(of({ passes: ['a', 'b'], pooling: 'mean', batchNorm: 'trained' })).rejects.toThrow(
      errorWith('invalid-option', "'trained'"),
    )
  })
})
