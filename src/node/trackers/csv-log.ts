import { appendFileSync, statSync } from 'node:fs'
import { csvField } from '../../data/formats/csv-field.js'
import type { Tracker } from '../../train/track.js'
import { OnnxIreError } from '../../util/errors.js'

/**
 * A tracker that appends numbers to a CSV file with the columns `step`, `name` and `value`, a row per number, since the
 * names of steps and evaluations differ. Throws `io` if the file cannot be written.
 */
export function csvLog(file: string): Tracker {
  const append = (text: string) => {
    try {
      appendFileSync(file, text)
    } catch (cause) {
      throw new OnnxIreError('io', `cannot write ${file}: ${(cause as Error).message}`, { cause })
    }
  }
  if (!statSync(file, { throwIfNoEntry: false })?.size) append('step,name,value\n')
  return {
    log(values, step) {
      append(
        Object.entries(values)
          .map(([name, value]) => `${step},${csvField(name)},${value}\n`)
          .join(''),
      )
    },
  }
}
