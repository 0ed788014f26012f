import { Presets, SingleBar } from 'cli-progress'
import type { FeatureProgress } from '../train/cached-features.js'
import type { IntervalMetrics, StepProgress } from '../train/options.js'
import { escapeControls } from '../util/printable.js'
import { getOwn } from '../util/record.js'
import { formatDuration, formatMetric, formatMetricsLine, formatNumber } from './format.js'
import { type Output, writeText } from './io.js'

/** Seconds between two lines of progress on an output that is not a terminal. */
const lineInterval = 5

/** A progress bar on a terminal, or lines of text on another output. */
interface Display<Fields> {
  update(done: number, total: number | undefined, fields: Fields): void
  /** Prints a line of text above the bar. */
  note(text: string): void
  stop(): void
}

/** Appearance of a display. */
interface Layout<Fields> {
  /** Format of the bar, with {bar}, {value}, {total} and the fields. */
  readonly bar: string
  readonly line: (done: number, total: number | undefined, fields: Fields) => string
  /** Seconds before the first line. */
  readonly delay: number
}

function createDisplay<Fields extends object>(stream: Output, quiet: boolean, layout: Layout<Fields>): Display<Fields> {
  if (quiet) return { update() {}, note() {}, stop() {} }
  return stream.isTTY ? createBar(stream, layout) : createLines(stream, layout)
}

function createBar<Fields extends object>(stream: Output, { bar: format }: Layout<Fields>): Display<Fields> {
  const options = {
    ...{ format, stream, clearOnComplete: true, gracefulExit: false, stopOnComplete: false, barsize: 24 },
    // Lines are cut here, not by a mode of the terminal, in which a killed process would leave it.
    linewrap: true,
  }
  const bar = new SingleBar(options, Presets.shades_classic)
  return {
    update(done, total, fields) {
      const shown = Object.fromEntries(
        Object.entries(fields).map(([key, value]) => [key, typeof value === 'string' ? escapeControls(value) : value]),
      )
      if (bar.isActive) bar.update(done, shown)
      else bar.start(total ?? 0, done, shown)
    },
    note(text) {
      bar.stop() // the next update draws the bar again, below the text
      writeText(stream, `${text}\n`)
    },
    stop: () => bar.stop(),
  }
}

function createLines<Fields>(stream: Output, { line, delay }: Layout<Fields>): Display<Fields> {
  let next = performance.now() + 1000 * delay
  return {
    update(done, total, fields) {
      if (performance.now() < next) return
      next = performance.now() + 1000 * lineInterval
      writeText(stream, `${line(done, total, fields)}\n`)
    },
    note: (text) => writeText(stream, `${text}\n`),
    stop() {},
  }
}

/** Seconds since `started`, above 0. */
const secondsSince = (started: number): number => Math.max((performance.now() - started) / 1000, 1e-3)

const formatRate = (examples: number, seconds: number): string => String(Number((examples / seconds).toPrecision(3)))

/** Progress of a command over the examples of a data set. */
export interface ExampleCounter {
  /** @param examples processed so far */
  at(examples: number): void
  stop(): void
}

/**
 * Shows how many examples are done, their rate and the time left.
 * @param total number of examples; undefined for a stream of unknown length
 */
export function createExampleCounter(stream: Output, quiet: boolean, total: number | undefined): ExampleCounter {
  const started = performance.now()
  const display = createDisplay<{ readonly rate: string; readonly left: string }>(stream, quiet, {
    bar: '{bar} {value}/{total} | {rate} examples/s | ETA {left}',
    line: (examples, all, { rate, left }) =>
      all === undefined
        ? `${formatNumber(examples)} examples, ${rate} examples/s`
        : `${formatNumber(examples)}/${formatNumber(all)} examples, ${rate} examples/s, ${left} left`,
    delay: lineInterval,
  })
  return {
    at(examples) {
      const seconds = secondsSince(started)
      const left = total === undefined ? '?' : formatDuration((seconds / examples) * (total - examples))
      display.update(examples, total, { rate: formatRate(examples, seconds), left })
    },
    stop: display.stop,
  }
}

/** Progress of a training run. */
export interface TrainingProgress {
  /** Shows the pass that computes cached features, before the first step. */
  features(progress: FeatureProgress): void
  step(progress: StepProgress): void
  evaluation(metrics: IntervalMetrics): void
  note(text: string): void
  stop(): void
}

