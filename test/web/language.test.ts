import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { adaptableLayers, decodeOnnxAdapter, decodePeft } from '../../src/adapter/index.js'
import { numbersOf } from '../../src/ir/leaf.js'
import { readLanguageModel } from '../../src/language/index.js'
import { modelFolder, node } from '../../src/node/index.js'
import { decodeModel, encodeModel } from '../../src/onnx/model.js'
import { modelFolder as browserFolder } from '../../src/web/files/model-folder.js'
import { golden, toFloatWeights } from '../language/models.js'
import { describeInBrowser } from './browser.js'
import { rows, type Taught, teach } from './pages/chat-task.js'
import type { Where } from './pages/task.js'

/** Shaders take long to compile on a software GPU. */
const patience = 600_000

/** Files of a committed model, by path. */
function filesOf(name: string): Map<string, Uint8Array> {
  const folder = join(golden, name)
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  const paths = entries.map((entry) => join(entry.parentPath, entry.name))
  return new Map(paths.map((path) => [path.slice(folder.length + 1), readFileSync(path)]))
}

/** The models: attention of optimum's exporter and of onnxruntime-genai, weights in 4 bits and in float16. */
const models: Record<string, Map<string, Uint8Array>> = {
  llama: filesOf('llama-optimum'),
  qwen2: filesOf('qwen2-genai'),
  'llama-float16': filesOf('llama-optimum'),
}
const half = models['llama-float16']!
half.set('onnx/model_fp16.onnx', encodeModel(toFloatWeights(decodeModel(half.get('onnx/model_q4f16.onnx')!))))
half.delete('onnx/model_q4f16.onnx')

/** The same training in Node, with the logits of all positions at once and stored activations. */
async function teachInNode(name: string, steps: number): Promise<Taught> {
  const runtime = node({ worker: false, threads: 1 })
  const files = [...models[name]!].map(([path, bytes]) => ({ path, file: new Blob([new Uint8Array(bytes)]) }))
  const chat = await readLanguageModel(await browserFolder(files))
  const taught = await teach(chat, runtime, { recompute: false, chunk: 10_000, steps })
  await runtime.dispose()
  return taught
}

