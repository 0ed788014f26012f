import type { CustomSeriesOption, EChartsOption } from 'echarts'
import type { SpectralDensity } from '../analysis/flatness/density.js'
import type { Landscape } from '../analysis/flatness/landscape.js'
import { describeValue } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { loadEcharts } from './load-echarts.js'

/** Titles and size of a plot, in pixels. */
export interface PlotOptions {
  /** Title above the plot. Default: no title. */
  readonly title?: string
  /** Label of the horizontal axis. */
  readonly x?: string
  /** Label of the vertical axis. */
  readonly y?: string
  /** Width in pixels. Default 800. */
  readonly width?: number
  /** Height in pixels. Default 500. */
  readonly height?: number
}

/** A curve through points in their order. Points that are not finite leave a gap. */
export interface Curve {
  readonly name: string
  readonly points: readonly Point[]
  readonly dashed?: boolean
  /** Half the height of a band around each point, for example its standard error. */
  readonly errors?: readonly number[]
}

/** The axes of a plot of curves. */
export interface CurveOptions extends PlotOptions {
  /** Whether the horizontal axis is logarithmic; values that are not positive leave a gap. Default false. */
  readonly logX?: boolean
  /** Whether the vertical axis is logarithmic. Default false. */
  readonly logY?: boolean
}

/**
 * Plots curves over a common x axis, as SVG. A long legend is placed to the right.
 * @throws OnnxIreError `runtime` if echarts is not installed
 */
export function plotCurves(series: readonly Curve[], options: CurveOptions = {}): Promise<string> {
  const { logX = false, logY = false } = options
  const invalid = series.find((curve) => !Array.isArray(curve?.points))
  if (invalid !== undefined)
    throw new OnnxIreError(
      'invalid-option',
      `plotCurves: a curve is ${describeValue(invalid)}; it must be { name, points: [[x, y], ...] }`,
    )
  const names = series.length > 1 || !options.title ? series.map(({ name }) => name) : []
  const shown = ([x, y]: Point) =>
    Number.isFinite(x) && Number.isFinite(y) && (!logX || x > 0) && (!logY || y > 0) ? [x, y] : [x, null]
  return renderSvg(options, {
    xAxis: axis(options.x, logX),
    yAxis: axis(options.y, logY),
    ...(names.join('').length > 80 ? legendBeside(names, options) : { legend: legend(names) }),
    series: series.flatMap(({ name, points, dashed = false, errors }, i) => [
      ...(errors ? [band(points, errors, colors[i % colors.length]!, logY)] : []),
      {
        type: 'line',
        name,
        color: colors[i % colors.length]!,
        showSymbol: points.length < 30,
        symbolSize: 5,
        lineStyle: { type: dashed ? 'dashed' : 'solid' },
        data: points.map(shown),
      } as const,
    ]),
  })
}

/**
 * Plots a spectral density on a logarithmic scale with its error band, and known eigenvalues as marks on the axis, as
 * SVG.
 * @throws OnnxIreError `runtime` if echarts is not installed
 */
export function plotSpectrum(
  { grid, density, errors }: Pick<SpectralDensity, 'grid' | 'density' | 'errors'>,
  eigenvalues: readonly number[] = [],
  options: PlotOptions = {},
): Promise<string> {
  const floor = 10 ** Math.floor(Math.log10(Math.max(...density)) - 5)
  const points = grid.map((t, k): Point => [t, Math.max(density[k]!, floor)])
  const bars = errors.map((error, k) => (Number.isFinite(error) && density[k]! > floor ? error : 0))
  return renderSvg(options, {
    xAxis: axis(options.x ?? 'eigenvalue'),
    yAxis: { ...axis(options.y ?? 'density', true), min: floor },
    legend: legend(eigenvalues.length > 0 ? ['density', 'largest eigenvalues'] : []),
    series: [
      band(points, bars, colors[0]!, true, floor),
      { type: 'line', name: 'density', color: colors[0]!, showSymbol: false, data: points.map((point) => [...point]) },
      {
        type: 'scatter',
        name: 'largest eigenvalues',
        color: colors[1]!,
        symbol: 'triangle',
        symbolSize: 10,
        data: eigenvalues.map((value) => [value, floor]),
      },
    ],
  })
}

/** Options of a plot of a loss landscape, by default 620 pixels wide and 540 high. */
export interface LandscapePlotOptions extends PlotOptions {
  /** Number of level lines, evenly spaced on the color scale. Default 12. */
  readonly levels?: number
}

