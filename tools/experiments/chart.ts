import * as echarts from 'echarts'

export interface Line {
  readonly name: string
  readonly points: readonly (readonly [x: number, y: number])[]
  readonly dashed?: boolean
}

export interface ChartOptions {
  readonly title: string
  readonly x: string
  readonly y: string
  readonly logX?: boolean
  readonly logY?: boolean
  /** Marks every point. */
  readonly marks?: boolean
}

const width = 940
const legendWidth = 290

/** Powers of ten as such where they are far from 1. */
const power = (value: number): string =>
  value >= 1e-3 && value < 1e5 ? String(Number(value.toPrecision(3))) : `1e${Math.round(Math.log10(value))}`

/** Lines over one pair of axes, as an SVG document. */
export function lineChart(lines: readonly Line[], options: ChartOptions): string {
  const { title, x, y, logX = false, logY = false, marks = false } = options
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width, height: 420 })
  const axis = (name: string, log: boolean, gap: number) => ({
    type: log ? ('log' as const) : ('value' as const),
    name,
    nameLocation: 'middle' as const,
    nameGap: gap,
    scale: true,
    axisLabel: { formatter: log ? power : (value: number) => String(Number(value.toPrecision(4))) },
  })
  chart.setOption({
    animation: false,
    backgroundColor: '#fff',
    title: { text: title, left: 'center', textStyle: { fontSize: 15 } },
    legend: { orient: 'vertical', left: width - legendWidth, top: 45, textStyle: { fontSize: 11 } },
    grid: { left: 75, right: legendWidth + 20, top: 45, bottom: 50 },
    xAxis: axis(x, logX, 28),
    yAxis: axis(y, logY, 55),
    series: lines.map(({ name, points, dashed = false }) => ({
      type: 'line',
      name,
      data: points.map((point) => [...point]),
      showSymbol: marks,
      lineStyle: { width: 1.8, type: dashed ? 'dashed' : 'solid' },
    })),
  })
  const svg = chart.renderToSVGString()
  chart.dispose()
  return `${svg}\n`
}
