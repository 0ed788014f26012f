import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'
import { type ContenderName, contenders } from '../protocol.js'

const names = Object.keys(contenders) as ContenderName[]
const colours: Readonly<Record<ContenderName, string>> = { base: '#c2410c', ire: '#1d4ed8' }
/** Line styles, distinguishable without color. */
const dashes: Readonly<Record<ContenderName, number[]>> = { base: [6, 4], ire: [] }

/** Milliseconds between two redraws of a chart; steps may be faster. */
const pace = 200

/** A chart over steps, with a line per contender. */
export class Curves {
  readonly #plot: uPlot
  readonly #points = new Map<number, Partial<Record<ContenderName, number>>>()
  readonly #logarithmic: boolean
  /** Text alternative of the chart: its title and the current values. */
  readonly #tell: (latest: readonly string[]) => void
  readonly #shown: (value: number | null) => string
  #drawing = 0

  constructor(place: HTMLElement, title: string, { logarithmic = false, percent = false } = {}) {
    this.#logarithmic = logarithmic
    const shown = (value: number | null) =>
      value === null || value === undefined ? '' : percent ? `${(100 * value).toFixed(1)} %` : value.toPrecision(3)
    this.#shown = shown
    place.setAttribute('role', 'img')
    this.#tell = (latest) => place.setAttribute('aria-label', [title, ...latest].join('; '))
    this.#tell([])
    this.#plot = new uPlot(
      {
        title,
        width: place.clientWidth || 320,
        height: 220,
        scales: { x: { time: false }, ...(logarithmic ? { y: { distr: 3 } } : {}) },
        axes: [
          { label: 'step' },
          { size: 64, values: (_, ticks) => ticks.map((tick) => (tick === null ? '' : shown(tick))) },
        ],
        series: [
          { label: 'step' },
          ...names.map((name) => ({
            label: contenders[name],
            stroke: colours[name],
            dash: dashes[name],
            width: 2,
            spanGaps: true,
            value: (_: uPlot, value: number | null) => shown(value),
          })),
        ],
      },
      [[], ...names.map(() => [])] as unknown as uPlot.AlignedData,
      place,
    )
    new ResizeObserver(() => this.#plot.setSize({ width: place.clientWidth, height: 220 })).observe(place)
  }

  add(contender: ContenderName, step: number, value: number): void {
    if (!Number.isFinite(value) || (this.#logarithmic && value <= 0)) return
    const point = this.#points.get(step) ?? {}
    point[contender] = value
    this.#points.set(step, point)
    this.#drawing ||= window.setTimeout(() => this.#draw(), pace)
  }

  clear(): void {
    this.#points.clear()
    this.#draw()
  }

  #draw(): void {
    this.#drawing = 0
    const steps = [...this.#points.keys()].sort((a, b) => a - b)
    const columns = names.map((name) => steps.map((step) => this.#points.get(step)![name] ?? null))
    this.#plot.setData([steps, ...columns] as uPlot.AlignedData)
    this.#tell(
      names.flatMap((name, i) => {
        const at = columns[i]!.findLastIndex((value) => value !== null)
        return at < 0 ? [] : `${contenders[name]} ${this.#shown(columns[i]![at]!)} at step ${steps[at]! + 1}`
      }),
    )
  }
}