/**
 * Plots a loss landscape as a color map with level lines, as SVG. The scale is logarithmic if all losses are positive.
 * Cells that are not finite stay empty.
 * @throws OnnxIreError `runtime` if echarts is not installed
 */
export function plotLandscape({ axis: at, losses }: Landscape, options: LandscapePlotOptions = {}): Promise<string> {
  const { levels = 12, width = 620, height = 540 } = options
  const finite = losses.flat().filter(Number.isFinite)
  const log = finite.every((loss) => loss > 0)
  const z = losses.map((row) => row.map((loss) => (log ? Math.log10(loss) : loss)))
  const heights = z.flat().filter(Number.isFinite)
  const [least, most] = [Math.min(...heights), Math.max(...heights)]
  const lines = Array.from({ length: levels }, (_, k) => least + ((k + 0.5) / levels) * (most - least))
  const text = (value: number) => String(Number((log ? 10 ** value : value).toPrecision(3)))
  const half = (at.at(-1)! - at[0]!) / (at.length - 1) / 2
  const scale = { min: at[0]! - half, max: at.at(-1)! + half, splitLine: { show: false } } as const
  return renderSvg(
    { ...options, width, height },
    {
      grid: { left: 60, right: 110, top: options.title ? 50 : 20, bottom: 50 },
      xAxis: { ...axis(options.x ?? 'first direction'), ...scale, axisLabel: within(at) },
      yAxis: { ...axis(options.y ?? 'second direction'), ...scale, axisLabel: within(at) },
      visualMap: {
        ...{ min: least, max: most, calculable: true, right: 10, top: 'middle', itemHeight: 280, precision: 6 },
        formatter: (value) => text(Number(value)),
        inRange: { color: viridis },
        seriesIndex: 0,
        dimension: 2,
      },
      series: [
        {
          type: 'custom',
          data: z.flatMap((row, j) =>
            row.flatMap((value, i) => (Number.isFinite(value) ? [[at[i]!, at[j]!, value]] : [])),
          ),
          renderItem: (_, api) => {
            const [x, y] = [Number(api.value(0)), Number(api.value(1))]
            const [left, top] = api.coord([x - half, y + half]) as [number, number]
            const [right, bottom] = api.coord([x + half, y - half]) as Pixel
            // Half a pixel more, so that no gaps are visible between cells.
            const shape = { x: left, y: top, width: right - left + 0.5, height: bottom - top + 0.5 }
            return { type: 'rect', shape, style: { fill: api.visual('color') as string } }
          },
        },
        ...lines.map(
          (level): CustomSeriesOption => ({
            type: 'custom',
            silent: true,
            data: [[0, 0]],
            renderItem: (_, api) => ({
              type: 'group',
              children: levelLine(at, at, z, level).map(([from, to]) => {
                const [[x1, y1], [x2, y2]] = [api.coord([...from]), api.coord([...to])] as [Pixel, Pixel]
                return {
                  type: 'line',
                  shape: { x1, y1, x2, y2 },
                  style: { stroke: '#fff', lineWidth: 0.8, opacity: 0.75 },
                }
              }),
            }),
          }),
        ),
        { type: 'scatter', data: [[0, 0]], symbol: 'circle', symbolSize: 6, color: '#fff', silent: true },
      ],
    },
  )
}

/** Pixel coordinates, typed as echarts expects them. */
type Pixel = [x: number, y: number]

/** Axis labels only inside the computed range; the axes extend half a cell beyond it. */
const within = (at: readonly number[]) => ({
  formatter: (value: number) => (value < at[0]! - 1e-9 || value > at.at(-1)! + 1e-9 ? '' : tick(value)),
})

const axis = (name: string | undefined, log = false) => ({
  type: log ? ('log' as const) : ('value' as const),
  ...(name === undefined ? {} : { name, nameLocation: 'middle' as const, nameGap: log ? 45 : 32 }),
  axisLine: { onZero: false },
  axisLabel: { formatter: tick },
  scale: true,
})

const tick = (value: number): string =>
  value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6)
    ? Number(value.toPrecision(3)).toExponential()
    : String(Number(value.toPrecision(6)))

const legend = (names: readonly string[]) => ({ show: names.length > 0, data: [...names], top: 10, right: 20 })

/** Legend to the right of the plot: 6.5 pixels per character, plus the line symbol. */
function legendBeside(names: readonly string[], { title, width = defaultWidth }: PlotOptions) {
  const legendWidth = 50 + 6.5 * Math.max(...names.map(({ length }) => length))
  const top = title === undefined ? 40 : 60
  const left = width - legendWidth
  return {
    legend: { ...legend(names), orient: 'vertical' as const, align: 'left' as const, left, right: 'auto', top },
    grid: { left: 75, right: legendWidth + 15, top, bottom: 55 },
  }
}

