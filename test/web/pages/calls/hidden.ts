import { type DatasetOrStream, Trainer } from 'onnx-ire'
import { checkpointFolder, readModel, storage } from 'onnx-ire/web'
import { optionsOf, type Task, type Where } from '../task.js'
import { dataOf, start } from './training.js'

/** The result of a run: its steps in order, with their losses. */
export interface Taken {
  readonly steps: readonly (readonly [step: number, loss: number])[]
  readonly resumed: number | null
  readonly saved: readonly number[]
}

const folder = 'runs/hidden'

/**
 * Runs in the page: notifies the worker when the page is hidden, and records the events of the browser from here on.
 */
export function watch(): void {
  events.length = 0
  if (watching) return
  watching = true
  const worker = globalThis.worker!
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState === 'hidden') worker.postMessage('hidden')
  })
  for (const name of ['visibilitychange', 'freeze', 'resume'])
    document.addEventListener(name, () => events.push(`${name} ${document.visibilityState}`))
}
let watching = false
const events: string[] = []
export const recordedEvents = () => events

/** Runs in the page: ends the run in the worker after its current step. */
export const stop = () => globalThis.worker!.postMessage('stop')

/**
 * In the worker: trains until `stop` or for a number of steps, with a checkpoint whenever the page is hidden, going on
 * from one that is there; `step n` on the console.
 */
export async function train(where: Where, task: Task, fresh: boolean, until = task.steps): Promise<Taken> {
  if (fresh) await storage.remove(folder)
  const runtime = await start(where)
  const data = await dataOf(task)
  const trainer = await Trainer.create(await readModel(`/exchange/${task.model}`), optionsOf(task, runtime))
  const taken = await steps(trainer, data, task.steps, until)
  await trainer.dispose()
  return taken
}

async function steps(trainer: Trainer, data: DatasetOrStream, totalSteps: number, until: number): Promise<Taken> {
  const store = checkpointFolder(folder)
  const resumed = await trainer.resume(store)
  const [taken, saved]: [[number, number][], number[]] = [[], []]
  let hidden = false
  addEventListener('message', ({ data }) => {
    hidden ||= data === 'hidden'
  })
  const saving = () => {
    const asked = hidden
    hidden = false
    return asked ? 'save' : undefined
  }
  let stopped = false
  addEventListener('message', ({ data }) => {
    stopped ||= data === 'stop'
  })
  const fitting = trainer.fit(data, {
    totalSteps,
    // One interval: only hiding causes a checkpoint or a yield to the event loop.
    evaluateEvery: totalSteps,
    checkpoints: { store },
    onStep: ({ step, loss }) => {
      taken.push([step, loss])
      if (step % 10 === 0) console.log(`step ${step}`)
      return stopped || step + 1 >= until ? 'stop' : saving()
    },
    onCheckpoint: (step) => {
      saved.push(step)
      console.log(`saved ${step}`)
    },
  })
  for await (const _ of fitting);
  return { steps: taken, resumed: resumed?.step ?? null, saved }
}
