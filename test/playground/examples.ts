import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import { expect, vi } from 'vitest'
import { convnet } from '../../models/convnet.js'
import { mlp } from '../../models/mlp.js'
import { fromArrays, labelColumn } from '../../src/data/arrays.js'
import { type Dataset, split } from '../../src/data/dataset.js'
import { crossEntropy } from '../../src/loss/cross-entropy.js'
import { accuracy } from '../../src/metric/accuracy.js'
import { node } from '../../src/node/runtime/node.js'
import { modelOf } from '../../src/onnx/export/export-graph.js'
import { decodeModel, encodeModel } from '../../src/onnx/model.js'
import { evaluateModel } from '../../src/train/evaluate.js'
import { digits, idxOf } from '../web/pretrained.js'
import { held, type Playground } from './playground.js'

/** A model of pictures of one channel and any size, and one of tables. */
export const small = encodeModel(modelOf(convnet({ channels: 1, stages: [4, 8], classes: 3, seed: 1 })))
export const table = encodeModel(modelOf(mlp({ features: 3, hidden: [8], classes: 2, seed: 1 })))

/** Rows of three numbers, separated into classes by a plane. */
export const rows = Array.from({ length: 80 }, (_, i) => {
  const [a, b, c] = [0, 1, 2].map((k) => Math.sin(7 * i + 3 * k)) as [number, number, number]
  return { numbers: [a, b, c], name: a + b > c / 2 ? 'above' : 'below' }
})
export const csv = ['a,b,c,side', ...rows.map(({ numbers, name }) => `${numbers.join()},${name}`)].join('\n')
export const tableData = () =>
  fromArrays({
    x: { dims: [rows.length, 3], data: Float32Array.from(rows.flatMap(({ numbers }) => numbers)) },
    labels: labelColumn(rows.map(({ name }) => (name === 'above' ? 0 : 1))),
  })

/** A page with the small model of pictures. */
export async function openSmall(page: Playground): Promise<void> {
  await page.open()
  await page.openModel('small.onnx', small)
  await page.says(/^small.onnx is open/)
}

/** A page with the model of tables and its rows. */
export async function openTable(page: Playground, model = table): Promise<void> {
  await page.open()
  await page.openModel('table.onnx', model)
  await page.says(/^table.onnx is open/)
  await page.tab.setInputFiles('#csv', page.file('rows.csv', csv))
  await page.says(/Choose the column/)
  expect(await page.tab.inputValue('#csv-label')).toBe('side')
  await page.tab.click('#use-csv')
  await page.says(/^Ready/)
}

/** Gives the page digits as MNIST files. */
export async function useDigits(page: Playground, classes: readonly number[], count: number) {
  const { pixels, labels: names } = digits(classes, count)
  await page.tab.check('input[name=source][value=idx]')
  await page.tab.setInputFiles('#idx-images', page.file(`${count}-images-idx3-ubyte`, idxOf(pixels)))
  await page.tab.setInputFiles('#idx-labels', page.file(`${count}-labels-idx1-ubyte`, idxOf(names)))
  await page.tab.click('#use-idx')
  await page.says(/^Ready/)
  return { pixels, labels: names }
}

/** Accuracy and loss of an exported file in plain onnxruntime on Node, on the held-out examples. */
async function measured(model: Uint8Array, data: Dataset) {
  const runtime = node({ worker: false, threads: 1 })
  const { validation } = split(data, { validation: held, seed: 0 })
  const measures = await evaluateModel(decodeModel(model), validation, {
    loss: crossEntropy(),
    metrics: [accuracy()],
    runtime,
  })
  await runtime.dispose()
  return measures
}

/** Checks the metrics of a download against the page, which rounds percentages to two decimals and losses to four. */
export async function checkExport(page: Playground, contender: 'base' | 'ire', data: Dataset): Promise<void> {
  const said = await page.claimed(contender)
  const found = await measured(await page.downloadModel(contender), data)
  expect(Math.abs((found['accuracy'] as number) - said.accuracy)).toBeLessThanOrEqual(0.0005 + 1e-9)
  expect(Math.abs(found.loss - said.heldLoss)).toBeLessThan(2e-4)
}

/** Number of training runs that are stored in the browser, and of folders with their checkpoints or models. */
export const countStored = (page: Playground) =>
  page.tab.workers()[0]!.evaluate(async () => {
    const runs = await new Promise<{ readonly finished: object | null }[]>((resolve, reject) => {
      const request = indexedDB.open('onnx-ire-playground')
      request.onerror = () => reject(request.error)
      request.onsuccess = () => {
        const found = request.result.transaction('runs').objectStore('runs').getAll()
        found.onsuccess = () => {
          request.result.close()
          resolve(found.result)
        }
      }
    })
    let folders = 0
    const root = await navigator.storage.getDirectory()
    const folder = await root.getDirectoryHandle('playground').catch(() => null)
    if (folder) for await (const _ of folder.keys()) folders++
    const finished = runs.filter((run) => run.finished !== null).length
    return { unfinished: runs.length - finished, finished, folders }
  })

