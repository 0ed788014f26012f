import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Measures } from '../../metric/accumulator.js'
import { getOwn } from '../../util/record.js'
import { classLabel, formatDuration, formatMetric, formatNumber, isMatrix } from '../format.js'
import { compareGroups, describeGroup, diffRuns, summarizeNumbers } from '../runs/compare-runs.js'
import type { StoredRun } from '../runs/read-run.js'
import { type Chart, chartStyle, colorCount } from './draw-chart.js'
import { drawCurves, drawTensors } from './draw-runs.js'
import { escapeHtml } from './escape-html.js'
import type { ClassExample, LossExample, ShownExamples } from './predict-examples.js'

/**
 * Writes a page about runs, without scripts and without anything from a network.
 * @param examples predictions of each run, if they are to be shown
 */
export const writeReport = async (runs: readonly StoredRun[], examples?: readonly ShownExamples[]): Promise<string> =>
  writePage(
    'Training runs',
    await writeSections(runs, examples),
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
  )

/**
 * Writes an HTML page.
 * @param policy its content security policy
 * @param head further elements of the head
 */
export const writePage = (title: string, body: string, policy: string, head = ''): string => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="content-security-policy" content="${policy}">
<title>${escapeHtml(title)}</title>
<style>
${chartStyle}
* { box-sizing: border-box }
body { margin: 0 auto; padding: 12px; max-width: 1700px; background: var(--page); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif }
h1 { font-size: 20px; margin: 4px 0 12px } h2 { font-size: 17px; margin: 24px 0 8px } h3 { font-size: 13px; margin: 0 0 4px }
figure + figure, .charts + figure { margin-top: 12px }
.charts > figure { margin-top: 0 }
.charts { display: grid; gap: 12px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 390px), 1fr)) }
figure { margin: 0; padding: 8px; background: var(--card); border: 1px solid var(--line); border-radius: 6px; min-width: 0 }
figure svg { display: block; width: 100%; height: auto }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums }
th, td { padding: 3px 10px 3px 0; text-align: left; white-space: nowrap; border-bottom: 1px solid var(--line) }
th { color: var(--soft); font-weight: 500 }
.confusion td { text-align: right; padding: 3px 8px; background: color-mix(in srgb, var(--c0) var(--share), transparent) }
.examples { display: grid; gap: 8px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 116px), 1fr)); font-size: 13px }
.examples figure { margin: 0; overflow-wrap: anywhere } .examples img { display: block; min-width: 64px; max-width: 100% }
.key { display: inline-block; width: 18px; height: 4px; vertical-align: middle; margin-right: 6px; border-radius: 2px }
.note { color: var(--soft); font-size: 13px; overflow-wrap: anywhere }
</style>
${head}</head>
<body>
<h1>${escapeHtml(title)}</h1>
${body}
</body>
</html>
`

/**
 * Writes the sections about runs: recipes and numbers, curves, and for each run its tensors, confusion and flatness.
 */
export async function writeSections(runs: readonly StoredRun[], examples?: readonly ShownExamples[]): Promise<string> {
  const details = await Promise.all(runs.map((run, i) => writeRun(run, i, examples?.[i])))
  return [
    writeNumbers(runs),
    ...writeGroups(runs),
    `<h2>Curves over steps</h2>\n${writeCharts(drawCurves(runs))}`,
    ...details,
  ].join('\n')
}

const writeCharts = (charts: readonly Chart[]): string =>
  `<div class="charts">${charts
    .map(({ title, svg }) => `<figure><h3>${escapeHtml(title)}</h3>${svg}</figure>`)
    .join('\n')}</div>`

/** The color of a run in all charts. */
const key = (color: number): string => `<span class="key" style="background: var(--c${color % colorCount})"></span>`

function writeNumbers(runs: readonly StoredRun[]): string {
  const numbers = runs.map(summarizeNumbers)
  const differences = runs.length > 1 ? diffRuns(runs) : []
  const metrics = [...new Set(numbers.flatMap(({ last }) => Object.keys(last)))]
  const head = ['run', '', 'steps', 'time', ...metrics, ...metrics.filter(isHeldOut).map((name) => `best ${name}`)]
  const rows = numbers.map(({ run, status, step, seconds, last, best }, i) => [
    `${key(i)}${escapeHtml(run)}`,
    status,
    formatNumber(step),
    formatDuration(seconds),
    ...metrics.map((metric) => formatValue(metric, getOwn(last, metric))),
    ...metrics.filter(isHeldOut).map((metric) => formatValue(metric, getOwn(best, metric)?.value)),
    ...differences.map(({ values }) => escapeHtml(values[i] === undefined ? '-' : JSON.stringify(values[i]))),
  ])
  const fields = differences.map(({ field }) => field)
  return writeTable([...head, ...fields].map(escapeHtml), rows)
}

const isHeldOut = (metric: string): boolean => metric.startsWith('held-out ')
const formatValue = (metric: string, value: number | undefined): string =>
  value === undefined || Number.isNaN(value) ? '-' : escapeHtml(formatMetric(metric.replace('held-out ', ''), value))

function writeGroups(runs: readonly StoredRun[]): string[] {
  const { groups, comparisons } = compareGroups(runs)
  if (!groups.some((group) => group.runs.length > 1)) return []
  const titles = groups.map(describeGroup)
  const metrics = [...new Set(groups.flatMap((group) => Object.keys(group.metrics)))]
  const means = groups.flatMap((group, i) =>
    metrics.flatMap((metric) => {
      const found = getOwn(group.metrics, metric)
      if (!found) return []
      const { value, half, deviation } = found
      const name = [`group ${i + 1}`, escapeHtml(metric)]
      return [[...name, formatValue(metric, value), formatHalf(metric, half), formatValue(metric, deviation)]]
    }),
  )
  const rows = comparisons.map(({ groups: [a, b], metric, difference: { value, half }, method, significant }) => [
    `group ${b + 1} - group ${a + 1}`,
    escapeHtml(metric),
    formatValue(metric, value),
    formatHalf(metric, half),
    method,
    significant === null ? 'too few runs' : significant ? 'significant' : 'not significant',
  ])
  return [
    `<h2>Groups of runs with other seeds or folds</h2><p class="note">${titles.map(escapeHtml).join('<br>')}</p>`,
    writeTable(['', 'metric', 'mean', '95 % interval', 'standard deviation'], means),
    ...(rows.length === 0 ? [] : [writeTable(['difference', 'metric', '', '95 % interval', '', ''], rows)]),
  ]
}

const formatHalf = (metric: string, half: number): string =>
  Number.isNaN(half) ? '-' : `± ${formatValue(metric, half)}`

/** Writes a table of HTML cells. */
const writeTable = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  `<div class="scroll"><table><tr>${head.map((cell) => `<th>${cell}</th>`).join('')}</tr>
${rows.map((row) => `<tr>${row.map((cell) => `<td>${cell}</td>`).join('')}</tr>`).join('\n')}</table></div>`

async function writeRun(run: StoredRun, color: number, examples?: ShownExamples): Promise<string> {
  const charts = drawTensors(run)
  const last = run.epochs.findLast(({ validation }) => validation)?.validation
  const parts = [
    ...(charts.length > 0 ? [writeCharts(charts)] : []),
    ...(last ? writeConfusion(last, run) : []),
    ...(examples ? writeExamples(examples) : []),
    ...(await writeFlatness(run)),
    ...run.warnings.map((warning) => `<p class="note">warning: ${escapeHtml(warning)}</p>`),
  ]
  return `<h2>${key(color)}${escapeHtml(run.name)}</h2><p class="note">${escapeHtml(run.path)}</p>\n${parts.join('\n')}`
}

function writeExamples(examples: ShownExamples): string[] {
  if ('reason' in examples) return [`<p class="note">no examples: ${escapeHtml(examples.reason)}</p>`]
  const section = (title: string, list: readonly string[]) =>
    `<figure><h3>${title}</h3><div class="examples">${list.join('\n')}</div></figure>`
  const isClass = examples.kind === 'classes'
  const worst = isClass ? examples.worst.map(writeClass) : examples.worst.map(writeLoss)
  const samples = isClass ? examples.samples.map(writeClass) : examples.samples.map(writeLoss)
  const order = isClass ? 'whose label has the lowest probability' : 'with the largest loss'
  return [section(`held-out examples ${order}`, worst), section('held-out examples, evenly spread', samples)]
}

/** Writes an example. @param caption HTML about its prediction */
function writeExample({ name, image, text }: ClassExample | LossExample, caption: string): string {
  const shown = text === undefined ? '' : `${escapeHtml(text)}<br>`
  return `<figure>${writeImage(image)}<figcaption>${shown}${caption}<br><span class="note">${escapeHtml(name)}</span></figcaption></figure>`
}

const writeImage = (address: string | undefined, alt = ''): string =>
  address === undefined ? '' : `<img src="${address}" alt="${alt}">`

function writeClass(example: ClassExample): string {
  const { given, predicted, probability, givenProbability } = example
  const percent = (share: number) => `${Math.round(100 * share)} %`
  const label = given === predicted ? '' : `, label ${escapeHtml(given)} ${percent(givenProbability)}`
  return writeExample(example, `<b>${escapeHtml(predicted)}</b> ${percent(probability)}${label}`)
}

function writeLoss(example: LossExample): string {
  const { loss, given, predicted, givenImage, predictedImage } = example
  const [left, right] = [writeImage(predictedImage, 'prediction'), writeImage(givenImage, 'target')]
  const masks = givenImage === undefined ? '' : `prediction:${left}target:${right}`
  const texts = given === undefined ? '' : `<b>${escapeHtml(predicted!)}</b>, target ${escapeHtml(given)}<br>`
  return writeExample(example, `${masks}${texts}loss ${formatNumber(loss)}`)
}

/** Largest number of classes whose confusion matrix is written. */
const maxClasses = 40

function writeConfusion(measures: Measures, { classes }: StoredRun): string[] {
  const sets = Object.values(classes)
  const labels = sets.length === 1 ? sets[0] : undefined
  return Object.entries(measures).flatMap(([name, matrix]) => {
    if (!/(^|\/)confusion$/.test(name) || !isMatrix(matrix)) return []
    const title = `<h3>${escapeHtml(name)} on held-out data; rows: true classes, columns: predicted</h3>`
    if (matrix.length > maxClasses)
      return [`${title}<p class="note">${matrix.length} classes; onnx-ire evaluate --json writes the matrix</p>`]
    const names = matrix.map((_, c) => escapeHtml(classLabel(labels, c, matrix.length)))
    const rows = matrix.map((row, c) => {
      const total = Math.max(
        1,
        row.reduce((sum, count) => sum + count, 0),
      )
      const cells = row.map(
        (count) => `<td style="--share: ${Math.round((90 * count) / total)}%">${formatNumber(count)}</td>`,
      )
      return `<tr><th>${names[c]}</th>${cells.join('')}</tr>`
    })
    const head = ['', ...names].map((cell) => `<th>${cell}</th>`).join('')
    return [
      `<figure>${title}<div class="scroll"><table class="confusion"><tr>${head}</tr>${rows.join('')}</table></div></figure>`,
    ]
  })
}

/** Name of the file that `onnx-ire sharpness --json` may be written to, for reports. */
const flatnessFile = 'flatness.json'

async function writeFlatness({ path }: StoredRun): Promise<string[]> {
  const text = await readFile(join(path, flatnessFile), 'utf8').catch(() => undefined)
  if (text === undefined) return []
  const numbers = listNumbers(parse(text))
  return [
    `<h3>flatness</h3>${writeTable(
      ['measure', ''],
      numbers.map(([name, value]) => [escapeHtml(name), formatNumber(value)]),
    )}`,
  ]
}

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined // not written by sharpness
  }
}

/** Numbers of `sharpness --json` that are no lists, by path. */
function listNumbers(value: unknown, path = ''): [path: string, value: number][] {
  if (typeof value === 'number') return [[path, value]]
  if (typeof value !== 'object' || value === null) return []
  const isShort = !Array.isArray(value) || (path === 'eigenvalues.largest' && value.length <= 20)
  if (!isShort) return []
  return Object.keys(value).flatMap((name) =>
    listNumbers(getOwn(value as Record<string, unknown>, name), path === '' ? name : `${path}.${name}`),
  )
}
