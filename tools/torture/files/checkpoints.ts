import { modelFromCheckpoint } from 'onnx-ire'
import { node } from 'onnx-ire/node'
import type { Opened } from '../campaign.js'
import { applyEdits, drawEdits } from '../edits.js'
import { Verdict } from '../judge.js'
import { createTrainer, smallData, smallModel } from '../runs/small.js'

/** Codes of the errors with which a changed checkpoint is refused. */
const refusals: readonly (string | undefined)[] = ['damaged', 'checkpoint']

/** A checkpoint with any byte changed is refused, and the trainer stays as it was. */
export async function open(): Promise<Opened> {
  const runtime = node({ worker: false, threads: 1 })
  const model = smallModel()
  const trainer = await createTrainer(model, runtime)
  await trainer.train(smallData(), { totalSteps: 4, validation: smallData() })
  const whole = trainer.checkpoint()
  return {
    make(seed, random) {
      // Two of three cases change one byte, so that a long run changes each of them; the others cut, insert and copy.
      const at = seed % whole.length
      const edits =
        seed % 3 > 0
          ? [{ at, removed: 1, inserted: Uint8Array.of(whole[at]! ^ (1 + random.integer(255))) }]
          : drawEdits(random, whole)
      const file = applyEdits(whole, edits)
      const isSame = Buffer.compare(file, whole) === 0
      return {
        title: `a checkpoint changed at byte ${edits[0]!.at} of ${whole.length}`,
        file,
        run(enter) {
          const restoring = new Verdict(enter)
          restoring.stage('restore', () => trainer.restore(file))
          const reading = new Verdict(enter)
          reading.stage('export', () => modelFromCheckpoint(model, file))
          for (const verdict of [restoring, reading])
            restoring.expect(
              isSame ? verdict.code === undefined : refusals.includes(verdict.code),
              'a changed checkpoint is not refused as damaged',
              () => `ended with ${verdict.code ?? 'success'}`,
            )
          restoring.expect(
            Buffer.compare(trainer.checkpoint(), whole) === 0,
            'a refused checkpoint has changed the trainer',
          )
          return { ...restoring.outcome(), faults: [...restoring.outcome().faults, ...reading.outcome().faults] }
        },
      }
    },
  }
}
