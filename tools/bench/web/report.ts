import { agreement } from '../report.js'
import type { Result } from '../rounds.js'
import type { Spread } from '../statistics.js'

/** Formats the results on one model and one kind of backend as Markdown. */
export function tableText({ title, on, results }: { title: string; on: string; results: readonly Result[] }): string {
  const rows = results.map((result) =>
    result.unable === undefined
      ? `| ${result.name} | ${ms(result.seconds!)} | ${result.toReference ? ratio(result.toReference) : '1'} | ${agreement(result)} | ${result.about} |`
      : `| ${result.name} | cannot: ${result.unable.replaceAll('|', '\\|')} | | | |`,
  )
  return [
    `### ${title}, ${on}`,
    '',
    '| | ms per step | times onnx-ire | first losses | |',
    '|---|---|---|---|---|',
    ...rows,
  ].join('\n')
}

const range = (show: (x: number) => string) => (x: Spread) => `${show(x.median)} (${show(x.least)}-${show(x.most)})`
const ms = range((x) => (1000 * x).toPrecision(3))
const ratio = range((x) => x.toFixed(2))
