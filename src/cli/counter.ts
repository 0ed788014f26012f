import { barOn, lineInterval } from './bar.js'
import type { Output } from './io.js'
import { formatDuration, formatNumber } from './text/format.js'

/** How many examples a command has been through, for people. */
export interface Counter {
  /** @param examples seen so far, in all */
  at(examples: number): void
  stop(): void
}

/**
 * A bar on a terminal, plain lines elsewhere, both on stderr.
 * @param total examples in all; undefined where only the end of a stream will tell
 */
export function counterOn(stream: Output, quiet: boolean, total: number | undefined): Counter {
  if (quiet) return { at() {}, stop() {} }
  const started = performance.now()
  const paceAt = (examples: number) => {
    const seconds = Math.max((performance.now() - started) / 1000, 1e-3)
    const rate = String(Number((examples / seconds).toPrecision(3)))
    return { rate, left: total === undefined ? '?' : formatDuration((seconds / examples) * (total - examples)) }
  }
  return stream.isTTY ? bar(stream, total, paceAt) : lines(stream, total, paceAt)
}

type PaceAt = (examples: number) => { readonly rate: string; readonly left: string }

function lines(stream: Output, total: number | undefined, paceAt: PaceAt): Counter {
  let next = performance.now() + 1000 * lineInterval
  return {
    at(examples) {
      if (performance.now() < next) return
      next = performance.now() + 1000 * lineInterval
      const { rate, left } = paceAt(examples)
      const share = total === undefined ? '' : `/${formatNumber(total)}`
      stream.write(
        `${formatNumber(examples)}${share} examples, ${rate} examples/s${total === undefined ? '' : `, ${left} left`}\n`,
      )
    },
    stop() {},
  }
}

function bar(stream: Output, total: number | undefined, paceAt: PaceAt): Counter {
  const drawn = barOn(stream, '{bar} {value}/{total} | {rate} examples/s | ETA {left}')
  return {
    at: (examples) => drawn.at(examples, total ?? 0, paceAt(examples)),
    stop: drawn.stop,
  }
}
