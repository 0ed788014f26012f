import { expect, test } from 'vitest'
import { describePrediction } from '../../src/cli/report/describe-prediction.js'
import type { TableStatistics } from '../../src/data/table-statistics.js'
import { input, modelOf, op } from '../../src/graph/index.js'
import type { Tensor } from '../../src/ir/tensor.js'
import type { TaskLoss } from '../../src/recipe/loss.js'

const floats = (dims: readonly number[], ...data: number[]): Tensor => ({
  dtype: 'float32',
  dims,
  data: Float32Array.from(data),
})
const integers = (dims: readonly number[], ...data: number[]): Tensor => ({
  dtype: 'int64',
  dims,
  data: BigInt64Array.from(data, BigInt),
})

function describe(loss: TaskLoss, target: Tensor, output: Tensor, isProbability = false, statistics?: TableStatistics) {
  const x = input('x', 'float32', ['N', 1])
  const y = isProbability ? op.Sigmoid(x) : op.Neg(x)
  const model = modelOf({ name: 'm', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) })
  const details = { names: ['a', 'b', 'c'], statistics }
  return describePrediction(model, loss, { labels: target, targets: target }, { y: output }, details)
}

test('several yes-or-no questions > names of those answered with yes, by logits or probabilities', () => {
  const loss: TaskLoss = { kind: 'binary-cross-entropy' }
  const target = floats([1, 3], 1, 0, 1)
  expect(describe(loss, target, floats([1, 3], 0.4, -1, -0.1))).toEqual({ given: 'a, c', predicted: 'a' })
  expect(describe(loss, target, floats([1, 3], 0.4, 0.2, 0.1), true)).toEqual({ given: 'a, c', predicted: 'none' })
})

test('numbers, classes of positions, images > numbers, names, two images', () => {
  expect(describe({ kind: 'mse' }, floats([1, 2], 1, 2.5), floats([1, 2], 0.75, 3))).toEqual({
    given: '1, 2.5',
    predicted: '0.75, 3',
  })
  const statistics = { targets: { price: { offset: 100, divisor: 50 } } }
  expect(describe({ kind: 'mse' }, floats([1], 2), floats([1, 1], 0.5), false, statistics)).toEqual({
    given: '200',
    predicted: '125',
  })
  const scores = floats([1, 2, 3], 0, 9, 1, 5, 4, 3)
  expect(describe({ kind: 'cross-entropy' }, integers([1, 2], 1, 2), scores)).toEqual({
    given: 'b, c',
    predicted: 'b, a',
  })
  const image = floats([1, 1, 3, 3], ...Array.from({ length: 9 }, (_, i) => i))
  const pictures = describe({ kind: 'l1' }, image, image)
  expect(pictures.givenImage).toMatch(/^data:image\/png;base64,/)
  expect(pictures).toEqual({ givenImage: pictures.givenImage, predictedImage: pictures.givenImage })
  const mask = describe({ kind: 'dice', binary: true }, image, floats([1, 1, 3, 3], ...Array<number>(9).fill(-1)))
  expect(mask.givenImage).not.toBe(mask.predictedImage)
})

test('sequences > the text, whatever its length, without blanks and repetitions', () => {
  // Steps b, b, blank, b, c of the classes blank, b, c.
  const steps = [1, 1, 0, 1, 2].flatMap((label) => [0, 1, 2].map((c) => Number(c === label)))
  const target = integers([1, 4], 1, 2, 2, 0)
  expect(describe({ kind: 'ctc' }, target, floats([1, 5, 3], ...steps))).toEqual({ given: 'bcc', predicted: 'bbc' })
  expect(describe({ kind: 'ctc', blank: 2 }, target, floats([1, 5, 3], ...steps))).toEqual({
    given: 'ba',
    predicted: 'bab',
  })
})

test('distributions and long lists > nothing', () => {
  expect(describe({ kind: 'kl' }, floats([1, 2], 0.5, 0.5), floats([1, 2], 3, 4))).toEqual({})
  const long = floats([1, 20], ...Array.from({ length: 20 }, (_, i) => i))
  expect(describe({ kind: 'mse' }, long, long)).toEqual({})
})
