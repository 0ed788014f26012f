import { readdirSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { decodeModel, encodeModel, inspectModel, type Model, type Runtime } from 'onnx-ire'
import { checkpointFolder, node } from 'onnx-ire/node'
import type { Opened, Workplace } from '../campaign.js'
import { Verdict } from '../judge.js'
import { createTrainer, smallData, smallModel } from './small.js'

/** Something that may be repeated without end. */
interface Endurance {
  readonly name: string
  /** Repetitions, short and with `--soak`. */
  readonly repetitions: readonly [short: number, long: number]
  /** @returns one repetition, and the end */
  open(folder: string): Promise<{ repeat(count: number): Promise<void>; end(): Promise<void> }>
}

/** Steps with an evaluation every 100, and a checkpoint every 50 if `saved`. */
async function openSteps(folder: string, runtime: Runtime, model: Model, saved: boolean) {
  const trainer = await createTrainer(model, runtime)
  const data = smallData()
  const checkpoints = saved ? { checkpoints: { store: checkpointFolder(folder), everySteps: 50 } } : {}
  return {
    repeat: async (count: number) => {
      const totalSteps = trainer.step + count
      await trainer.train(data, { totalSteps, validation: data, evaluateEvery: 100, ...checkpoints })
    },
    end: async () => {
      await trainer.dispose()
      await runtime.dispose()
    },
  }
}

const endurances: readonly Endurance[] = [
  {
    name: 'steps',
    repetitions: [6000, 100_000],
    open: (folder) => openSteps(folder, node({ worker: false, threads: 1 }), smallModel(), false),
  },
  {
    name: 'steps in a worker thread, with checkpoints',
    repetitions: [1500, 20_000],
    open: (folder) => openSteps(folder, node({ worker: true, threads: 1 }), smallModel(), true),
  },
  {
    name: 'runtimes and trainers created and disposed of',
    repetitions: [60, 600],
    open: async () => ({
      repeat: async (count) => {
        for (let i = 0; i < count; i++) {
          const runtime = node({ threads: 1, worker: i % 2 === 0 })
          const trainer = await createTrainer(smallModel(), runtime)
          await trainer.train(smallData(), { totalSteps: 2, validation: smallData() })
          await trainer.dispose()
          await runtime.dispose()
        }
      },
      end: async () => {},
    }),
  },
  {
    name: 'models decoded, inspected and encoded',
    repetitions: [300, 5000],
    open: async () => {
      const bytes = encodeModel(smallModel())
      return {
        repeat: async (count) => {
          for (let i = 0; i < count; i++) {
            const model = decodeModel(bytes.slice())
            inspectModel(model)
            encodeModel(model)
          }
        },
        end: async () => {},
      }
    },
  },
  {
    // Smaller models are not updated in place.
    name: 'steps in shared memory, in two threads',
    repetitions: [1000, 100_000],
    open: (folder) => openSteps(folder, node({ threads: 2 }), smallModel([200, 160]), false),
  },
]

interface Holdings {
  readonly heap: number
  readonly resident: number
  readonly files: number
  readonly threads: number
  readonly resources: Readonly<Record<string, number>>
}

const count = (path: string): number => {
  try {
    return readdirSync(path).length
  } catch {
    return 0
  }
}

/** Memory and handles of this process after a garbage collection. */
async function measure(): Promise<Holdings> {
  for (let i = 0; i < 4; i++) {
    globalThis.gc?.()
    await delay(50)
  }
  const { heapUsed, external, arrayBuffers, rss } = process.memoryUsage()
  const resources: Record<string, number> = {}
  for (const name of process.getActiveResourcesInfo())
    if (name !== 'Timeout') resources[name] = (resources[name] ?? 0) + 1
  return {
    heap: heapUsed + external + arrayBuffers,
    resident: rss,
    files: count('/proc/self/fd'),
    threads: count('/proc/self/task'),
    resources,
  }
}

/** Growth between the middle and the end that is no leak: caches that fill, code that is compiled. */
const allowed = { heap: 3 * 2 ** 20, resident: 40 * 2 ** 20 }

/** Many repetitions with flat memory, and the same handles at the end as in the middle. */
export async function open({ folder, long }: Workplace): Promise<Opened> {
  return {
    make(seed) {
      const { name, repetitions, open } = endurances[seed % endurances.length]!
      const total = repetitions[long ? 1 : 0]
      return {
        title: `${total} ${name}`,
        async run(enter) {
          const verdict = new Verdict(enter)
          const own = await mkdtemp(join(folder, 'soak-'))
          enter(name)
          const { repeat, end } = await open(own)
          await repeat(Math.ceil(total / 2))
          const middle = await measure()
          await repeat(Math.floor(total / 2))
          const last = await measure()
          await end()
          const growth = (what: 'heap' | 'resident') => last[what] - middle[what]
          for (const what of ['heap', 'resident'] as const)
            verdict.expect(
              growth(what) < allowed[what],
              `${what} memory grows with ${name}`,
              () => `${growth(what)} bytes in ${total / 2}`,
            )
          for (const what of ['files', 'threads'] as const)
            verdict.expect(
              last[what] <= middle[what],
              `the number of open ${what} grows with ${name}`,
              () => `${middle[what]} to ${last[what]}`,
            )
          verdict.expect(
            Object.entries(last.resources).every(([key, n]) => n <= (middle.resources[key] ?? 0)),
            `active resources grow with ${name}`,
            () => `${JSON.stringify(middle.resources)} to ${JSON.stringify(last.resources)}`,
          )
          await rm(own, { recursive: true })
          return verdict.outcome()
        },
      }
    },
  }
}
