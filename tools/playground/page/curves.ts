import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'
import { type ContenderName, contenders } from '../protocol.js'
import { smooth } from './smooth.js'

const names = Object.keys(contenders) as ContenderName[]
/** Line styles, distinguishable without color. */
const dashes: Readonly<Record<ContenderName, number[]>> = { base: [6, 4], ire: [] }

/** Milliseconds between two redraws of a chart; steps may be faster. */
const pace = 200

/** Smallest value of a logarithmic axis: a loss of 0 is drawn here. */
const smallest = 1e-8

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
  readonly #options: { readonly title: string; readonly isLogarithmic: boolean; readonly isPercent: boolean }
  #plot: uPlot
  readonly #points = new Map<number, Partial<Record<ContenderName, number>>>()
  #drawing = 0
  /** Weight of the values before in the mean that is drawn, from 0 to 1. */
  #smoothing = 0

  constructor(place: HTMLElement, title: string, { logarithmic = false, percent = false } = {}) {
    this.#place = place
    this.#options = { title, isLogarithmic: logarithmic, isPercent: percent }
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
    point[contender] = this.#options.isLogarithmic ? Math.max(value, smallest) : value
    this.#points.set(step, point)
    this.#drawing ||= window.setTimeout(() => this.#draw(), pace)
  }

  clear(): void {
    this.#points.clear()
    this.#draw()
  }

  #create(): uPlot {
    const { title, isLogarithmic, isPercent } = this.#options
    const [ink, line] = [colorOf('--faint'), colorOf('--line')]
    const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } }
    const y: uPlot.Scale = isLogarithmic ? { distr: 3 } : isPercent ? { range: [0, 1] } : {}
    return new uPlot(
      {
        title,
        width: this.#place.clientWidth || 320,
        height: 220,
        scales: { x: { time: false }, y },
        axes: [
          { ...axis, label: 'step', labelSize: 20 },
          { ...axis, size: 56, values: (_, ticks) => ticks.map((tick) => (tick === null ? '' : this.#tickText(tick))) },
        ],
        series: [
          { label: 'step' },
          ...names.map((name) => ({
            label: contenders[name],
            stroke: colorOf(`--${name}`),
            dash: dashes[name],
            width: 2,
            spanGaps: true,
            value: (_: uPlot, value: number | null) => this.#text(value),
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
        return at < 0 ? [] : `${contenders[name]} ${this.#text(columns[i]![at]!)} at step ${steps[at]! + 1}`
      }),
    )
  }

  /** Sets the text alternative of the chart: its title and the current values. */
  #describe(latest: readonly string[]): void {
    this.#place.setAttribute('aria-label', [this.#options.title, ...latest].join('; '))
  }

  #text(value: number | null | undefined): string {
    if (value === null || value === undefined) return ''
    return this.#options.isPercent ? `${(100 * value).toFixed(1)} %` : value.toPrecision(3)
  }

  #tickText(value: number): string {
    if (this.#options.isPercent) return `${Math.round(100 * value)} %`
    return value !== 0 && (Math.abs(value) < 1e-2 || Math.abs(value) >= 1e4)
      ? value.toExponential(0)
      : String(Number(value.toPrecision(3)))
  }
}
