import { afterAll, describe, expect, test } from 'vitest'
import { node } from '../../src/node/index.js'
import { grammarText } from '../../tools/experiments/grammar/grammar.js'
import { type Contender, speedUp, type TextRun, trainText } from '../../tools/experiments/transformer/run.js'
import { tokenized, windows } from '../../tools/experiments/transformer/text.js'

const text = grammarText()
const runtime = node({ threads: 1 })
afterAll(() => runtime.dispose())

describe('short transformer run: a Llama of two layers on a byte-level BPE', () => {
  const { vocabulary } = text
  const run: TextRun = {
    model: { kind: 'llama', vocabulary, context: 32, width: 32, heads: 2, layers: 2, hidden: 64 },
    steps: 150,
    warmup: 15,
    evaluateEvery: 75,
    batchSize: 8,
    seed: 0,
  }
  const train = (contender: Contender, length: Partial<TextRun> = {}) =>
    trainText(contender, { ...run, ...length }, text, runtime, { aborted: false }, () => {})

  test('AdmIRE > learns faster than AdamW at its learning rate; a larger rate, and a random mask, faster still', async () => {
    const admire = await train({ lr: 1e-3, kappa: 4, gamma: 0.6 })
    const same = await train({ lr: 1e-3 })
    const larger = await train({ lr: 3.4e-3 })
    const byLot = await train({ lr: 1e-3, kappa: 4, gamma: 0.6, mask: 'random' })
    expect(admire.curve.map(({ step }) => step)).toEqual([75, 150])
    expect(admire.flatShare).toBeCloseTo(0.6, 3)
    expect(byLot.flatShare).toBeCloseTo(0.6, 3)
    for (const each of ['loss', 'trainingLoss'] as const) {
      expect(admire[each]!).toBeLessThan(same[each]! - 0.3)
      expect(larger[each]!).toBeLessThan(admire[each]! - 0.3)
      expect(byLot[each]!).toBeLessThan(admire[each]! - 0.3)
    }
    expect(admire.test!.loss).toBeCloseTo(admire.loss!, 1)
  })

  test.each([{ lr: 16e-3 }, { lr: 8e-3, kappa: 2, gamma: 0.6 }])(
    'tuned > both learn the grammar: %o',
    async (contender) => {
      // Twice as many steps end at 0.47, a learning rate of 1e-3 at 2.8.
      const { test } = await train(contender)
      expect(test!.loss).toBeGreaterThan(0.46)
      expect(test!.loss).toBeLessThan(0.53)
      expect(test!.accuracy).toBeGreaterThan(0.75)
    },
  )

  test('random mask > changes nothing but the mask', async () => {
    const outcome = (kappa: number, mask?: 'random' | 'shuffled') =>
      train({ lr: 8e-3, kappa, gamma: 0.6, ...(mask ? { mask } : {}) }, { steps: 8, warmup: 0 }).then(
        ({ curve }) => curve,
      )
    const plain = await outcome(0)
    expect(await outcome(0, 'random')).toEqual(plain)
    expect(await outcome(0, 'shuffled')).toEqual(plain)
    const masked = [await outcome(2), await outcome(2, 'random'), await outcome(2, 'shuffled')]
    expect(new Set([plain, ...masked].map((curve) => curve.at(-1)!.loss)).size).toBe(4)
    expect(await outcome(2, 'random')).toEqual(masked[1])
  })

  test('diverged run > has no loss', async () => {
    const { loss, test } = await train({ lr: 1e30 })
    expect([loss, test]).toEqual([null, null])
  })
})

test('speed-up > 1 at the loss after N steps, 2 at the loss after 2 N steps', () => {
  const { mean, n } = speedUp([1.8, 1.6, 1.7], [1.8, 1.8, 1.8], [1.6, 1.6, 1.6])
  expect(n).toBe(3)
  expect(mean).toBeCloseTo((1 + 2 + Math.SQRT2) / 3, 10)
})

test('windows > labels are the tokens shifted by one', async () => {
  const set = windows(Uint16Array.of(1, 2, 300, 4, 5, 6, 7), 3)
  const { tokens, labels } = await set.batch([1])
  expect([set.length, [...(tokens!.data as BigInt64Array)], [...(labels!.data as BigInt64Array)]]).toEqual([
    2,
    [4n, 5n, 6n],
    [5n, 6n, 7n],
  ])
  const first = await set.batch([0])
  expect([...(first['labels']!.data as BigInt64Array)]).toEqual([2n, 300n, 4n])
})

test('vocabulary > is trained on the training part; documents end with an end-of-text token', () => {
  const { train, validation, test, vocabulary, bytesPerToken } = tokenized(
    { train: ['aaaa', 'aaaa'], validation: ['aa aab'], test: ['aaaa', 'x'] },
    259,
  )
  // The end of text, 256 bytes, aa, aaaa
  expect(vocabulary).toBe(259)
  expect([...train]).toEqual([258, 0, 258, 0])
  expect(validation[0]).toBe(257)
  expect(validation.at(-1)).toBe(0)
  expect([test.length, bytesPerToken]).toEqual([4, 7 / 4])
})
