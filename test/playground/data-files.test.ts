import { afterEach, expect, it, vi } from 'vitest'
import { input, op } from '../../src/graph/index.js'
import { Camera } from '../../tools/playground/page/camera.js'
import type { Form } from '../../tools/playground/protocol.js'
import { readExamples } from '../../tools/playground/worker/data.js'
import { isShares } from '../../tools/playground/worker/form.js'
import { toDataFiles } from '../../tools/playground/worker/take-away/data-files.js'
import type { TrainedRun } from '../../tools/playground/worker/take-away/trained-run.js'

afterEach(() => {
  vi.unstubAllGlobals()
})

const form: Form = {
  ...{ kind: 'image', size: 28, channels: 1, layout: 'NCHW', normalization: 'unit', open: false, columns: null },
}

it('a folder with files that are no pictures > they are not among the data of a project', async () => {
  const decode = async (file: Blob) => {
    if ((await file.text()) === 'broken') throw new Error('not a picture')
    return { width: 1, height: 1, close() {} }
  }
  class Canvas {
    getContext() {
      return { drawImage() {}, getImageData: () => ({}) }
    }
  }
  vi.stubGlobal('createImageBitmap', decode)
  vi.stubGlobal('OffscreenCanvas', Canvas)
  const contents = { 'a/1.png': 'fine', 'a/2.png': 'broken', 'a/.hidden': 'fine', 'b/1.png': 'fine' }
  const files = Object.entries(contents).map(([path, content]) => ({ path, file: new File([content], path) }))
  const { choice, summary } = await readExamples({ kind: 'folder', files }, form, 'x', () => {})
  expect([summary.counts, summary.skipped]).toEqual([[1, 1], ['a/2.png']])
  const packed = await toDataFiles({ choice, form, summary, input: 'x' } as unknown as TrainedRun)
  expect([...packed.files.keys()]).toEqual(['data/a/1.png', 'data/b/1.png'])
})

it('a camera that is stopped before it was allowed > stays off', async () => {
  let allow = (_: unknown) => {}
  const asked = new Promise((resolve) => {
    allow = resolve
  })
  const track = { stop: vi.fn(), addEventListener() {} }
  vi.stubGlobal('navigator', { mediaDevices: { getUserMedia: () => asked } })
  const camera = new Camera([], () => {})
  const started = camera.start()
  camera.stop()
  allow({ getTracks: () => [track] })
  await started
  expect([camera.on, track.stop.mock.calls.length]).toEqual([false, 1])
  await camera.start()
  expect(camera.on).toBe(true)
})

it('an output of a Softmax in another type, or copied > probabilities', () => {
  const z = input('z', 'float16', ['N', 3])
  const shares = op.Identity(op.Cast(op.Softmax(z), { to: 1 }))
  expect([shares, op.Identity(z), op.Cast(z, { to: 1 })].map(isShares)).toEqual([true, false, false])
})

it('IDX files of images and labels of one name > are two files of a project', async () => {
  const choice = { kind: 'idx', images: new File(['images'], 'train.gz'), labels: new File(['labels'], 'Train.gz') }
  const { source, files } = await toDataFiles({ choice, form, summary: {}, input: 'x' } as unknown as TrainedRun)
  const { images, labels } = source as { images: string; labels: string }
  expect([images, labels]).toEqual(['data/images/train.gz', 'data/labels/Train.gz'])
  expect(await Promise.all([images, labels].map((path) => files.get(path)!.text()))).toEqual(['images', 'labels'])
})
