import { Interrupted, onInterrupt } from '../interrupts.js'
import { type Io, print } from '../io.js'
import { createStageProgress, type StageProgress } from '../progress.js'

/**
 * Receives the progress of a preparation. `at` throws when the command was interrupted, which stops the preparation.
 */
export type Monitor = Omit<StageProgress, 'stop'>

/**
 * Runs a preparation and shows its progress. Ctrl-C stops it at the next call of `monitor.at`, and finished parts
 * remain; a second Ctrl-C ends the process at once.
 */
export async function runPreparation(
  io: Io,
  { quiet = false, json }: { readonly quiet?: boolean | undefined; readonly json?: boolean | undefined },
  prepare: (monitor: Monitor) => Promise<void>,
): Promise<void> {
  const progress = createStageProgress(io.stderr, quiet)
  const interrupts = onInterrupt(io, () => progress.note('stopping; press Ctrl-C again to quit at once'))
  const at = (done: number) => {
    if (interrupts.signal.aborted) throw new Interrupted()
    progress.at(done)
  }
  try {
    await prepare({ stage: progress.stage, note: progress.note, at })
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error
    print(
      io,
      { interrupted: true },
      json,
      () => 'interrupted; run the same command again to resume after the last finished part',
    )
    throw error
  } finally {
    interrupts.release()
    progress.stop()
  }
}
