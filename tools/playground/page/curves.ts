import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'
import { type ContenderName, contenders } from '../protocol.js'
import { type Axis, drawnValue, scaleOf, tickText, valueText } from './axis.js'
import { smooth } from './smooth.js'

const names = Object.keys(contenders) as ContenderName[]
/** Line styles, distinguishable without color. */
const dashes: Readonly<Record<ContenderName, number[]>> = { base: [6, 4], ire: [] }

/** Milliseconds between two redraws of a chart; steps may be faster. */
const pace = 200

const dark = matchMedia('(prefers-color-scheme: dark)')

/** A color of the style sheet, for the present color scheme. */
export function colorOf(property: string): string {
  const probe = document.body.appendChild(document.createElement('span'))
  probe.style.color = `var(${property})`
  const { color } = getComputedStyle(probe)
  probe.remove()
  return color
}

/** A chart over steps, with a line per contender. */
export class Curves {
  readonly #place: HTMLElement
  readonly #title: string
  readonly #axis: Axis
  #plot: uPlot
  readonly #points = new Map<number, Partial<Record<ContenderName, number>>>()
  #drawing = 0
  /** Weight of the values before in the mean that is drawn, from 0 to 1. */
  #smoothing = 0

  constructor(place: HTMLElement, title: string, axis: Axis) {
    this.#place = place
    this.#title = title
    this.#axis = axis
    place.setAttribute('role', 'img')
    this.#describe([])
    this.#plot = this.#create()
    dark.addEventListener('change', () => {
      this.#plot.destroy()
      this.#plot = this.#create()
      this.#draw()
    })
    new ResizeObserver(() => {
      if (place.clientWidth > 0) this.#plot.setSize({ width: place.clientWidth, height: 220 })
    }).observe(place)
  }

  set smoothing(weight: number) {
    this.#smoothing = weight
    this.#draw()
  }

  add(contender: ContenderName, step: number, value: number): void {
    if (!Number.isFinite(value)) return
    const point = this.#points.get(step) ?? {}
    point[contender] = drawnValue(value, this.#axis)
    this.#points.set(step, point)
    this.#drawing ||= window.setTimeout(() => this.#draw(), pace)
  }

  clear(): void {
    this.#points.clear()
    this.#draw()
  }

  #create(): uPlot {
    const [ink, line] = [colorOf('--faint'), colorOf('--line')]
    const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } }
    return new uPlot(
      {
        title: this.#title,
        width: this.#place.clientWidth || 320,
        height: 220,
        scales: { x: { time: false }, y: scaleOf(this.#axis) },
        axes: [
          { ...axis, label: 'step', labelSize: 20 },
          {
            ...axis,
            size: 56,
            values: (_, ticks) => ticks.map((tick) => (tick === null ? '' : tickText(tick, this.#axis))),
          },
        ],
        series: [
          { label: 'step', value: (plot, step) => stepText(step ?? plot.data[0].at(-1)) },
          ...names.map((name) => ({
            label: contenders[name],
            stroke: colorOf(`--${name}`),
            dash: dashes[name],
            width: 2,
            spanGaps: true,
            value: (plot: uPlot, _: number, series: number, at: number | null) =>
              valueText(lastValue(plot.data[series]!, at), this.#axis),
          })),
        ],
      },
      [[], ...names.map(() => [])] as unknown as uPlot.AlignedData,
      this.#place,
    )
  }

  #draw(): void {
    this.#drawing = 0
    const steps = [...this.#points.keys()].sort((a, b) => a - b)
    const columns = names.map((name) => steps.map((step) => this.#points.get(step)![name] ?? null))
    const drawn = columns.map((column) => smooth(column, this.#smoothing))
    this.#plot.setData([steps, ...drawn] as uPlot.AlignedData)
    this.#describe(
      names.flatMap((name, i) => {
        const at = columns[i]!.findLastIndex((value) => value !== null)
        return at < 0 ? [] : `${contenders[name]} ${valueText(columns[i]![at], this.#axis)} at step ${steps[at]}`
      }),
    )
  }

  /** Sets the text alternative of the chart: its title and the current values. */
  #describe(latest: readonly string[]): void {
    this.#place.setAttribute('aria-label', [this.#title, ...latest].join('; '))
  }
}

/** The last value of a column up to a place in it, or to its end; the runs do not report the same steps. */
function lastValue(column: ArrayLike<number | null | undefined>, at: number | null): number | null | undefined {
  let i = at ?? column.length - 1
  while (i >= 0 && (column[i] === null || column[i] === undefined)) i--
  return column[i]
}

/** The number of steps in the legend; empty before the first one. */
const stepText = (step: number | undefined): string => (step === undefined ? '' : String(step))