describeInBrowser('a language model in Chromium', (browser) => {
  beforeAll(() => {
    for (const [name, files] of Object.entries(models))
      for (const [path, bytes] of files) browser().exchange.set(`${name}/${path}`, bytes)
  })

  it.each<[string, Where, number]>([
    ['llama', 'wasm', 5],
    ['llama-float16', 'wasm', 5],
    ['qwen2', 'wasm', 5],
    ['qwen2', 'webgpu', 3],
  ])(
    '%s > an adapter trained on %s, with recomputed activations and logits in chunks > losses, adapter and answers of Node',
    async (name, where, steps) => {
      const expected = await teachInNode(name, steps)
      const task = { recompute: true, chunk: 7, steps }
      const { losses, answers } = await browser().worker<Taught>('language', 'teachFrom', where, name, task)
      expect(losses).toHaveLength(steps)
      for (const [i, loss] of losses.entries())
        expect(Math.abs(loss - expected.losses[i]!), `step ${i}`).toBeLessThan(1e-4)
      expect(answers).toEqual(expected.answers)
      const { adapter } = decodePeft(adapterFiles(browser().exchange))
      const { adapter: other } = decodePeft(expected.adapter)
      expect(adapter.layers.map(({ module }) => module)).toEqual(other.layers.map(({ module }) => module))
      for (const [i, { b, module }] of adapter.layers.entries()) {
        const [actual, wanted] = [numbersOf(b), numbersOf(other.layers[i]!.b)]
        const difference = Math.max(...actual.map((x, j) => Math.abs(x - wanted[j]!)))
        expect(difference, module).toBeLessThan(Math.max(...wanted.map(Math.abs)) / 10)
      }
    },
    patience,
  )

  it('a folder of the private file system > the language model', async () => {
    const read = await browser().worker('language', 'readStored', 'qwen2', [...models['qwen2']!.keys()])
    expect(read).toEqual({ file: 'onnx/model_q4f16.onnx', endTokens: [2] })
  })

  it('adapters swapped over one session of onnxruntime-web > the outputs of models with the adapter', async () => {
    const { swapped, beside } = await browser().worker<Record<'swapped' | 'beside', number[][]>>(
      'language',
      'swapAdapters',
    )
    for (const [i, outputs] of swapped.entries())
      for (const [j, output] of outputs.entries()) expect(output).toBeCloseTo(beside[i]![j]!, 4)
    expect(new Set(swapped.map(([first]) => first!.toFixed(2))).size).toBe(3)
  })

  describe('the page of the guide', () => {
    it(
      'picks a folder, teaches, asks, offers the adapter, and has it after a reload',
      async () => {
        const { tab, url, reload } = browser()
        const line = async (pattern: RegExp): Promise<string> => {
          const found = await tab.waitForFunction(
            ([source]) => new RegExp(source!, 'm').exec(document.getElementById('log')!.textContent!)?.[0],
            [`${pattern.source}|^error: .*`],
            { timeout: patience, polling: 100 },
          )
          return (await found.jsonValue())!
        }
        const open = async () => {
          await tab.goto(`${url}chat/index.html`)
          await tab.uncheck('#gpu')
          await tab.setInputFiles('#model', join(golden, 'llama-optimum'))
          return line(/^.* on onnxruntime-web .*$/)
        }
        expect(await open()).toMatch(/^onnx\/model_q4f16\.onnx on onnxruntime-web [\d.]+, wasm, \d+ threads?$/)
        const buffer = Buffer.from(rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
        await tab.setInputFiles('#data', { name: 'support.jsonl', mimeType: '', buffer })
        await tab.fill('#epochs', '6')
        await tab.fill('#rate', '0.02')
        await tab.click('#teach')
        const perplexity = (text: string) => Number(/perplexity ([\d.]+)/.exec(text)?.[1])
        const before = perplexity(await line(/^before: .*$/))
        expect(perplexity(await line(/^after: .*$/))).toBeLessThan(before / 2)
        await tab.click('#ask')
        const answers = await line(/^base: [\s\S]*\ntuned: [\s\S]*\n$/)
        const [, base, tuned] = /^base: ([\s\S]*)\ntuned: ([\s\S]*)\n$/.exec(answers)!
        expect(base!.length).toBeGreaterThan(0)
        expect(tuned!.length).toBeGreaterThan(0)
        expect(tuned).not.toBe(base)
        await tab.click('#take')
        const links = tab.locator('#files a')
        await links.first().waitFor()
        const files = await links.evaluateAll((all) =>
          Promise.all(
            (all as HTMLAnchorElement[]).map(async ({ download, href }) => {
              const bytes = new Uint8Array(await (await fetch(href)).arrayBuffer())
              return [download, [...bytes]] as const
            }),
          ),
        )
        const taken = Object.fromEntries(files.map(([name, bytes]) => [name, Uint8Array.from(bytes)]))
        const { model } = await readLanguageModel(modelFolder(join(golden, 'llama-optimum')))
        const linear = adaptableLayers(model).filter(({ isDefault }) => isDefault).length
        expect(decodePeft(taken).adapter.layers).toHaveLength(linear)
        expect(decodeOnnxAdapter(taken['support.onnx_adapter']!).layers).toHaveLength(linear)
        expect(await open()).toMatch(/, with the adapter of the last visit$/)
        await reload()
      },
      patience,
    )
  })
})

const adapterFiles = (exchange: ReadonlyMap<string, Uint8Array>): Record<string, Uint8Array> =>
  Object.fromEntries(
    [...exchange].flatMap(([name, bytes]) =>
      name.startsWith('adapter/') ? [[name.slice('adapter/'.length), bytes]] : [],
    ),
  )
