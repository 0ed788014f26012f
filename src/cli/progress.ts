import type { IntervalMetrics, StepProgress } from '../train/options.js'
import { barOn, lineInterval } from './bar.js'
import type { Output } from './io.js'
import { formatDuration, formatNumber } from './text/format.js'
import { formatMetric, formatMetricsLine } from './text/metrics.js'

/** How far a run has come, for people. */
export interface Progress {
  step(progress: StepProgress): void
  epoch(metrics: IntervalMetrics): void
  note(text: string): void
  stop(): void
}

/**
 * A bar on a terminal, plain lines elsewhere, both on stderr; nothing when it is to be quiet.
 * @param watched the measure of the validation data that the bar shows
 */
export function progressOn(stream: Output, quiet: boolean, watched: string): Progress {
  if (quiet) return { step() {}, epoch() {}, note() {}, stop() {} }
  return stream.isTTY ? bar(stream, watched) : lines(stream)
}

function lines(stream: Output): Progress {
  const pace = new Pace()
  let next = 0
  return {
    step(progress) {
      pace.add(progress)
      if (performance.now() < next) return
      next = performance.now() + 1000 * lineInterval
      const { step, steps, loss } = progress
      stream.write(
        `epoch ${progress.epoch + 1}, step ${step + 1}${steps === undefined ? '' : `/${steps}`}: loss ${formatNumber(loss)}, ${pace.rate} examples/s${pace.left === '' ? '' : `, ${pace.left} left`}\n`,
      )
    },
    epoch: (metrics) => stream.write(`${epochText(metrics)}\n`),
    note: (text) => stream.write(`${text}\n`),
    stop() {},
  }
}

function bar(stream: Output, watched: string): Progress {
  const pace = new Pace()
  let held = ''
  const drawn = barOn(
    stream,
    'epoch {epoch} {bar} {value}/{total} | loss {loss}{held} | {rate} examples/s | ETA {left}',
  )
  return {
    step(progress) {
      pace.add(progress)
      const { step, steps, loss } = progress
      const shown = {
        epoch: progress.epoch + 1,
        loss: formatNumber(loss),
        held,
        rate: pace.rate,
        left: pace.left || '?',
      }
      drawn.at(step + 1, steps ?? 0, shown)
    },
    epoch(metrics) {
      const value = metrics.validation?.[watched]
      if (typeof value === 'number') held = ` | held out ${watched} ${formatMetric(watched, value)}`
      drawn.write(epochText(metrics))
    },
    note: drawn.write,
    stop: drawn.stop,
  }
}

/** Throughput and time left from the steps seen since the start, validation included. */
class Pace {
  #started: number | undefined
  #examples = 0
  #steps = 0
  #remaining: number | undefined

  add({ step, steps, examples, seconds }: StepProgress): void {
    this.#started ??= performance.now() - 1000 * seconds
    this.#examples += examples
    this.#steps++
    this.#remaining = steps === undefined ? undefined : steps - step - 1
  }

  get rate(): string {
    return String(Number((this.#examples / this.#elapsed).toPrecision(3)))
  }

  get left(): string {
    return this.#remaining === undefined ? '' : formatDuration((this.#elapsed / this.#steps) * this.#remaining)
  }

  get #elapsed(): number {
    return Math.max((performance.now() - (this.#started ?? 0)) / 1000, 1e-3)
  }
}

function epochText({
  epoch,
  step,
  loss,
  accuracy,
  count: of,
  validation,
  secondsPerStep,
  flatShare,
}: IntervalMetrics): string {
  const training = formatMetricsLine({ loss, count: of, ...(accuracy === undefined ? {} : { accuracy }) })
  return [
    `epoch ${epoch + 1}, step ${step}: ${training}`,
    ...(validation ? [`held out: ${formatMetricsLine(validation)}`] : []),
    ...(flatShare === undefined ? [] : [`${(100 * flatShare).toFixed(1)} % flat`]),
    `${formatNumber(secondsPerStep)} s/step`,
  ].join('; ')
}
