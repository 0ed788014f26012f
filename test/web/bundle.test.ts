import { expect, it } from 'vitest'
import { bundled } from './bundle.js'

/** Imports of a page that fine-tunes a model, including data and checkpoints. */
const application = `
export { accuracy, adamw, crossEntropy, fromArrays, imageColumn, ire, labelColumn, split, Trainer } from 'onnx-ire'
export { checkpointFolder, imageFolder, readModel, readIdx, writeModel, wasm, webgpu } from 'onnx-ire/web'
`

/** Bytes gzipped that a page may load before it trains; a language model's also has a tokenizer and chat templates. */
const limits = { page: 200_000, chat: 240_000 }

const listed = (sizes: Readonly<Record<string, number>>) =>
  Object.entries(sizes)
    .sort(([, a], [, b]) => b - a)
    .map(([name, size]) => `${name} ${size}`)
    .join(', ')

/** Imports of the worker of docs/chat-model-in-a-tab.md. */
const chat = `
export { adamw, perplexity, Trainer } from 'onnx-ire'
export { adapterOf, applyAdapter, decodePeft, encodeOnnxAdapter, encodePeft, lora } from 'onnx-ire/adapter'
export { chatData, nextToken, readLanguageModel, TextGenerator, trainingModel } from 'onnx-ire/language'
export { checkpointFolder, modelFolder, readJsonRows, storage, wasm, webgpu } from 'onnx-ire/web'
`

it.each([
  ['a page that fine-tunes', limits.page, application],
  ['a worker that teaches a language model', limits.chat, chat],
])(
  '%s > first load > weighs less than %d bytes gzipped without onnxruntime, and needs no module of Node',
  async (name, limit, code) => {
    const { size, gzipped, brotli, files, later, parts, modules } = await bundled(code)
    console.info(name)
    console.info(
      `${size} bytes at once, ${gzipped} gzipped, ${brotli} with brotli, in ${files} files; before compression: ${listed(parts)}`,
    )
    console.info(`later, gzipped: ${listed(later)}`)
    for (const heavy of ['ajv', 'onnxruntime']) expect(Object.keys(parts)).not.toContain(heavy)
    expect(modules.filter((module) => /^(node|cli)\//.test(module))).toEqual([])
    expect(Object.keys(parts).filter((part) => /browser-external/.test(part))).toEqual([])
    expect(gzipped).toBeLessThan(limit)
  },
  120_000,
)
