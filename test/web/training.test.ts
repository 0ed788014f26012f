import { readdirSync, readFileSync } from 'node:fs'
import type { ConsoleMessage } from 'playwright-core'
import { beforeAll, expect, it } from 'vitest'
import { fromArrays, labelColumn } from '../../src/data/arrays.js'
import { imageColumn } from '../../src/data/image/image-column.js'
import { crossEntropy } from '../../src/loss/cross-entropy.js'
import { accuracy } from '../../src/metric/accuracy.js'
import { node } from '../../src/node/runtime/node.js'
import { decodeModel } from '../../src/onnx/model.js'
import { evaluateModel } from '../../src/train/evaluate.js'
import { Trainer } from '../../src/train/trainer.js'
import { describeInBrowser } from './browser.js'
import type { Outcome } from './pages/calls/training.js'
import type { Task, Where } from './pages/task.js'
import { optionsOf, trainHeadOn } from './pages/task.js'
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
  lr: 3e-3,
  ire: true,
  steps: 50,
}
/** A step on a software GPU takes long. */
const steps: Readonly<Record<Where, number>> = { wasm: task.steps, webgpu: 20 }
/** Shaders take long to compile on a software GPU. */
const patience = 600_000

const held = () =>
  fromArrays({
    x: imageColumn(others.pixels, { size, channels: 1, mean: 0.5, std: 0.5 }),
    labels: labelColumn(others.labels),
  })

/** The losses of the same run on Node. */
async function onNode(model: Uint8Array): Promise<number[]> {
  const runtime = node({ worker: false, threads: 1 })
  const trainer = await Trainer.create(decodeModel(model), optionsOf(task, runtime))
  const losses: number[] = []
  for await (const _ of trainer.fit(held(), { totalSteps: task.steps, onStep: ({ loss }) => void losses.push(loss) }));
  await trainer.dispose()
  await runtime.dispose()
  return losses
}

