import { expect, it } from 'vitest'
import { toDataFiles } from '../../tools/playground/worker/take-away/data-files.js'
import type { TrainedRun } from '../../tools/playground/worker/take-away/trained-run.js'

it('IDX files of images and labels of one name > are two files of a project', async () => {
  const choice = { kind: 'idx', images: new File(['images'], 'train.gz'), labels: new File(['labels'], 'Train.gz') }
  const form = { kind: 'image', size: 28, channels: 1, layout: 'NCHW', normalization: 'unit', columns: null }
  const { source, files } = await toDataFiles({ choice, form, summary: {}, input: 'x' } as unknown as TrainedRun)
  const { images, labels } = source as { images: string; labels: string }
  expect([images, labels]).toEqual(['data/images/train.gz', 'data/labels/Train.gz'])
  expect(await Promise.all([images, labels].map((path) => files.get(path)!.text()))).toEqual(['images', 'labels'])
})
