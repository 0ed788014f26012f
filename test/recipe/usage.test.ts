import { expect, test } from 'vitest'
import type { DataSource } from '../../src/recipe/sources/source.js'
import { usageOf } from '../../src/recipe/usage.js'

const classes = { labels: ['cat', 'dog'] }
const usage = (train: DataSource, own: Readonly<Record<string, readonly string[]>> = classes) =>
  usageOf({ data: { train }, loss: { kind: 'cross-entropy' } }, own)

test('usage of a recipe > the task follows from the source, if classes have names', () => {
  const image = { size: 32, mean: 0.5, std: 0.5 }
  expect(usage({ kind: 'image-folder', folder: 'photos', image })).toEqual({
    task: 'image-classification',
    classes: ['cat', 'dog'],
    image,
  })
  expect(usage({ kind: 'image-texts', file: 'a.txt', image }, { labels: ['', 'a'] })).toEqual({
    task: 'image-to-text',
    classes: ['', 'a'],
    image,
  })
  const labels = { columns: 'side', as: 'class' } as const
  expect(usage({ kind: 'csv', file: 'a.csv', tensors: { x: '*', labels } }).task).toBe('tabular-classification')
  const x = { columns: 'review', as: 'text' } as const
  expect(usage({ kind: 'csv', file: 'a.csv', tensors: { x, labels } }).task).toBe('text-classification')
  expect(usage({ kind: 'text', folder: 'reviews' }).task).toBe('text-classification')
  expect(usage({ kind: 'csv', file: 'a.csv', tensors: { x: '*', y: 'price' } }, {})).toEqual({})
})

test('usage of a recipe > names of an input are no classes of the model', () => {
  const color = { columns: 'color', as: 'class' } as const
  const train = { kind: 'csv', file: 'a.csv', tensors: { color, targets: ['price'] } } as const
  expect(usageOf({ data: { train }, loss: { kind: 'mse' } }, { color: ['blue', 'red'] })).toEqual({})
  expect(usage(train, { ...classes, color: ['blue', 'red'] }).classes).toEqual(['cat', 'dog'])
})
