import { afterAll, describe, expect, it } from 'vitest'
import { subset } from '../../src/data/index.js'
import { input, modelOf, op } from '../../src/graph/index.js'
import {
  accuracy,
  cer,
  combine,
  createMetric,
  crossEntropy,
  ctc,
  decodeGreedily,
  evaluateModel,
  fromArrays,
  mse,
  sequenceAccuracy,
  wer,
} from '../../src/index.js'
import { buildMetrics } from '../../src/metric/metric.js'
import { node } from '../../src/node/index.js'
import { errorWith } from '../thrown.js'
import { float, int, measured } from './evaluate.js'

const runtime = node({ threads: 1, worker: false })
afterAll(() => runtime.dispose())

const classes = 5
/** Logits whose highest class of every step is given. */
const logits = (paths: readonly (readonly number[])[]) =>
  float(
    [paths.length, paths[0]!.length, classes],
    paths.flatMap((path) => path.flatMap((c) => Array.from({ length: classes }, (_, k) => (k === c ? 3 : k / 10)))),
  )

// Class 0 is the blank, class 4 the space.
const paths = [
  [1, 1, 0, 1, 2, 4, 3, 3], // 1 1 2 _ 3
  [0, 2, 2, 4, 4, 0, 4, 1], // 2 _ _ 1
  [3, 0, 0, 0, 2, 1, 1, 1], // 3, and 2 1 if all steps count
]
const truth = [
  [1, 1, 2, 4, 3],
  [2, 3, 4, 1, 0],
  [0, 0, 0, 0, 0],
]
const data = {
  y: logits(paths),
  labels: int([3, 5], truth.flat()),
  steps: int([3], [8, 8, 3]),
}
const metrics = [cer(), wer({ space: 4 }), sequenceAccuracy()]

describe('metrics of sequences', () => {
  it('count edits of labels and words over batches of any length', async () => {
    const loss = ctc({ inputLengths: 'steps' })
    const other = { y: logits([[1, 2, 0]]), labels: int([1, 2], [1, 2]), steps: int([1], [3]) }
    const result = await measured(runtime, loss, metrics, ['N', 'T', classes], [data, other])
    // 2 _ _ 1 to 2 3 _ 1 is one substitution; 3 to nothing one deletion. 5 + 4 + 0 + 2 labels.
    expect(result['cer']).toBeCloseTo(2 / 11)
    // 2 1 to 23 1 is one substitution, 3 to nothing one deletion. 2 + 2 + 0 + 1 words.
    expect(result['wer']).toBeCloseTo(2 / 5)
    expect(result['sequenceAccuracy']).toBeCloseTo(2 / 4)
  })

  it('are the same for every batch size of evaluateModel', async () => {
    const y = input('y', 'float32', ['N', 8, classes])
    const model = modelOf({ name: 'steps', inputs: new Map([['y', y]]), outputs: new Map([['z', op.Identity(y)]]) })
    const examples = fromArrays({
      y: { dims: [3, 8, classes], data: data.y.data as Float32Array },
      labels: { dims: [3, 5], data: data.labels.data as BigInt64Array },
      steps: { dims: [3], data: data.steps.data as BigInt64Array },
    })
    const loss = ctc({ inputLengths: 'steps' })
    for (const batchSize of [1, 2, 3]) {
      const result = await evaluateModel(model, examples, { loss, metrics, runtime, batchSize })
      expect(result['cer']).toBeCloseTo(2 / 9)
      expect(result['sequenceAccuracy']).toBeCloseTo(1 / 3)
    }
  })

  it('decodeGreedily returns the labels of every example', () => {
    expect(decodeGreedily(logits(paths))).toEqual([
      [1, 1, 2, 4, 3],
      [2, 4, 4, 1],
      [3, 2, 1],
    ])
    expect(decodeGreedily(logits([[1, 1, 0, 4]]), { blank: 4 })).toEqual([[1, 0]])
    expect(() => decodeGreedily(logits(paths), { blank: 0.5 })).toThrow(errorWith('invalid-option', "'blank' is 0.5"))
  })

  it('apply to sequences only, and other metrics do not', () => {
    expect(createMetric('cer').name).toBe('cer')
    const values = mse().build(new Map([['y', input('y', 'float32', ['N', 3])]]))
    expect(() => buildMetrics([cer()], values, true)).toThrow(errorWith('invalid-option', "'cer'"))
    const steps = ctc().build(new Map([['y', input('y', 'float32', ['N', 'T', classes])]]))
    expect(() => buildMetrics([accuracy()], steps, true)).toThrow(errorWith('invalid-option', "'accuracy'"))
    const plain = crossEntropy().build(new Map([['y', input('y', 'float32', ['N', 3])]]))
    expect(() => buildMetrics([wer({ space: 0 })], plain, true)).toThrow(errorWith('invalid-option', "'wer'"))
    expect(() => wer({ space: -1 })).toThrow(errorWith('invalid-option', "'space' is -1"))
  })
})

describe('examples with more labels than steps', () => {
  const x = input('x', 'float32', ['N', 3, classes])
  const model = modelOf({ name: 'steps', inputs: new Map([['x', x]]), outputs: new Map([['y', op.Identity(x)]]) })
  const all = fromArrays({
    x: logits([
      [1, 2, 3],
      [1, 2, 3],
      [1, 2, 3],
    ]),
    labels: int([3, 3], [1, 2, 0, 1, 1, 2, 3, 3, 3]), // two, three with a repetition, three equal ones
  })

  it('are counted by the metrics, in tasks too, and absent if there are none', async () => {
    for (const batchSize of [1, 2, 3]) {
      const measures = await evaluateModel(model, all, { loss: ctc(), runtime, batchSize })
      expect(measures).toMatchObject({ count: 1, tooLong: 2 })
    }
    const loss = combine({ text: { loss: ctc() } })
    expect(await evaluateModel(model, all, { loss, runtime })).toMatchObject({ count: 1, 'text/tooLong': 2 })
    expect(await evaluateModel(model, subset(all, [0]), { loss: ctc(), runtime })).not.toHaveProperty('tooLong')
  })
})
