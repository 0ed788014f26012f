import { spawn } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { stripVTControlCharacters } from 'node:util'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { mlp } from '../../models/mlp.js'
import { modelOf } from '../../src/onnx/export/export-graph.js'
import { encodeModel } from '../../src/onnx/model.js'
import { numbersIn, withSettings } from '../docs/program.js'
import { binary, createPackedProject, type PackedProject } from '../packed-project.js'
import { describeWithChromium, openTab } from './browser.js'
import { isolation, serve } from './server.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const template = join(root, 'docs/examples/web-app')
const read = (file: string) => readFileSync(join(template, file), 'utf8')

let project: PackedProject

/** The files of onnxruntime-web that a page loads, of 138 MB in all. */
const isLoaded = (path: string) =>
  !/\.(map|js)$/.test(path) && !/(jsep|webgl|ort\.all|ort\.node)\b/.test(path) && !/\/(lib|docs)$/.test(path)

/** Writes the files of the template for tools that leave `new URL('./worker.ts', ...)` as it is. */
function writeFor(folder: string, change: (worker: string) => string): void {
  mkdirSync(join(project.folder, folder))
  project.write(`${folder}/index.html`, read('index.html').replace('./page.ts', './page.js'))
  project.write(`${folder}/page.ts`, read('page.ts').replace("'./worker.ts'", "'./worker.js'"))
  project.write(`${folder}/draw-shapes.ts`, read('draw-shapes.ts'))
  project.write(`${folder}/worker.ts`, change(withSettings(read('worker.ts'), { epochs: 4 })))
}

const lossesIn = (log: string) => numbersIn(log, /^epoch \d+: loss ([\d.]+)/gm)

/** Trains in the page, and returns the log. */
async function train(tab: Page, url: string): Promise<string> {
  await tab.goto(url)
  await tab.uncheck('#gpu')
  await tab.click('#train')
  return logged(tab, /can be tried/)
}

async function logged(tab: Page, wanted: RegExp): Promise<string> {
  await tab.waitForFunction(
    (source) => new RegExp(source).test(document.getElementById('log')?.textContent ?? ''),
    wanted.source,
    { timeout: patience, polling: 100 },
  )
  return (await tab.locator('#log').textContent())!
}

const expectTraining = (log: string, epochs = 4) => {
  const losses = lossesIn(log)
  expect(losses).toHaveLength(epochs)
  expect(losses.at(-1)).toBeLessThan(losses[0]! * 0.95)
}

/** Serves a folder of the project while `use` runs, with headers in addition to those that threads need. */
async function served(folder: string, use: (url: string) => Promise<void>, headers = {}): Promise<void> {
  const { url, close } = await serve(join(project.folder, folder), new Map(), { ...isolation, ...headers })
  try {
    await use(url)
  } finally {
    await close()
  }
}

/** The content security policy of docs/browser.md, which forbids everything else. */
const policy = () => {
  const [documented] = /^script-src .*$/m.exec(readFileSync(join(root, 'docs/browser.md'), 'utf8'))!
  return { 'Content-Security-Policy': `default-src 'none'; ${documented}; img-src data:` }
}

const patience = 300_000

