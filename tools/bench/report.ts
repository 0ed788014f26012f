import { basename } from 'node:path'
import { base, enhanced, enhancedSharpnessAware, reference } from './contenders.js'
import type { Machine } from './machine.js'
import type { Opening } from './opening.js'
import type { Result } from './rounds.js'
import type { Spread } from './statistics.js'
import type { UpdateCost } from './update.js'

/** Results of all contenders on one model. */
export interface ModelResults {
  readonly title: string
  /** Largest acceptable ratio to the time of PyTorch. */
  readonly target: number
  readonly results: readonly Result[]
}

/** Content of the file written by `--json`. */
export interface Report {
  readonly date: string
  readonly command: string
  readonly machine: Machine
  readonly threads: number
  /** Requested peers that are not installed, and variables hidden from the peers. */
  readonly notes: readonly string[]
  readonly models: Readonly<Record<string, ModelResults>>
  readonly update: UpdateCost
  /** Null if its file is missing. */
  readonly opening: Opening | null
}

/** Targets of the project. */
const targets = { memory: 1, update: 1.6, ire: 1.06, samIre: 1.05, opening: 1 }

/**
 * Largest relative differences from the reference's losses: of the first loss, which is rounding, and of those after up
 * to three steps, in which AdamW turns the rounding of gradients near 0 into steps of the size of the learning rate.
 */
const agreeing = { first: 1e-4, later: 2e-2 }

/** Formats the report as Markdown, for the file and for the terminal. */
export function reportText(report: Report): string {
  const { machine, threads } = report
  const parts = [
    `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGB} GB, ${machine.system}, Node ${machine.node}; ${threads} threads; load ${machine.load.join(', ')} before; ${report.date}.`,
    ...(machine.instructions.length > 0 ? [`Instruction sets: ${machine.instructions.join(' ')}.`] : []),
    ...report.notes,
    ...warnings(report),
    summaryText(report.models),
    ...Object.values(report.models).map(modelText),
    updateText(report.update),
    openingText(report.opening),
    targetsText(report),
  ]
  return parts.join('\n\n')
}

/** Formats the results on one model as a table. */
export function modelText({ title, results }: ModelResults): string {
  const rows = results.map((result) =>
    result.unable === undefined
      ? `| ${result.name} | ${ms(result.seconds!)} | ${(1000 * result.cpu!).toPrecision(3)} | ${result.toReference ? ratio(result.toReference) : ''} | ${result.peak === undefined ? '' : mega(result.peak)}${result.loaded === undefined ? '' : ` (${mega(result.loaded)})`} | ${result.peakToReference?.toFixed(2) ?? ''} | ${agreement(result)} | ${(100 * result.others!).toFixed(0)} % |`
      : `| ${result.name} | cannot: ${result.unable.replaceAll('|', '\\|')} | | | | | | |`,
  )
  const parameters = results.find((result) => result.parameters !== undefined)?.parameters
  const lines = [
    `### ${title}${parameters ? `, ${(parameters / 1e6).toFixed(2)} million parameters` : ''}`,
    '',
    `| | ms per step | CPU ms per step | times ${reference} | peak MB (library) | memory times ${reference} | losses of steps 0 to 3 | other load |`,
    '|---|---|---|---|---|---|---|---|',
    ...rows,
  ]
  const ours = results.find(({ name }) => name === base)
  const toBase = (contender: string) => results.find(({ name }) => name === contender)?.toBase
  const [ire, samIre] = [toBase(enhanced), toBase(enhancedSharpnessAware)]
  if (ours?.inRuntime !== undefined) {
    const host = ours.seconds!.median - ours.inRuntime
    lines.push(
      '',
      `onnx-ire: ${(1000 * ours.inRuntime).toFixed(1)} ms of a step in onnxruntime, ${(1000 * host).toFixed(1)} ms outside (${((1e9 * host) / ours.parameters!).toFixed(1)} ns per parameter)${ire ? `; a step with IRE takes ${ratio(ire)} times as long as without` : ''}${samIre ? `, with SAM and IRE ${ratio(samIre)} times as long as with SAM` : ''}.`,
    )
  }
  lines.push('', ...results.filter(({ about }) => about).map(({ name, about }) => `- ${name}: ${about}`))
  return lines.join('\n')
}

/** Whether a contender trains another model, or updates it in another way, than the reference. */
export const disagrees = ({ disagreement }: Result): boolean =>
  disagreement !== undefined && (disagreement.first > agreeing.first || disagreement.later > agreeing.later)

/** Formats the losses of a contender, and the difference if it is too large. */
export function agreement(result: Result): string {
  const shown = result.losses.map((x) => x.toFixed(4)).join(', ')
  if (!disagrees(result)) return shown
  const { first, later } = result.disagreement!
  return `${shown} (DIFFER by ${first.toExponential(1)}, later ${later.toExponential(1)})`
}

