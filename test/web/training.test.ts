import { beforeAll, expect, it } from 'vitest'
import { arrays, labels } from '../../src/data/arrays.js'
import { images } from '../../src/data/image.js'
import { crossEntropy } from '../../src/loss/cross-entropy.js'
import { accuracy } from '../../src/metric/accuracy.js'
import { node } from '../../src/node/runtime.js'
import { decodeModel } from '../../src/onnx/model.js'
import { evaluateModel } from '../../src/train/evaluate.js'
import { describeInBrowser } from './browser.js'
import type { Outcome, Task, Where } from './pages/calls/training.js'
import { digits, idxOf, pretrained } from './pretrained.js'

const size = 8
const others = digits([5, 6, 7, 8, 9], 96)
const task: Task = {
  model: 'digits',
  pixels: 'pixels',
  labels: 'labels',
  size,
  classes: 5,
  batchSize: 16,
  lr: 1e-2,
  ire: true,
  steps: 30,
}
/** Shaders of a GPU made of software take long to compile. */
const patience = 600_000

/** What Node makes of the exported file, on the same digits. */
async function measured(model: Uint8Array) {
  const runtime = node({ worker: false, threads: 1 })
  const data = arrays({
    x: images(others.pixels, { size, channels: 1, mean: 0.5, std: 0.5 }),
    labels: labels(others.labels),
  })
  const measures = await evaluateModel(decodeModel(model), data, {
    loss: crossEntropy(),
    metrics: [accuracy()],
    runtime,
  })
  await runtime.dispose()
  return measures
}

describeInBrowser('training in Chromium', (browser) => {
  beforeAll(async () => {
    const { exchange } = browser()
    exchange.set('digits', await pretrained(size))
    exchange.set('pixels', idxOf(others.pixels))
    exchange.set('labels', idxOf(others.labels))
  }, patience)
  const call = <T>(name: string, ...args: readonly unknown[]) => browser().worker<T>('training', name, ...args)

  it.each<Where>(['wasm', 'webgpu'])(
    'fine-tunes a pretrained model on %s, and Node finds the exported file as good',
    async (where) => {
      const { losses, before, after, description } = await call<Outcome>('fineTune', where, task)
      expect(description).toContain(where)
      expect(losses.length).toBe(task.steps)
      expect(after.loss).toBeLessThan(before.loss / 2)
      const inNode = await measured(browser().exchange.get('tuned')!)
      expect(inNode['accuracy']).toBe(after['accuracy'])
      expect(Math.abs(inNode.loss - after.loss)).toBeLessThan(1e-4)
    },
    patience,
  )

  it(
    'goes on after a reload from the checkpoint that is whole, bit for bit',
    async () => {
      const whole = await call<Resumable>('goOn', 'wasm', task, task.steps, 'whole', true)
      expect(whole.resumed).toBe(null)
      const first = await call<Resumable>('goOn', 'wasm', task, 17, 'part', true)
      expect(first.steps).toEqual([17, 15])
      await browser().reload()
      // The newest one is damaged.
      await call('damage', 'runs/resumed/checkpoint-00000017.safetensors')
      const second = await call<Resumable>('goOn', 'wasm', task, task.steps, 'resumed', false)
      expect(second.resumed).toEqual({ step: 15, skipped: [[17, 'damaged']] })
      expect(second.steps).toEqual([30, 25])
      expect([...first.losses.slice(0, 15), ...second.losses]).toEqual(whole.losses)
      const { exchange } = browser()
      expect(Buffer.compare(exchange.get('resumed')!, exchange.get('whole')!)).toBe(0)
      expect(Buffer.compare(exchange.get('part')!, exchange.get('whole')!)).not.toBe(0)
    },
    patience,
  )
})

interface Resumable {
  readonly losses: readonly number[]
  readonly steps: readonly number[]
  readonly resumed: { readonly step: number; readonly skipped: readonly unknown[] } | null
}
