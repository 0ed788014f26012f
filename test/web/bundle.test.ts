import { expect, it } from 'vitest'
import { bundled } from './bundle.js'

/** Imports of a page that fine-tunes a model, including data and checkpoints. */
const application = `
export { accuracy, adamw, crossEntropy, fromArrays, imageColumn, ire, labelColumn, split, Trainer } from 'onnx-ire'
export { checkpointFolder, imageFolder, readModel, readIdx, writeModel, wasm, webgpu } from 'onnx-ire/web'
`

/** Bytes gzipped that a page may load before it trains. */
const limit = 200_000

const listed = (sizes: Readonly<Record<string, number>>) =>
  Object.entries(sizes)
    .sort(([, a], [, b]) => b - a)
    .map(([name, size]) => `${name} ${size}`)
    .join(', ')

it('a page that fine-tunes > first load > weighs less than 200 KB gzipped without onnxruntime', async () => {
  const { gzipped, files, later, parts } = await bundled(application)
  console.info(`${gzipped} bytes gzipped at once, in ${files} files; before compression: ${listed(parts)}`)
  console.info(`later, gzipped: ${listed(later)}`)
  for (const heavy of ['ajv', 'onnxruntime']) expect(Object.keys(parts)).not.toContain(heavy)
  expect(gzipped).toBeLessThan(limit)
}, 120_000)
