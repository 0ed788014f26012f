import { afterAll, describe, expect, test } from 'vitest'
import { node } from '../../src/node/index.js'
import { speedUp } from '../../tools/experiments/transformer/experiment.js'
import { grammarText } from '../../tools/experiments/transformer/grammar.js'
import { type Contender, type TextRun, trainText } from '../../tools/experiments/transformer/run.js'
import { windows } from '../../tools/experiments/transformer/text.js'

const text = grammarText()
const runtime = node()
afterAll(() => runtime.dispose())

describe('transformer, short: a Llama of two layers on bytes', () => {
  const run: TextRun = {
    model: { kind: 'llama', vocabulary: 128, context: 32, width: 32, heads: 2, layers: 2, hidden: 64 },
    steps: 150,
    warmup: 15,
    evaluateEvery: 75,
    batchSize: 8,
    seed: 0,
  }
  const train = (contender: Contender) => trainText(contender, run, text, runtime, { aborted: false }, () => {})

  test('AdmIRE learns faster than AdamW at its learning rate; so does a larger learning rate', async () => {
    const [admire, same, larger] = [
      await train({ lr: 1e-3, kappa: 4, gamma: 0.6 }),
      await train({ lr: 1e-3 }),
      await train({ lr: 3.4e-3 }),
    ]
    expect(admire.curve.map(({ step }) => step)).toEqual([75, 150])
    expect(admire.flatShare).toBeCloseTo(0.6, 1)
    for (const each of ['loss', 'trainingLoss'] as const) {
      expect(admire[each]!).toBeLessThan(same[each]! - 0.3)
      expect(larger[each]!).toBeLessThan(admire[each]! - 0.3)
    }
    expect(admire.test!.loss).toBeCloseTo(admire.loss!, 0)
  })

  test.each([{ lr: 16e-3 }, { lr: 8e-3, kappa: 2, gamma: 0.6 }])(
    'tuned, both learn the grammar: %o',
    async (contender) => {
      // Twice as many steps end at 0.30, a learning rate of 1e-3 at 2.6.
      const { test } = await train(contender)
      expect(test!.loss).toBeGreaterThan(0.29)
      expect(test!.loss).toBeLessThan(0.45)
      expect(test!.accuracy).toBeGreaterThan(0.85)
    },
  )

  test('a run that diverges has no loss', async () => {
    const { loss, test } = await train({ lr: 1e30 })
    expect([loss, test]).toEqual([null, null])
  })
})

test('speed-up: 1 at the loss after N steps, 2 at that after 2 N', () => {
  const { mean, n } = speedUp([1.8, 1.6, 1.7], [1.8, 1.8, 1.8], [1.6, 1.6, 1.6])
  expect(n).toBe(3)
  expect(mean).toBeCloseTo((1 + 2 + Math.SQRT2) / 3, 10)
})

test('windows: labels are the bytes one further on', async () => {
  const set = windows(Uint8Array.of(1, 2, 3, 4, 5, 6, 7), 3)
  const { tokens, labels } = await set.batch([1])
  expect([set.length, [...(tokens!.data as BigInt64Array)], [...(labels!.data as BigInt64Array)]]).toEqual([
    2,
    [4n, 5n, 6n],
    [5n, 6n, 7n],
  ])
})
