import { expect, test } from 'vitest'
import { fromArrays, labelColumn } from '../../src/data/arrays.js'
import { batches } from '../../src/data/batches.js'
import { input } from '../../src/ir/leaf.js'
import type { Graph } from '../../src/ir/value.js'
import { op } from '../../src/op/op.js'
import type { LossRecipe } from '../../src/recipe/recipe.js'
import { applyMixup, resolveRecipe } from '../../src/recipe/resolve.js'
import { Random } from '../../src/util/random.js'

/** Scores of four classes at two outputs. */
function graph(): Graph {
  const x = input('x', 'float32', ['N', 4])
  const ids = input('ids', 'int64', ['N'])
  const outputs = new Map([
    ['a', op.Neg(x)],
    ['b', op.Softmax(x)],
  ])
  return {
    name: '',
    inputs: new Map([
      ['x', x],
      ['ids', ids],
    ]),
    outputs,
    parameters: new Map(),
  }
}

// Class 0 three times, class 1 once, 2 twice, 3 twice; one example to leave out.
const data = fromArrays({
  x: { dims: [9, 4], data: Float32Array.from({ length: 36 }, (_, i) => i) },
  ids: labelColumn([0, 1, 2, 3, 4, 5, 6, 7, 8]),
  labels: labelColumn([0, 0, 0, 1, 2, 2, 3, 3, -1]),
})
const classes = async () => ({})
const sight = { graph, labels: async () => data, classes }
const untouched = {
  graph: () => {
    throw new Error('the model was looked at')
  },
  classes,
  labels: () => {
    throw new Error('the data were looked at')
  },
}

test('balanced class weights > N / (C n_c), also for one of several tasks', async () => {
  const loss: LossRecipe = { kind: 'cross-entropy', logits: 'a', classWeights: 'balanced', ignoreIndex: -1 }
  const weights = [8 / 12, 8 / 4, 8 / 8, 8 / 8].map(Math.fround)
  expect((await resolveRecipe({ loss }, sight)).loss).toEqual({ ...loss, classWeights: weights })
  const focal: LossRecipe = { kind: 'focal', logits: 'a', classWeights: 'balanced', ignoreIndex: -1 }
  expect((await resolveRecipe({ loss: focal }, sight)).loss).toEqual({ ...focal, classWeights: weights })
  const other: LossRecipe = { kind: 'mse', output: 'b' }
  const both: LossRecipe = { kind: 'combine', tasks: { a: { loss, weight: 2 }, b: { loss: other } } }
  expect((await resolveRecipe({ loss: both }, sight)).loss).toEqual({
    kind: 'combine',
    tasks: { a: { loss: { ...loss, classWeights: weights }, weight: 2 }, b: { loss: other } },
  })
})

test('missing labels or classes without an example > rejected by name', async () => {
  const loss: LossRecipe = { kind: 'cross-entropy', logits: 'a', labels: 'digits', classWeights: 'balanced' }
  await expect(resolveRecipe({ loss }, sight)).rejects.toThrow(/loss\.classWeights: .*'digits'/)
  const few = { graph, classes, labels: async () => fromArrays({ labels: labelColumn([0, 1]) }) }
  const plain: LossRecipe = { kind: 'cross-entropy', logits: 'a', classWeights: 'balanced' }
  await expect(resolveRecipe({ loss: plain }, few)).rejects.toThrow(/classes without an example: 2, 3/)
})

test('mixup > gets the number of classes and the inputs from the model', async () => {
  const loss: LossRecipe = { kind: 'cross-entropy', logits: 'b' }
  const recipe = await resolveRecipe({ loss, mixup: { alpha: 1 } }, sight)
  expect(recipe).toEqual({ loss: { ...loss, probabilities: true }, mixup: { alpha: 1, classes: 4, inputs: ['x'] } })
  const rows = fromArrays({
    x: { dims: [4, 4], data: new Float32Array(16) },
    ids: labelColumn([0, 1, 2, 3]),
    labels: labelColumn([0, 1, 2, 3]),
  })
  const { value: batch } = await batches(applyMixup(rows, recipe), { batchSize: 4, shuffle: new Random(1) }).next()
  const { dims, data: shares } = batch!.tensors['labels']!
  expect(dims).toEqual([4, 4])
  const sums = [0, 1, 2, 3].map((i) => (shares as Float32Array).slice(4 * i, 4 * i + 4).reduce((a, b) => a + b))
  for (const sum of sums) expect(sum).toBeCloseTo(1, 6)
  expect([...(shares as Float32Array)].some((share) => share > 0 && share < 1)).toBe(true)
  expect(batch!.tensors['ids']!.dtype).toBe('int64')
})

test('a metric by name > gets the options that follow from the class names', async () => {
  const recipe = { loss: { kind: 'ctc' } as LossRecipe, metrics: ['cer', 'wer', { kind: 'wer', space: 3 }] as const }
  const named = { ...sight, classes: async () => ({ x: [' '], labels: ['', 'a', ' '] }) }
  expect((await resolveRecipe(recipe, named)).metrics).toEqual([
    'cer',
    { kind: 'wer', space: 2 },
    { kind: 'wer', space: 3 },
  ])
  await expect(resolveRecipe(recipe, sight)).rejects.toThrow(/metric 'wer': .*'space'.*\{ "kind": "wer", "space": 0 \}/)
})

test('nothing to resolve > loads neither model nor data', async () => {
  const loss: LossRecipe = { kind: 'cross-entropy', classWeights: [1, 2] }
  expect(await resolveRecipe({ loss }, untouched)).toEqual({ loss })
  const full = { loss, mixup: { alpha: 0.2, classes: 2, inputs: 'x' } }
  expect(await resolveRecipe(full, untouched)).toEqual({ ...full, loss: { ...loss, probabilities: true } })
  expect(applyMixup(data, { loss })).toBe(data)
})
