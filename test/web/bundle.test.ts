import { expect, it } from 'vitest'
import { bundled } from './bundle.js'

/** What a page imports that fine-tunes a model, data and checkpoints included. */
const application = `
export { accuracy, adamw, arrays, crossEntropy, images, ire, labels, split, Trainer } from 'onnx-ire'
export { checkpointFolder, imageFolder, readModel, readIdx, writeModel, wasm, webgpu } from 'onnx-ire/web'
`

/** Bytes gzipped that a page may load before it trains. */
const limit = 80_000

const listed = (sizes: Readonly<Record<string, number>>) =>
  Object.entries(sizes)
    .sort(([, a], [, b]) => b - a)
    .map(([name, size]) => `${name} ${size}`)
    .join(', ')

it('weighs less than 80 KB, onnxruntime left out', async () => {
  const { gzipped, files, later, parts, modules } = await bundled(application)
  console.info(`${gzipped} bytes gzipped at once, in ${files} files; before compression: ${listed(parts)}`)
  console.info(`later, gzipped: ${listed(later)}`)
  for (const heavy of ['ajv', 'onnxruntime']) expect(Object.keys(parts)).not.toContain(heavy)
  expect(gzipped).toBeLessThan(limit)
  // Tables of every operator are for who writes graphs by hand: where one is imported, no family is left out any more.
  expect(modules).toContain('family/convolution.js')
  for (const all of ['op/index.js', 'family/every.js']) expect(modules).not.toContain(all)
}, 120_000)
