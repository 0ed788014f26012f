import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import type { Page } from 'playwright-core'
import { build, type Rolldown } from 'vite'
import { expect, it } from 'vitest'
import { convnet } from '../../models/convnet.js'
import { linear } from '../../models/layers.js'
import { vit } from '../../models/vit.js'
import { Weights } from '../../models/weights.js'
import { input } from '../../src/ir/leaf.js'
import type { Graph } from '../../src/ir/value.js'
import { modelOf } from '../../src/onnx/export/export-graph.js'
import { encodeModel } from '../../src/onnx/model.js'
import { op } from '../../src/op/op.js'
import { entryAliases } from '../entry-aliases.js'
import { describeWithChromium, launch } from './browser.js'
import { digits, idxOf } from './pretrained.js'
import { serve } from './server.js'

const root = fileURLToPath(new URL('../..', import.meta.url))

function perceptron(): Graph {
  const weights = new Weights(0)
  const x = input('x', 'float32', ['N', 1, 28, 28])
  const hidden = op.Relu(linear(weights, 'hidden', op.Flatten(x), 784, 32))
  const logits = linear(weights, 'head', hidden, 32, 10)
  return {
    name: 'mlp',
    inputs: new Map([['x', x]]),
    parameters: weights.parameters,
    outputs: new Map([['logits', logits]]),
  }
}

const models = {
  mlp: perceptron(),
  cnn: convnet({ channels: 1, stages: [4, 8] }),
  vit: vit({ channels: 1, size: 28, patch: 7, width: 16, heads: 2, layers: 1, classes: 10 }),
}

interface Built {
  readonly folder: string
  /** Names of the chunks without modules of onnxruntime. */
  readonly own: ReadonlySet<string>
  /** Names of the chunks with the modules of onnxruntime. */
  readonly onnxruntime: ReadonlySet<string>
}

/** Builds the page as an application. */
async function buildPage(): Promise<Built> {
  const folder = mkdtempSync(join(tmpdir(), 'onnx-ire-download-'))
  const { output } = (await build({
    configFile: false,
    root: join(root, 'test/web/download'),
    base: './',
    logLevel: 'error',
    resolve: {
      alias: [...entryAliases(root)],
    },
    build: { outDir: folder, emptyOutDir: true, target: 'es2023', modulePreload: false, chunkSizeWarningLimit: 10_000 },
  })) as Rolldown.RolldownOutput
  const [own, onnxruntime] = [new Set<string>(), new Set<string>()]
  for (const part of output) {
    if (part.type !== 'chunk') continue
    const names = part.moduleIds.some((id) => id.includes('onnxruntime-web')) ? onnxruntime : own
    names.add(basename(part.fileName))
  }
  return { folder, own, onnxruntime }
}

interface Opened {
  readonly tab: Page
  readonly url: string
  /** The library's files that were fetched, and their bytes gzipped. */
  readonly fetched: Map<string, number>
  readonly onnxruntime: ReadonlySet<string>
}

async function open() {
  const { folder, own, onnxruntime } = await buildPage()
  const { pixels, labels } = digits([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 40)
  const files = Object.entries(models).map(([name, graph]) => [`${name}.onnx`, encodeModel(modelOf(graph))] as const)
  const server = await serve(folder, new Map([['pixels.idx', idxOf(pixels)], ['labels.idx', idxOf(labels)], ...files]))
  const { tab, close } = await launch()
  const fetched = new Map<string, number>()
  tab.on('request', (request) => {
    const name = basename(new URL(request.url()).pathname)
    if (own.has(name)) fetched.set(name, gzipSync(readFileSync(join(folder, 'assets', name)), { level: 9 }).length)
  })
  return {
    browser: { tab, url: server.url, fetched, onnxruntime },
    close: async () => {
      await close()
      await server.close()
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}

/**
 * Largest number of gzipped bytes of this library, without onnxruntime, that a page may have loaded by the end of a
 * run.
 */
const limit = 235_000

const runs: readonly (readonly ['wasm' | 'webgpu', keyof typeof models])[] = [
  ['wasm', 'mlp'],
  ['wasm', 'cnn'],
  ['wasm', 'vit'],
  ['webgpu', 'mlp'],
  ['webgpu', 'cnn'],
]

describeWithChromium<Opened>('downloads of a page that fine-tunes', open, (browser) => {
  it.each(runs)(
    '%s, %s > end of a run > downloaded less than the limit',
    async (where, name) => {
      const { tab, url, fetched } = browser()
      fetched.clear()
      await tab.goto(url)
      await tab.waitForFunction('globalThis.fineTune !== undefined')
      const sum = () => [...fetched.values()].reduce((total, bytes) => total + bytes, 0)
      const atOnce = sum()
      const loss = await tab.evaluate(
        ([where, name]) =>
          (globalThis as unknown as { fineTune(...of: string[]): Promise<number> }).fineTune(where, name),
        [where, `${name}.onnx`] as const,
      )
      expect(loss).toBeGreaterThan(0)
      console.info(
        `${name} on ${where}: ${atOnce} bytes gzipped at once, ${sum()} by the end of a run, in ${fetched.size} files`,
      )
      expect(sum()).toBeLessThan(limit)
    },
    300_000,
  )

  it('the module of a runtime > load fails > rejects with the code runtime, and loads the next time', async () => {
    const { tab, url, onnxruntime } = browser()
    await tab.goto(url)
    await tab.waitForFunction('globalThis.fineTune !== undefined')
    const fineTune = () =>
      // biome-ignore lint/suspicious/noTemplateCurlyInString: the template string is evaluated in the page.
      tab.evaluate("fineTune('wasm', 'cnn.onnx').catch(({ code, message }) => `${code}: ${message}`)")
    const blocked = (address: URL) => onnxruntime.has(basename(address.pathname))
    await tab.route(blocked, (route) => route.abort())
    expect(await fineTune()).toMatch(/^runtime: onnxruntime-web\/wasm /)
    await tab.unroute(blocked)
    expect(await fineTune()).toBeGreaterThan(0)
  })
})