describeWithChromium('docs/examples/web-app in Chromium', openTab, (tab) => {
  // A copy, because the development server serves no files outside of the project.
  beforeAll(async () => {
    project = await createPackedProject('vite', 'long')
    const path = 'node_modules/onnxruntime-web'
    cpSync(join(root, path), join(project.folder, path), { recursive: true, filter: isLoaded })
    mkdirSync(join(project.folder, 'node_modules/.bin'))
    symlinkSync(binary('vite'), join(project.folder, 'node_modules/.bin/vite'))
    cpSync(template, project.folder, { recursive: true })
    project.write('worker.ts', withSettings(read('worker.ts'), { epochs: 4 }))
  }, 300_000)

  afterAll(() => project.remove())

  it(
    'npm start > trains',
    async () => {
      const server = spawn('npm', ['start', '--silent'], { cwd: project.folder, detached: true })
      try {
        const url = await new Promise<string>((resolve, reject) => {
          let printed = ''
          server.stdout.on('data', (text) => {
            printed += text
            const found = /http:\/\/localhost:\d+\//.exec(stripVTControlCharacters(printed))
            if (found) resolve(found[0])
          })
          server.on('exit', (code) => reject(new Error(`npm start ends with ${code}: ${printed}`)))
        })
        expectTraining(await train(tab(), url))
      } finally {
        process.kill(-server.pid!)
      }
    },
    patience,
  )

  it(
    'npm run build > trains with threads under the policy of the guide, classifies an image, offers the model; on the GPU, Stop ends training',
    async () => {
      project.run('npm', 'run', 'build', '--silent')
      await served(
        'dist',
        async (url) => {
          const log = await train(tab(), url)
          expectTraining(log)
          const hasCores = await tab().evaluate(() => navigator.hardwareConcurrency > 1)
          expect(log).toMatch(hasCores ? /wasm, \d+ threads/ : /wasm, 1 thread/)
          const image = await tab().evaluate(async () => {
            const canvas = new OffscreenCanvas(40, 40)
            canvas.getContext('2d')!.fillRect(0, 0, 30, 30)
            return [...new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer())]
          })
          await tab().setInputFiles('#image', { name: 'one.png', mimeType: 'image/png', buffer: Buffer.from(image) })
          await logged(tab(), /one\.png: (circle|square|star)/)
          const [download] = await Promise.all([tab().waitForEvent('download'), tab().click('#download a')])
          expect(readFileSync(await download.path()).length).toBeGreaterThan(200_000)

          await tab().goto(url)
          await tab().click('#train')
          await logged(tab(), /webgpu on/)
          await tab().click('#stop')
          expect(lossesIn(await logged(tab(), /can be tried/)).length).toBeLessThan(4)
        },
        policy(),
      )
    },
    patience,
  )

  it(
    'esbuild with splitting, wasmPaths > trains',
    async () => {
      writeFor('esbuild', (worker) => worker.replaceAll('await wasm()', "await wasm({ wasmPaths: '/ort/' })"))
      const options = ['--bundle', '--splitting', '--format=esm', '--outdir=out', '--log-level=error']
      project.run(binary('esbuild'), 'esbuild/page.ts', 'esbuild/worker.ts', ...options)
      cpSync(join(project.folder, 'esbuild/index.html'), join(project.folder, 'out/index.html'))
      const dist = 'node_modules/onnxruntime-web/dist'
      mkdirSync(join(project.folder, 'out/ort'))
      for (const end of ['wasm', 'mjs']) {
        const name = `ort-wasm-simd-threaded.${end}`
        cpSync(join(project.folder, dist, name), join(project.folder, 'out/ort', name))
      }
      await served('out', async (url) => expectTraining(await train(tab(), url)))
    },
    patience,
  )

  it(
    'esbuild without wasmPaths > the error names wasmPaths',
    async () => {
      project.write(
        'out/worker.js',
        readFileSync(join(project.folder, 'out/worker.js'), 'utf8').replaceAll('"/ort/"', 'undefined'),
      )
      await served('out', async (url) => {
        await tab().goto(url)
        await tab().uncheck('#gpu')
        await tab().click('#train')
        await logged(tab(), /wasm does not start: .*wasmPaths/)
      })
    },
    patience,
  )

  it(
    'webpack > trains',
    async () => {
      // JavaScript of a package of the type module imports files by their full names.
      writeFor('webpack', (worker) => worker.replace("'./draw-shapes'", "'./draw-shapes.js'"))
      project.run(
        binary('esbuild'),
        ...['page', 'worker', 'draw-shapes'].map((name) => `webpack/${name}.ts`),
        '--outdir=webpack',
        '--format=esm',
      )
      const config = {
        mode: 'production',
        optimization: { minimize: false },
        context: join(project.folder, 'webpack'),
        entry: './page.js',
        output: { path: join(project.folder, 'out-webpack'), filename: 'page.js' },
      }
      project.write(
        'build.cjs',
        `require(${JSON.stringify(join(root, 'node_modules/webpack'))})(${JSON.stringify(config)}, (error, stats) => {
          if (error || stats.hasErrors()) throw error ?? new Error(stats.toString())
        })`,
      )
      project.run('node', 'build.cjs')
      cpSync(join(project.folder, 'webpack/index.html'), join(project.folder, 'out-webpack/index.html'))
      await served('out-webpack', async (url) => expectTraining(await train(tab(), url)))
    },
    patience,
  )

  it(
    'import map, no bundler > a page trains',
    async () => {
      project.write('model.onnx', encodeModel(modelOf(mlp({ features: 4, hidden: [8], classes: 2, seed: 0 }))))
      cpSync(join(root, 'test/web/import-map.html'), join(project.folder, 'import-map.html'))
      await served('.', async (url) => {
        await tab().goto(`${url}import-map.html`)
        expectTraining(await logged(tab(), /is trained/), 10)
      })
    },
    patience,
  )

  it('the template compiles in strict mode', () => {
    const options = ['--strict', '--noUncheckedIndexedAccess', '--skipLibCheck', '--noEmit', '--module', 'esnext']
    project.run(
      binary('tsc'),
      ...options,
      '--moduleResolution',
      'bundler',
      '--target',
      'es2023',
      'page.ts',
      'worker.ts',
    )
  })

  it('the template depends on what it imports', () => {
    const { version, devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
    const { dependencies, devDependencies: tools } = JSON.parse(read('package.json'))
    expect(dependencies).toEqual({
      'onnx-ire': `^${version}`,
      'onnxruntime-web': `^${devDependencies['onnxruntime-web']}`,
    })
    expect(tools).toEqual({ vite: devDependencies.vite })
  })
})