/**
 * Shows epoch, step, loss, speed and time left of a training run, and a line per evaluation.
 * @param metric the validation metric that the bar shows
 */
export function createTrainingProgress(stream: Output, quiet: boolean, metric: string): TrainingProgress {
  let [validation, examples, steps] = ['', 0, 0]
  let started: number | undefined
  let features: ExampleCounter | undefined
  const display = createDisplay<{
    readonly epoch: number
    readonly loss: string
    readonly validation: string
    readonly rate: string
    readonly left: string
  }>(stream, quiet, {
    bar: 'epoch {epoch} {bar} {value}/{total} | loss {loss}{validation} | {rate} examples/s | ETA {left}',
    line: (step, total, { epoch, loss, rate, left }) =>
      `epoch ${epoch}, step ${step}${total === undefined ? '' : `/${total}`}: loss ${loss}, ${rate} examples/s${total === undefined ? '' : `, ${left} left`}`,
    delay: 0,
  })
  return {
    features({ done, total }) {
      if (!features) {
        display.note(`running the frozen layers once over ${total} examples`)
        features = createExampleCounter(stream, quiet, total)
      }
      features.at(done)
      if (done < total) return
      features.stop()
      features = undefined
    },
    step(progress) {
      started ??= performance.now() - 1000 * progress.seconds
      examples += progress.examples
      steps++
      const done = progress.step + 1
      const seconds = secondsSince(started)
      // Evaluations count: the time left includes those to come.
      const left =
        progress.totalSteps === undefined ? '?' : formatDuration((seconds / steps) * (progress.totalSteps - done))
      display.update(done, progress.totalSteps, {
        epoch: progress.epoch + 1,
        loss: formatNumber(progress.loss),
        validation,
        rate: formatRate(examples, seconds),
        left,
      })
    },
    evaluation(metrics) {
      const value = getOwn(metrics.validation, metric)
      if (typeof value === 'number') validation = ` | held out ${metric} ${formatMetric(metric, value)}`
      display.note(formatEvaluation(metrics))
    },
    note: display.note,
    stop() {
      features?.stop()
      display.stop()
    },
  }
}

function formatEvaluation(metrics: IntervalMetrics): string {
  const { epoch, step, loss, accuracy, count, validation, secondsPerStep, gradientNorm } = metrics
  const training = formatMetricsLine({ loss, count, ...(accuracy === undefined ? {} : { accuracy }) })
  return [
    `epoch ${epoch + 1}, step ${step}: ${training}`,
    ...(validation ? [`held out: ${formatMetricsLine(validation)}`] : []),
    `gradient norm ${formatNumber(gradientNorm)}`,
    `${formatNumber(secondsPerStep)} s/step`,
  ].join('; ')
}

/** Progress of a command that works in stages. */
export interface StageProgress {
  /** Begins a stage of `total` units of work: bytes, images. */
  stage(name: string, total: number): void
  /** @param done units of work of the stage that are finished */
  at(done: number): void
  note(text: string): void
  stop(): void
}

/** Shows the name of the stage, the finished share and the time left. */
export function createStageProgress(stream: Output, quiet: boolean): StageProgress {
  let [name, total, started] = ['', 0, 0]
  let first: number | undefined
  const create = () =>
    createDisplay<{ readonly name: string; readonly percent: string; readonly left: string }>(stream, quiet, {
      bar: '{name} {bar} {percent} | ETA {left}',
      line: (_, __, { name, percent, left }) => `${name}: ${percent}, ${left} left`,
      delay: lineInterval,
    })
  let display = create()
  return {
    stage(title, work) {
      display.stop()
      display = create()
      ;[name, total, started, first] = [title, work, performance.now(), undefined]
    },
    at(done) {
      first ??= done // Parts that were finished by an earlier run took no time in this one.
      const rate = (done - first) / secondsSince(started)
      const percent = `${Math.floor((100 * done) / Math.max(total, 1))} %`
      display.update(done, total, { name, percent, left: rate > 0 ? formatDuration((total - done) / rate) : '?' })
    },
    note: (text) => display.note(text),
    stop: () => display.stop(),
  }
}
