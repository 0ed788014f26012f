import type { EChartsOption } from 'echarts'
import { loadEcharts } from '../../node/load-echarts.js'
import { viridis } from '../../node/plot.js'

/** A line of a chart. */
export interface Line {
  readonly name: string
  /** Index of the run, which has the same color in all charts. */
  readonly color: number
  readonly points: readonly (readonly [x: number, y: number])[]
  readonly dashed?: boolean
}

/** A chart as SVG for a page with the colors of `chartStyle`. */
export interface Chart {
  readonly title: string
  readonly svg: string
}

/** Number of colors of runs; further runs repeat them. */
export const colorCount = 8

/** CSS variables that the SVGs refer to, for light and dark pages. */
export const chartStyle = `:root { --ink: #24292f; --soft: #6e7781; --line: #d8dee4; --page: #ffffff; --card: #f6f8fa;
  --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #b4568f; --c4: #b78300; --c5: #2f8fc4; --c6: #8c564b; --c7: #555555 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #9198a1; --line: #3d444d; --page: #0d1117; --card: #161b22;
    --c0: #58a6e0; --c1: #f0883e; --c2: #3fb98f; --c3: #db8ec0; --c4: #e3b341; --c5: #7cc7f2; --c6: #c49c94; --c7: #b0b0b0 }
}`

/** Size in pixels. It is the width of a phone, so that text has its size there; wider pages have several columns. */
const [width, height] = [400, 230]

/** Largest number of points of a line; longer lines are averaged. */
const maxPoints = 250

const label = { color: 'var(--soft)', fontSize: 11 }
const axisStyle = {
  axisLabel: { ...label, formatter: (value: number) => formatTick(value), hideOverlap: true },
  axisLine: { onZero: false, lineStyle: { color: 'var(--line)' } },
  axisTick: { lineStyle: { color: 'var(--line)' } },
  splitLine: { lineStyle: { color: 'var(--line)' } },
  nameTextStyle: label,
}

/** Draws lines over steps. Points that are not finite leave a gap, on a logarithmic scale those below or at 0, too. */
export function drawLines(title: string, lines: readonly Line[], log = false): Chart {
  const shown = (y: number) => Number.isFinite(y) && (!log || y > 0)
  return draw(title, height, {
    grid: { left: 52, right: 14, top: 12, bottom: 34 },
    xAxis: { type: 'value', min: 'dataMin', max: 'dataMax', ...axisStyle, splitLine: { show: false } },
    yAxis: { type: log ? 'log' : 'value', scale: true, ...axisStyle },
    series: lines.map(({ name, color, points, dashed = false }) => ({
      type: 'line' as const,
      name,
      color: `var(--c${color % colorCount})`,
      showSymbol: points.length < 30,
      symbolSize: 4,
      lineStyle: { width: 1.5, type: dashed ? ('dashed' as const) : ('solid' as const) },
      data: average(points).map(([x, y]) => [x, shown(y) ? y : null]),
    })),
  })
}

/** Averages neighboring points, so that at most `maxPoints` are left. */
export function average(points: Line['points']): Line['points'] {
  if (points.length <= maxPoints) return points
  const size = Math.ceil(points.length / maxPoints)
  return Array.from({ length: Math.ceil(points.length / size) }, (_, i) => {
    const part = points.slice(i * size, (i + 1) * size)
    const mean = (k: 0 | 1) => part.reduce((sum, point) => sum + point[k], 0) / part.length
    return [mean(0), mean(1)] as const
  })
}

/** Largest numbers of columns and rows of a heat map. */
export const [maxColumns, maxRows] = [24, 80]

/** Draws numbers per row and column as colors. @param log whether the scale is logarithmic */
export function drawHeatMap(
  title: string,
  columns: readonly number[],
  rows: readonly { readonly name: string; readonly values: readonly (number | null | undefined)[] }[],
  log: boolean,
): Chart {
  const keptColumns = spreadEvenly(columns.length, maxColumns)
  const keptRows = spreadEvenly(rows.length, maxRows).map((row) => rows[row]!)
  const scaled = (value: number) => (log ? Math.log10(value) : value)
  const cells = keptRows.flatMap(({ values }, y) =>
    keptColumns.flatMap((column, x) => {
      const value = values[column]
      return typeof value === 'number' && Number.isFinite(scaled(value)) ? [[x, y, scaled(value)]] : []
    }),
  )
  const found = cells.map(([, , value]) => value!)
  const [min, max] = found.length === 0 ? [0, 1] : [Math.min(...found), Math.max(...found)]
  const left = rows.length === keptRows.length ? '' : `; ${keptRows.length} of ${rows.length} tensors`
  return draw(`${title}${left}`, 74 + 14 * keptRows.length, {
    grid: { left: 130, right: 14, top: 8, bottom: 62 },
    xAxis: {
      type: 'category',
      data: keptColumns.map((column) => String(columns[column])),
      ...axisStyle,
      axisLabel: label,
    },
    yAxis: {
      type: 'category',
      inverse: true,
      data: keptRows.map(({ name }) => name),
      ...axisStyle,
      axisLabel: { ...label, fontSize: 10, width: 118, overflow: 'truncate', interval: 0 },
    },
    visualMap: {
      ...{ min, max: max > min ? max : min + 1, orient: 'horizontal', left: 'center', bottom: 0, itemHeight: 130 },
      ...{ itemWidth: 10, dimension: 2, calculable: false, textStyle: label, inRange: { color: viridis } },
      text: [max, min].map((value) => formatTick(log ? 10 ** value : value)),
    },
    series: [{ type: 'heatmap', data: cells, itemStyle: { borderWidth: 0 } }],
  })
}

/** At most `most` of the numbers below `length`, the first and the last among them. */
function spreadEvenly(length: number, most: number): number[] {
  if (length <= most) return Array.from({ length }, (_, i) => i)
  return Array.from({ length: most }, (_, i) => Math.round((i * (length - 1)) / (most - 1)))
}

const formatTick = (value: number): string => {
  const size = Math.abs(value)
  if (value !== 0 && (size < 1e-3 || size >= 1e6)) return Number(value.toPrecision(3)).toExponential()
  return String(Number(value.toPrecision(4)))
}

function draw(title: string, tall: number, option: EChartsOption): Chart {
  const { init } = loadEcharts()
  const chart = init(null, null, { renderer: 'svg', ssr: true, width, height: tall })
  try {
    chart.setOption({ animation: false, ...option })
    const svg = chart.renderToSVGString()
    // The page sets the width.
    return { title, svg: svg.replace(/^<svg width="\d+" height="\d+"/, '<svg role="img"') }
  } finally {
    chart.dispose()
  }
}