interface Stored {
  readonly classes: readonly string[]
  readonly examples: readonly unknown[]
}

const storedExamples = (page: Playground) =>
  page.tab.workers()[0]!.evaluate(async () => {
    const database = await new Promise<IDBDatabase>((resolve, reject) => {
      const request = indexedDB.open('onnx-ire-playground')
      request.onerror = () => reject(request.error)
      request.onsuccess = () => resolve(request.result)
    })
    const allOf = <T>(table: string) =>
      new Promise<readonly T[]>((resolve) => {
        const request = database.transaction(table).objectStore(table).getAll()
        request.onsuccess = () => resolve(request.result)
      })
    const drafts = (await allOf<{ id: string; settings: object | null }>('runs')).filter((run) => run.settings === null)
    const ids = new Set(drafts.map(({ id }) => id))
    const contents = await allOf<{ id: string; data: Stored }>('contents')
    database.close()
    return contents.filter(({ id }) => ids.has(id)).map(({ data }) => data)
  })

/** Number of the examples stored in the browser that were not trained on. */
export const countExamples = async (page: Playground): Promise<number> =>
  (await storedExamples(page)).reduce((sum, { examples }) => sum + examples.length, 0)

/** Names of the classes of stored examples that were not trained on. */
export const storedClasses = async (page: Playground): Promise<readonly string[]> =>
  (await storedExamples(page)).flatMap(({ classes }) => classes)

/** The result of `countStored` if every run has a checkpoint. */
export const stored = (unfinished: number, finished: number) => ({
  unfinished,
  finished,
  folders: unfinished + finished,
})

/** The color of a picture of `drawFolder`. */
export const colorOf = (folder: number, picture: number) => ({
  r: 150 * folder + picture,
  g: 150 * folder + 2 * picture,
  b: 120 * folder,
})

/** Draws a folder with a folder of 12 dark pictures, and one of light ones. */
export async function drawFolder(page: Playground): Promise<string> {
  const folder = join(page.folder, 'shapes')
  for (const [k, name] of ['dark', 'light'].entries()) {
    mkdirSync(join(folder, name), { recursive: true })
    for (let i = 0; i < 12; i++)
      await sharp({ create: { width: 12, height: 10, channels: 3, background: colorOf(k, i) } }).toFile(
        join(folder, name, `${i}.png`),
      )
  }
  return folder
}

/** Draws examples of two classes: lines whose direction depends on the class. */
export async function drawExamples(page: Playground, counts: Readonly<Record<string, number>>): Promise<void> {
  await page.tab.check('input[name=source][value=draw]')
  for (const [number, [name, count]] of Object.entries(counts).entries()) {
    const card = `#cards > li:nth-child(${number + 1})`
    await page.tab.fill(`${card} .class-head input`, name)
    for (let i = 0; i < count; i++) {
      const [from, to] = [0.2 + 0.05 * i, 0.8 - 0.03 * i]
      await page.draw('#pad', number % 2 === 0 ? [[from, 0.5], [to, 0.5]] : [[0.5, from], [0.5, to]]) // biome-ignore format: a line
      await page.tab.click(`${card} .add-drawn`)
    }
  }
}

/** Makes the worker of a page save checkpoints every 0.3 s instead of every 3 s. */
export const saveOften = (page: Playground): Promise<void> =>
  page.tab.workers()[0]!.evaluate(() => {
    const { setTimeout } = globalThis
    Object.assign(globalThis, {
      setTimeout: (run: () => void, delay = 0) => setTimeout(run, delay >= 3000 ? delay / 10 : delay),
    })
  })

/** Waits until both contenders have a checkpoint after this step; returns the step of the older one. */
export const checkpointAfter = (page: Playground, step: number): Promise<number> =>
  vi.waitUntil(
    async () => {
      // The checkpoint may be replaced while it is looked for.
      const found = await page.tab
        .workers()[0]!
        .evaluate(findCheckpoint)
        .catch(() => 0)
      return found > step && found
    },
    { timeout: 120_000, interval: 200 },
  )

/**
 * Step of the newest checkpoint of a run that both contenders have; 0 if there is none. Runs in the worker of a page.
 */
async function findCheckpoint(): Promise<number> {
  const newest = async (run: FileSystemDirectoryHandle, contender: string) => {
    const folder = await run.getDirectoryHandle(contender).catch(() => null)
    let step = 0
    if (folder)
      for await (const [name, file] of folder.entries())
        if ((await (file as FileSystemFileHandle).getFile()).size > 0)
          step = Math.max(step, Number(/checkpoint-(\d+)/.exec(name)?.[1] ?? 0))
    return step
  }
  const root = await (await navigator.storage.getDirectory()).getDirectoryHandle('playground')
  let found = 0
  for await (const run of root.values())
    if (run.kind === 'directory') {
      const folder = run as FileSystemDirectoryHandle
      found = Math.max(found, Math.min(await newest(folder, 'base'), await newest(folder, 'ire')))
    }
  return found
}