/** Formats the ratios of all workloads as one table: time and memory by those of the reference. */
function summaryText(models: Report['models']): string {
  const names = [...new Set(Object.values(models).flatMap(({ results }) => results.map(({ name }) => name)))].filter(
    (name) => name !== reference,
  )
  const cell = (result: Result | undefined) =>
    result?.toReference === undefined
      ? ''
      : `${ratio(result.toReference)}${disagrees(result) ? ' DIFFERS' : ''}; ${result.peakToReference?.toFixed(2) ?? ''}`
  return [
    `### Time and peak memory, relative to ${reference}`,
    '',
    `| | ${names.join(' | ')} | ${reference}, ms per step |`,
    `|---|${names.map(() => '---|').join('')}---|`,
    ...Object.values(models).map(({ title, results }) => {
      const of = (name: string) => results.find((result) => result.name === name)
      const seconds = of(reference)?.seconds
      return `| ${title} | ${names.map((name) => cell(of(name))).join(' | ')} | ${seconds ? ms(seconds) : ''} |`
    }),
  ].join('\n')
}

function updateText({ adamw, ire, refresh }: UpdateCost): string {
  return [
    '### The optimizer update alone, ns per parameter',
    '',
    '| AdamW | with IRE | with IRE, refreshing the mask |',
    '|---|---|---|',
    `| ${ns(adamw)} | ${ns(ire)} | ${ns(refresh)} |`,
  ].join('\n')
}

function openingText(opening: Opening | null): string {
  const title = '### From a model file to its training graph'
  if (!opening)
    return `${title}\n\nNOT MEASURED: the file of the DenseNet is missing; set --densenet FILE (fr_expression.onnx of npm's faceplugin-face-recognition-js).`
  return [
    title,
    '',
    '| | MB | nodes | read and import s | build and encode s | total s |',
    '|---|---|---|---|---|---|',
    `| ${basename(opening.file)} | ${opening.megabytes} | ${opening.nodes} | ${s(opening.read)} | ${s(opening.build)} | ${s(opening.whole)} |`,
  ].join('\n')
}

function targetsText({ models, update, opening }: Report): string {
  const rows: [string, number | undefined, number][] = []
  for (const { title, target, results } of Object.values(models)) {
    const of = (name: string) => results.find((result) => result.name === name)
    rows.push([`${title}: times ${reference}`, of(base)?.toReference?.median, target])
    rows.push([`${title}: peak memory, times ${reference}`, of(base)?.peakToReference, targets.memory])
    if (of(enhanced))
      rows.push([`${title}: IRE at K = 10, times its base optimizer`, of(enhanced)?.toBase?.median, targets.ire])
    if (of(enhancedSharpnessAware))
      rows.push([
        `${title}: SAM and IRE at K = 10, times SAM`,
        of(enhancedSharpnessAware)?.toBase?.median,
        targets.samIre,
      ])
  }
  rows.push(['update with AdamW, ns per parameter', update.adamw.median, targets.update])
  rows.push(['DenseNet: reading and building its training graph, s', opening?.whole.median, targets.opening])
  return [
    '### Targets',
    '',
    '| | measured | target | |',
    '|---|---|---|---|',
    ...rows.map(([name, value, target]) =>
      value === undefined
        ? `| ${name} | | ${target} | not measured |`
        : `| ${name} | ${value.toFixed(2)} | ${target} | ${value <= target ? 'reached' : 'MISSED'} |`,
    ),
  ].join('\n')
}

function warnings({ machine, models }: Report): string[] {
  const results = Object.values(models).flatMap((measured) => measured.results)
  const others = Math.max(0, ...results.map((result) => result.others ?? 0))
  const texts: string[] = []
  if (others > 0.2 || machine.load[0]! > 0.5)
    texts.push(
      `**The machine was busy** (load ${machine.load[0]} before; other processes used up to ${(100 * others).toFixed(0)} % of a core during the turns): times are too high; ratios compare turns under similar load.`,
    )
  for (const { title, results } of Object.values(models))
    for (const result of results)
      if (disagrees(result))
        texts.push(
          `**${title}: the losses of ${result.name} differ from those of ${reference}**: the models or the updates are different.`,
        )
  return texts
}

const range = (show: (x: number) => string) => (x: Spread) => `${show(x.median)} (${show(x.least)}-${show(x.most)})`
const ms = range((x) => (1000 * x).toPrecision(3).replace(/e\+.*/, (e) => `${e}`))
const ratio = range((x) => x.toFixed(2))
const ns = range((x) => x.toFixed(1))
const s = range((x) => x.toFixed(2))
const mega = (bytes: number) => (bytes / 1e6).toFixed(0)
