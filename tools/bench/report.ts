import { basename } from 'node:path'
import { base, enhanced, reference } from './contenders.js'
import type { Machine } from './machine.js'
import type { Opening } from './opening.js'
import type { Result } from './rounds.js'
import type { Spread } from './statistics.js'
import type { UpdateCost } from './update.js'

export interface Measured {
  readonly title: string
  readonly mark: number
  readonly results: readonly Result[]
}

/** What `--json` writes. */
export interface Report {
  readonly date: string
  readonly command: string
  readonly machine: Machine
  readonly threads: number
  readonly models: Readonly<Record<string, Measured>>
  readonly update: UpdateCost
  /** Null where its file is not. */
  readonly opening: Opening | null
}

/** What we want to reach. */
const marks = { update: 6, ire: 1.15, opening: 2, loss: 1e-3 }

/** The report as Markdown, which is also what the terminal shows. */
export function reportText(report: Report): string {
  const { machine, threads } = report
  const parts = [
    `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGB} GB, ${machine.system}, Node ${machine.node}; ${threads} threads; load ${machine.load.join(', ')} before; ${report.date}.`,
    ...warnings(report),
    ...Object.values(report.models).map(modelText),
    updateText(report.update),
    openingText(report.opening),
    marksText(report),
  ]
  return parts.join('\n\n')
}

/** One model's table. */
export function modelText({ title, results }: Measured): string {
  const rows = results.map((result) =>
    result.unable === undefined
      ? `| ${result.name} | ${ms(result.seconds!)} | ${(1000 * result.cpu!).toPrecision(3)} | ${result.toReference ? ratio(result.toReference) : ''} | ${mega(result.peak!)} | ${agreement(result)} | ${(100 * result.others!).toFixed(0)} % |`
      : `| ${result.name} | cannot: ${result.unable.replaceAll('|', '\\|')} | | | | | |`,
  )
  const parameters = results.find((result) => result.parameters !== undefined)?.parameters
  const lines = [
    `### ${title}${parameters ? `, ${(parameters / 1e6).toFixed(2)} million parameters` : ''}`,
    '',
    `| | ms per step | CPU ms per step | times ${reference} | peak MB | first losses | other load |`,
    '|---|---|---|---|---|---|---|',
    ...rows,
  ]
  const ours = results.find(({ name }) => name === base)
  const ire = results.find(({ name }) => name === enhanced)
  if (ours?.inRuntime !== undefined) {
    const host = ours.seconds!.median - ours.inRuntime
    lines.push(
      '',
      `Ours: ${(1000 * ours.inRuntime).toFixed(1)} ms of a step in onnxruntime, ${(1000 * host).toFixed(1)} ms outside (${((1e9 * host) / ours.parameters!).toFixed(1)} ns per parameter)${ire?.toBase ? `; IRE costs ${ratio(ire.toBase)} of its base` : ''}.`,
    )
  }
  lines.push('', ...results.filter(({ about }) => about).map(({ name, about }) => `- ${name}: ${about}`))
  return lines.join('\n')
}

function agreement({ disagreement = 0, losses }: Result): string {
  const shown = losses.map((x) => x.toFixed(4)).join(', ')
  return disagreement > marks.loss ? `${shown} (DIFFER by ${disagreement.toExponential(1)})` : shown
}

function updateText({ adamw, ire, refresh }: UpdateCost): string {
  return [
    '### The update alone, ns per parameter',
    '',
    '| AdamW | with IRE | with IRE, refreshing the mask |',
    '|---|---|---|',
    `| ${ns(adamw)} | ${ns(ire)} | ${ns(refresh)} |`,
  ].join('\n')
}

function openingText(opened: Opening | null): string {
  const title = '### From a file to its training graph'
  if (!opened)
    return `${title}\n\nNOT MEASURED: there is no DenseNet; give --densenet FILE (fr_expression.onnx of npm's faceplugin-face-recognition-js).`
  return [
    title,
    '',
    '| | MB | nodes | read and import s | build and encode s | in all s |',
    '|---|---|---|---|---|---|',
    `| ${basename(opened.file)} | ${opened.megabytes} | ${opened.nodes} | ${s(opened.read)} | ${s(opened.build)} | ${s(opened.whole)} |`,
  ].join('\n')
}

function marksText({ models, update, opening }: Report): string {
  const rows: [string, number | undefined, number][] = []
  for (const { title, mark, results } of Object.values(models)) {
    const of = (name: string) => results.find((result) => result.name === name)
    rows.push([`${title}: times ${reference}`, of(base)?.toReference?.median, mark])
    rows.push([`${title}: IRE at K = 10, times its base`, of(enhanced)?.toBase?.median, marks.ire])
  }
  rows.push(['update with AdamW, ns per parameter', update.adamw.median, marks.update])
  rows.push(['update with IRE, ns per parameter', update.ire.median, marks.update])
  rows.push(['DenseNet read and its training graph built, s', opening?.whole.median, marks.opening])
  return [
    '### Marks',
    '',
    '| | measured | mark | |',
    '|---|---|---|---|',
    ...rows.map(([what, value, mark]) =>
      value === undefined
        ? `| ${what} | | ${mark} | not measured |`
        : `| ${what} | ${value.toFixed(2)} | ${mark} | ${value <= mark ? 'reached' : 'MISSED'} |`,
    ),
  ].join('\n')
}

function warnings({ machine, models }: Report): string[] {
  const results = Object.values(models).flatMap((measured) => measured.results)
  const others = Math.max(0, ...results.map((result) => result.others ?? 0))
  const said: string[] = []
  if (others > 0.2 || machine.load[0]! > 0.5)
    said.push(
      `**The machine was busy** (load ${machine.load[0]} before; up to ${(100 * others).toFixed(0)} % of a core with something else during the turns): ratios are of turns side by side, times are too high.`,
    )
  if (results.some(({ about }) => about.includes('reference BLAS')))
    said.push(
      `**${reference} multiplies matrices with the reference BLAS**, some thirty times slower than OpenBLAS: install Debian's libopenblas0-openmp, or give --blas its folder.`,
    )
  for (const { title, results } of Object.values(models))
    for (const { name, disagreement = 0 } of results)
      if (disagreement > marks.loss)
        said.push(
          `**${title}: the losses of ${name} are not those of ${reference}**: it is not the same model or update.`,
        )
  return said
}

const range = (show: (x: number) => string) => (x: Spread) => `${show(x.median)} (${show(x.least)}-${show(x.most)})`
const ms = range((x) => (1000 * x).toPrecision(3).replace(/e\+.*/, (e) => `${e}`))
const ratio = range((x) => x.toFixed(2))
const ns = range((x) => x.toFixed(1))
const s = range((x) => x.toFixed(2))
const mega = (bytes: number) => (bytes / 1e6).toFixed(0)
