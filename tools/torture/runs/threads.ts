import { Worker } from 'node:worker_threads'
import { OnnxIreError } from 'onnx-ire'
import { node } from 'onnx-ire/node'
import type { Opened } from '../campaign.js'
import { judge, Verdict } from '../judge.js'
import { createTrainer, smallData, smallModel } from './small.js'

/** The worker threads that this process has started, so that a case can end the one of a runtime. */
const started: Worker[] = []
const post = Worker.prototype.postMessage
Worker.prototype.postMessage = function (this: Worker, ...args: Parameters<typeof post>) {
  if (!started.includes(this)) started.push(this)
  return post.apply(this, args)
}

const totalSteps = 60

/** The worker thread of a runtime ended in the middle of training. */
export async function open(): Promise<Opened> {
  const model = smallModel()
  const data = smallData()
  const whole = await createTrainer(model, node({ worker: false, threads: 1 }))
  // With a store, as in the cases: a checkpoint for a store has checksums of the data.
  const none = { save: async () => {}, steps: async () => [], load: async () => new Uint8Array(0) }
  await whole.train(data, { totalSteps, validation: data, checkpoints: { store: none, everySteps: 7 } })
  const expected = whole.checkpoint()
  await whole.dispose()
  return {
    make(_, random) {
      const step = random.integer(totalSteps)
      return {
        title: `the thread ended after step ${step}`,
        async run(enter) {
          const verdict = new Verdict(enter)
          const checkpoints = new Map<number, Uint8Array>()
          const store = {
            save: async (at: number, checkpoint: Uint8Array) => void checkpoints.set(at, checkpoint),
            steps: async () => [...checkpoints.keys()].sort((a, b) => b - a),
            load: async (at: number) => checkpoints.get(at)!,
          }
          started.length = 0
          enter('train')
          const options = { totalSteps, validation: data, checkpoints: { store, everySteps: 7 } }
          const runtime = node({ threads: 1, worker: true })
          const trainer = await createTrainer(model, runtime)
          const onStep = ({ step: done }: { readonly step: number }) => {
            // Between two runs: onnxruntime-node 1.30 aborts the process if its thread ends within a call.
            if (done === step) void started.at(-1)?.terminate()
          }
          try {
            await trainer.train(data, { ...options, onStep })
          } catch (error) {
            const fault = judge(error, 'train')
            verdict.expect(fault === undefined, fault?.cause ?? '', () => fault?.detail ?? '')
            verdict.expect(
              error instanceof OnnxIreError && error.code === 'runtime',
              'a lost thread is no runtime error',
              () => String(error),
            )
          }
          await verdict.asyncStage('dispose of the trainer', () => trainer.dispose())
          await verdict.asyncStage('dispose of the runtime', () => runtime.dispose())
          enter('resume')
          const next = node({ threads: 1, worker: true })
          const resumed = await createTrainer(model, next)
          await resumed.resume(store)
          if (!resumed.isFinished(options)) await resumed.train(data, options)
          verdict.expect(
            Buffer.compare(resumed.checkpoint(), expected) === 0,
            'the resumed run differs from an undisturbed one',
            () => `resumed at ${[...checkpoints.keys()].join(', ')}`,
          )
          await resumed.dispose()
          await next.dispose()
          return verdict.outcome()
        },
      }
    },
  }
}