/** Band of height `errors` around a curve. */
function band(
  points: readonly Point[],
  errors: readonly number[],
  color: string,
  log: boolean,
  floor = Number.MIN_VALUE,
): CustomSeriesOption {
  const known = points.flatMap(([x, y], i): [number, number, number][] =>
    Number.isFinite(y + errors[i]!) && (!log || y > 0) ? [[x, y, errors[i]!]] : [],
  )
  const low = (y: number) => (log ? Math.max(y, floor) : y)
  const outline = [
    ...known.map(([x, y, error]): Point => [x, y + error]),
    ...known.toReversed().map(([x, y, error]): Point => [x, low(y - error)]),
  ]
  return {
    type: 'custom',
    silent: true,
    data: outline.length > 0 ? [[...outline[0]!]] : [],
    clip: true,
    renderItem: (_, api) => ({
      type: 'polygon',
      shape: { points: outline.map((point) => api.coord([...point])) },
      style: { fill: color, opacity: 0.2 },
    }),
  }
}

/** Okabe and Ito's palette, which color-blind people can distinguish. */
const colors = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#555555']

/** Samples of matplotlib's color map viridis, from small to large. */
export const viridis = ['#440154', '#46327e', '#365c8d', '#277f8e', '#1fa187', '#4ac16d', '#a0da39', '#fde725']

/** Pixels. */
const defaultWidth = 800

async function renderSvg(
  { title, width = defaultWidth, height = 500 }: PlotOptions,
  option: EChartsOption,
): Promise<string> {
  const { init } = loadEcharts()
  const chart = init(null, null, { renderer: 'svg', ssr: true, width, height })
  try {
    chart.setOption({
      animation: false,
      backgroundColor: '#fff',
      ...(title === undefined ? {} : { title: { text: title, left: 'center', textStyle: { fontSize: 15 } } }),
      grid: { left: 75, right: 30, top: title === undefined ? 40 : 60, bottom: 55 },
      ...option,
    })
    return chart.renderToSVGString()
  } finally {
    chart.dispose()
  }
}

/** Throws `runtime` if echarts is missing: call it before an expensive computation. */
export function requirePlots(): void {
  loadEcharts()
}

/** A point of a plot. */
export type Point = readonly [x: number, y: number]
/** A straight segment of a level line. */
export type Segment = readonly [Point, Point]

/**
 * Level line z = level of a function on a grid, by marching squares: one or two segments in each cell that it crosses,
 * interpolated along the edges of the cell. Cells with a corner that is not finite have none.
 * @param z rows of equal y, each as long as `xs`
 */
export function levelLine(
  xs: readonly number[],
  ys: readonly number[],
  z: readonly (readonly number[])[],
  level: number,
): Segment[] {
  const pieces: Segment[] = []
  for (let j = 0; j + 1 < ys.length; j++)
    for (let i = 0; i + 1 < xs.length; i++) {
      const corners = [
        [i, j],
        [i + 1, j],
        [i + 1, j + 1],
        [i, j + 1],
      ].map(([a, b]): Corner => [xs[a!]!, ys[b!]!, z[b!]![a!]! - level])
      if (corners.every(([, , height]) => Number.isFinite(height))) pieces.push(...crossing(corners))
    }
  return pieces
}

type Corner = readonly [x: number, y: number, height: number]

/** Segments through one cell, given its corners in order. */
function crossing(corners: readonly Corner[]): Segment[] {
  const ends = corners.flatMap((from, k) => {
    const to = corners[(k + 1) % 4]!
    return from[2] < 0 === to[2] < 0 ? [] : [between(from, to)]
  })
  const [a, b, c, d] = ends as [Point, Point, Point?, Point?]
  if (ends.length === 0) return []
  if (!c || !d) return [[a, b]]
  // A saddle: the sign of the mean at the center decides which corners are connected.
  const middle = corners.reduce((sum, [, , height]) => sum + height, 0)
  const joined = middle < 0 === corners[0]![2] < 0
  return joined
    ? [
        [a, b],
        [c, d],
      ]
    : [
        [d, a],
        [b, c],
      ]
}

function between([x0, y0, h0]: Corner, [x1, y1, h1]: Corner): Point {
  const t = h0 / (h0 - h1)
  return [x0 + t * (x1 - x0), y0 + t * (y1 - y0)]
}
