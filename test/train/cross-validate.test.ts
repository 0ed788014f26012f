import { expect, it } from 'vitest'
import { crossValidate, fromArrays, labelColumn } from '../../src/index.js'
import { rejectedMessage } from '../thrown.js'

const labels = Array.from({ length: 30 }, (_, i) => i % 3)
const x = { dims: [30, 1], data: Float32Array.from(labels, (_, i) => i) }
const data = fromArrays({ x, labels: labelColumn(labels) })

it('crossValidate > every example is held out once, and metrics have mean and spread', async () => {
  const seen: number[] = []
  const accuracies = [0.5, 0.7, 0.6, 0.9, 0.8]
  const { folds, metrics } = await crossValidate(data, {
    folds: 5,
    seed: 3,
    async train({ train, validation, fold }) {
      const all = Array.from({ length: validation.length }, (_, i) => i)
      const held = Array.from((await validation.batch(all))['x']!.data as Float32Array)
      expect([train.length, held.length]).toEqual([24, 6])
      seen.push(...held)
      return { loss: 1 + fold, count: 6, accuracy: accuracies[fold]!, support: [2, 2, 2] }
    },
  })
  expect(seen.sort((a, b) => a - b)).toEqual(Array.from(x.data))
  expect(folds.map(({ accuracy }) => accuracy)).toEqual(accuracies)
  expect(metrics).toEqual({
    loss: { mean: 3, deviation: expect.closeTo(Math.sqrt(2.5), 12), values: [1, 2, 3, 4, 5] },
    accuracy: { mean: expect.closeTo(0.7, 12), deviation: expect.closeTo(Math.sqrt(0.025), 12), values: accuracies },
  })
})

it('crossValidate > one fold, or an unknown option > invalid-option', async () => {
  const train = async () => ({ loss: 0, count: 1 })
  expect(await rejectedMessage('invalid-option', () => crossValidate(data, { folds: 1, train }))).toContain('folds')
  const options = { folds: 2, train, fold: 1 }
  expect(await rejectedMessage('invalid-option', () => crossValidate(data, options))).toContain('fold')
})
