import { readFileSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { expect, it } from 'vitest'
import { bundled } from './bundle.js'

/** Imports of a page that fine-tunes a model, including data and checkpoints. */
const application = `
export { accuracy, adamw, crossEntropy, fromArrays, imageColumn, ire, labelColumn, split, Trainer } from 'onnx-ire'
export { checkpointFolder, imageFolder, readModel, readIdx, writeModel, wasm, webgpu } from 'onnx-ire/web'
`

/** Bytes gzipped that a page may load before it trains; a language model's also has a tokenizer and chat templates. */
const limits = { page: 200_000, chat: 250_000 }

const root = fileURLToPath(new URL('../..', import.meta.url))

/** The sizes of a row of the table of docs/browser.md, in bytes: uncompressed, gzip, brotli. */
function documented(row: string): readonly [number, number, number] {
  const lines = readFileSync(`${root}docs/browser.md`, 'utf8').split('\n')
  const cells = lines
    .find((line) => line.startsWith(`| ${row} |`))!
    .split('|')
    .slice(2, 5)
  return cells.map((cell) => 1000 * Number(cell.replace(',', ''))) as [number, number, number]
}

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
  ['a page that fine-tunes', limits.page, application, 'this library, in a page that fine-tunes, with the first load'],
  ['a worker that teaches a language model', limits.chat, chat, 'the same with language models'],
])(
  '%s > first load > weighs less than %d bytes gzipped without onnxruntime, and needs no module of Node',
  async (name, limit, code, row) => {
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
    for (const [i, measured] of [size, gzipped, brotli].entries())
      expect(Math.abs(measured / documented(row)[i]! - 1), `docs/browser.md: ${row}`).toBeLessThan(0.05)
  },
  120_000,
)

it("onnxruntime's builds > docs/browser.md has the sizes of the files that are downloaded", () => {
  const filesOf = (build: string, module: string) =>
    [`ort-wasm-simd-threaded${build}.wasm`, `ort-wasm-simd-threaded${build}.mjs`, `ort.${module}.bundle.min.mjs`].map(
      (name) => `${root}node_modules/onnxruntime-web/dist/${name}`,
    )
  for (const [row, files] of [
    ['onnxruntime for `wasm()`', filesOf('', 'wasm')],
    ['onnxruntime for `webgpu()` in browsers that can suspend WebAssembly (JSPI)', filesOf('.jspi', 'jspi')],
    ['onnxruntime for `webgpu()` in other browsers', filesOf('.asyncify', 'webgpu')],
  ] as const) {
    const size = files.reduce((sum, file) => sum + statSync(file).size, 0)
    expect(Math.abs(size / documented(row)[0] - 1), row).toBeLessThan(0.01)
  }
  const [wasm] = filesOf('', 'wasm')
  const [, gzip] = documented('onnxruntime for `wasm()`')
  expect(Math.abs(gzipSync(readFileSync(wasm!)).length / gzip - 1)).toBeLessThan(0.02)
})
