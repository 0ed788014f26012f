import type { DatasetOrStream } from '../../data/stream.js'
import { transform } from '../../data/transform.js'
import { decideByAny, type ProcessGroup } from '../../train/process-group.js'

/** Thrown by the validation data to end an evaluation after an interrupt. */
export class Stopped extends Error {}

/**
 * Data that throw `Stopped` after an interrupt, since a whole evaluation may take too long to wait for: in all
 * processes of a group at the same batch.
 */
export const stopOnAbort = (
  data: DatasetOrStream,
  signal: { readonly aborted: boolean },
  group?: ProcessGroup,
): DatasetOrStream =>
  transform(data, async (batch) => {
    if (group ? await decideByAny(group, signal.aborted) : signal.aborted) throw new Stopped()
    return batch
  })
