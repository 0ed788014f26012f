import { Presets, SingleBar } from 'cli-progress'
import type { Settings } from './experiment.js'

/** Progress of an experiment. */
export interface Progress {
  /** Announces work of this cost. */
  expect(cost: number): void
  /** Reports work of this cost that an earlier call completed. */
  skip(cost: number): void
  within(settings: Settings, cost: number, share: number): void
  done(settings: Settings, cost: number): void
  stop(): void
}

/** Seconds between two lines on an output that is not a terminal. */
const lineInterval = 10

/** Shows a bar on a terminal, or a line every ten seconds on another output. */
export function createProgress(stream: NodeJS.WriteStream): Progress {
  const pace = new Pace()
  const bar = stream.isTTY
    ? new SingleBar(
        { format: '{bar} {percentage} % | {left} left | {what}', stream, clearOnComplete: true, gracefulExit: false },
        Presets.shades_classic,
      )
    : undefined
  /** Completed cost of current runs. */
  const running = new Map<Settings, number>()
  let next = 0
  const show = (settings: Settings) => {
    const { share, left } = pace.at([...running.values()].reduce((sum, cost) => sum + cost, 0))
    const what = describe(settings)
    if (bar) {
      if (!bar.isActive) bar.start(1, 0, { left, what })
      bar.update(share, { left, what })
    } else if (performance.now() >= next) {
      next = performance.now() + 1000 * lineInterval
      stream.write(`${(100 * share).toFixed(0)} %, ${left} left: ${what}\n`)
    }
  }
  return {
    expect: (cost) => pace.expect(cost),
    skip: (cost) => pace.skip(cost),
    within(settings, cost, share) {
      running.set(settings, cost * share)
      show(settings)
    },
    done(settings, cost) {
      running.delete(settings)
      pace.done(cost)
      show(settings)
    },
    stop: () => bar?.stop(),
  }
}

/** Time left, from the completed and the announced cost. */
class Pace {
  readonly #started = performance.now()
  #expected = 0
  #skipped = 0
  #done = 0

  expect(cost: number): void {
    this.#expected += cost
  }

  skip(cost: number): void {
    this.#skipped += cost
  }

  done(cost: number): void {
    this.#done += cost
  }

  at(within: number): { readonly share: number; readonly left: string } {
    const done = this.#done + within
    const whole = Math.max(this.#expected, this.#skipped + done)
    const seconds = (performance.now() - this.#started) / 1000
    const left = done > 0 ? (seconds / done) * (whole - this.#skipped - done) : Number.NaN
    return { share: whole > 0 ? (this.#skipped + done) / whole : 0, left: duration(left) }
  }
}

function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '?'
  return seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`
}

const describe = (settings: Settings): string =>
  Object.entries(settings)
    .flatMap(([name, value]) => (typeof value === 'object' ? [] : [`${name} ${value}`]))
    .join(', ')
