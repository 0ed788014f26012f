import { barOn, lineInterval } from '../bar.js'
import { Interrupted, onInterrupt } from '../interrupts.js'
import { type Io, type Output, print } from '../io.js'
import { formatDuration } from '../text/format.js'

/** Tells people how far a preparation has come, and the preparation that it is to stop. */
export interface Monitor {
  /** Begins a stage of so much work: bytes, images. */
  stage(name: string, total: number): void
  /** Where the stage stands. Throws when the work is to stop. */
  at(done: number): void
  note(text: string): void
}

/**
 * Runs a preparation: a bar on a terminal, plain lines elsewhere, on stderr. Ctrl-C stops it at the next good moment, with
 * what is finished kept, and a second one at once.
 */
export async function monitored(
  io: Io,
  { quiet = false, json }: { readonly quiet?: boolean | undefined; readonly json?: boolean | undefined },
  work: (monitor: Monitor) => Promise<void>,
): Promise<void> {
  const shown = quiet ? silent : io.stderr.isTTY ? bar(io.stderr) : lines(io.stderr)
  const interrupts = onInterrupt(io, () => shown.note('stopping; once more to quit at once'))
  const at = (done: number) => {
    if (interrupts.signal.aborted) throw new Interrupted()
    shown.at(done)
  }
  try {
    await work({ stage: shown.stage, note: shown.note, at })
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error
    const text = 'interrupted: what is finished is kept, and the same command goes on from there'
    print(io, { interrupted: true }, json, () => text)
    throw error
  } finally {
    interrupts.release()
    shown.stop()
  }
}

interface Shown extends Monitor {
  stop(): void
}

const silent: Shown = { stage() {}, at() {}, note() {}, stop() {} }

/** Share done and seconds left of a stage. */
class Pace {
  #started = performance.now()
  #first: number | undefined
  readonly #total: number

  constructor(total: number) {
    this.#total = total
  }

  at(done: number): { readonly percent: string; readonly left: string } {
    this.#first ??= done // what was finished before takes no time
    const seconds = (performance.now() - this.#started) / 1000
    const rate = (done - this.#first) / seconds
    return {
      percent: `${Math.floor((100 * done) / Math.max(this.#total, 1))} %`,
      left: rate > 0 ? formatDuration((this.#total - done) / rate) : '?',
    }
  }
}

function lines(stream: Output): Shown {
  let [name, pace, next] = ['', new Pace(0), 0]
  return {
    stage(title, total) {
      name = title
      pace = new Pace(total)
      next = performance.now() + 1000 * lineInterval
    },
    at(done) {
      const { percent, left } = pace.at(done)
      if (performance.now() < next) return
      next = performance.now() + 1000 * lineInterval
      stream.write(`${name}: ${percent}, ${left} left\n`)
    },
    note: (text) => stream.write(`${text}\n`),
    stop() {},
  }
}

function bar(stream: Output): Shown {
  let [name, total, pace] = ['', 0, new Pace(0)]
  const drawn = barOn(stream, '{name} {bar} {percent} | ETA {left}')
  return {
    stage(title, work) {
      drawn.stop()
      name = title
      total = work
      pace = new Pace(work)
    },
    at(done) {
      drawn.at(done, total, { name, ...pace.at(done) })
    },
    note: drawn.write,
    stop: drawn.stop,
  }
}
