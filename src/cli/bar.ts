import { Presets, SingleBar } from 'cli-progress'
import type { Output } from './io.js'

/** Seconds between two plain lines where there is no terminal to draw on. */
export const lineInterval = 5

/** A bar on a terminal that other text may interrupt. */
export interface Bar {
  at(done: number, total: number, shown: object): void
  /** Takes the bar away, for the next `at` to draw it again below. */
  write(text: string): void
  stop(): void
}

/** @param format as cli-progress takes it */
export function barOn(stream: Output, format: string): Bar {
  const options = { format, stream, clearOnComplete: true, gracefulExit: false, stopOnComplete: false, barsize: 24 }
  const drawn = new SingleBar(options, Presets.shades_classic)
  return {
    at(done, total, shown) {
      if (drawn.isActive) drawn.update(done, shown)
      else drawn.start(total, done, shown)
    },
    write(text) {
      drawn.stop()
      stream.write(`${text}\n`)
    },
    stop: () => drawn.stop(),
  }
}