/** Evaluates the exported file in Node, on the same digits. */
async function measured(model: Uint8Array) {
  const runtime = node({ worker: false, threads: 1 })
  const data = fromArrays({
    x: imageColumn(others.pixels, { size, channels: 1, mean: 0.5, std: 0.5 }),
    labels: labelColumn(others.labels),
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
  let onCpu: readonly number[]
  beforeAll(async () => {
    const { exchange } = browser()
    exchange.set('digits', await pretrained(size))
    onCpu = await onNode(exchange.get('digits')!)
    exchange.set('pixels', idxOf(others.pixels))
    exchange.set('labels', idxOf(others.labels))
  }, patience)
  const call = <T>(name: string, ...args: readonly unknown[]) => browser().worker<T>('training', name, ...args)

  it.each<Where>(['wasm', 'webgpu'])(
    'a pretrained model fine-tuned on %s > equals the CPU, and the exported file has the same accuracy in Node',
    async (where) => {
      const { losses, before, after, description } = await call<Outcome>('fineTune', where, {
        ...task,
        steps: steps[where],
      })
      expect(description).toContain(where)
      expect(losses.length).toBe(steps[where])
      agree(losses, onCpu.slice(0, steps[where]))
      expect(after.loss).toBeLessThan(before.loss / (where === 'wasm' ? 2 : 1.2))
      const inNode = await measured(browser().exchange.get('tuned')!)
      expect(inNode['accuracy']).toBe(after['accuracy'])
      expect(Math.abs(inNode.loss - after.loss)).toBeLessThan(1e-4)
    },
    patience,
  )

  it('large weights that are not trained on wasm > are beside the compiled model; losses equal those in Node', async () => {
    const { losses, largest } = await call<{ losses: number[]; largest: number }>('trainHead', 'wasm')
    expect(largest).toBeLessThan(100_000)
    const runtime = node({ worker: false, threads: 1 })
    const expected = await trainHeadOn(runtime)
    await runtime.dispose()
    expect(losses).toHaveLength(expected.length)
    for (const [i, loss] of losses.entries()) expect(loss).toBeCloseTo(expected[i]!, 5)
  })

  it(
    'program of the guide > runs',
    async () => {
      const { exchange } = browser()
      for (const [name, file] of [
        ['digits.onnx', 'digits'],
        ['pixels.idx', 'pixels'],
        ['labels.idx', 'labels'],
      ] as const)
        exchange.set(name, exchange.get(file)!)
      expect(await browser().worker('training', 'guide')).toEqual([
        expect.stringContaining('webgpu'),
        expect.stringMatching(/^epoch 0: loss \d\.\d{3}$/),
        expect.stringMatching(/^epoch 1: loss \d\.\d{3}$/),
        expect.stringMatching(/^epoch 2: loss \d\.\d{3}$/),
      ])
    },
    patience,
  )

  it(
    'reload > resumes from the last complete checkpoint, equal bit for bit',
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
      // Intervals end with a checkpoint, too: an epoch has 6 steps.
      expect(second.steps).toEqual([50, 48])
      expect([...first.losses.slice(0, 15), ...second.losses]).toEqual(whole.losses)
      const { exchange } = browser()
      expect(Buffer.compare(exchange.get('resumed')!, exchange.get('whole')!)).toBe(0)
      expect(Buffer.compare(exchange.get('part')!, exchange.get('whole')!)).not.toBe(0)
    },
    patience,
  )

  it.each<Where>(['wasm', 'webgpu'])(
    'moving average of the weights on %s > equals the host',
    async (where) => {
      const { off, moved } = await call<{ off: number; moved: number }>('averaged', where, {
        ...task,
        ema: 0.9,
        steps: steps[where],
      })
      expect(off).toBeLessThan(1e-5)
      expect(moved).toBeGreaterThan(1e-3)
    },
    patience,
  )

  it.each<Where>(['wasm', 'webgpu'])(
    'disposed trainer, and runtime disposed of during a step, Trainer.create and compile on %s > these and later calls say so',
    async (where) => {
      const { trainer, runtimes, end } = await call<Readonly<Record<string, unknown>>>('disposed', where)
      expect(trainer).toBe('runtime: trainer is disposed: only export() and checkpoint() still work')
      expect(runtimes).toEqual(['runtime: this runtime was disposed'])
      expect(end).toBe('done')
    },
    patience,
  )

  it(
    'lost device > loses no step',
    async () => {
      const short = { ...task, ema: 0.9, steps: 12 }
      const whole = await call<Interrupted>('interrupted', short, [])
      const { losses, model, lostAt } = await call<Interrupted>('interrupted', short, [4, 13])
      // An epoch has 6 steps; the trainer syncs after each. Later steps are repeated with the same results.
      expect(lostAt).toEqual([0, 6])
      const { losses: steps } = whole
      expect(losses).toEqual([...steps.slice(0, 4), ...steps.slice(0, 9), ...steps.slice(6)])
      expect(model).toBe(whole.model)
    },
    patience,
  )

  it(
    '1,000 steps in WebAssembly, 100 on WebGPU > use as much memory as a tenth of them',
    async () => {
      // On the GPU, count the buffers that were not released; in WebAssembly, measure the memory of the browser's
      // processes. A set of gradients leaked at each step would be 180 MB.
      const buffers = await call<{ readonly counts: readonly number[] }>('endure', 'webgpu', [16, 16, 4], 100, 10)
      expect(buffers.counts.length).toBe(10)
      expect(buffers.counts.at(-1)).toBe(buffers.counts[0])
      const memory: number[] = []
      const watch = (message: ConsoleMessage) => {
        if (message.text().startsWith('steps ')) memory.push(residentBytes())
      }
      browser().tab.on('console', watch)
      await call('endure', 'wasm', [64, 256, 128, 10], 1000, 100)
      browser().tab.off('console', watch)
      expect(memory.length).toBe(10)
      // Garbage fluctuates, and the browser allocates its heap in the first hundred steps. In the means, a leak of 600
      // steps
      // would be 120 MB.
      const mean = (part: readonly number[]) => part.reduce((sum, bytes) => sum + bytes, 0) / part.length
      expect(mean(memory.slice(-3)) - mean(memory.slice(1, 4)), `${memory}`).toBeLessThan(40 * 2 ** 20)
    },
    patience,
  )
})

/** Losses of every step within 1e-3 of each other. */
function agree(losses: readonly number[], others: readonly number[]): void {
  expect(losses.length).toBe(others.length)
  for (const [step, loss] of losses.entries()) expect(Math.abs(loss - others[step]!), `step ${step}`).toBeLessThan(1e-3)
}

/** Memory of all processes of the browser that this test started, in bytes. */
function residentBytes(): number {
  const parents = new Map<number, number>()
  const sizes = new Map<number, number>()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    try {
      const status = readFileSync(`/proc/${name}/status`, 'utf8')
      const number = (key: string) => Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0)
      parents.set(Number(name), number('PPid'))
      sizes.set(Number(name), number('VmRSS') * 1024)
    } catch {
      // It has ended.
    }
  }
  const isOurs = (id: number): boolean => id === process.pid || (parents.has(id) && isOurs(parents.get(id)!))
  return [...sizes].reduce((sum, [id, size]) => (id !== process.pid && isOurs(id) ? sum + size : sum), 0)
}

interface Interrupted {
  readonly losses: readonly number[]
  readonly model: string
  readonly lostAt: readonly number[]
}

interface Resumable {
  readonly losses: readonly number[]
  readonly steps: readonly number[]
  readonly resumed: { readonly step: number; readonly skipped: readonly unknown[] } | null
}
