import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import type { Verdict } from './issue.js'
import { allIssues } from './issues.js'

const require = createRequire(import.meta.url)

const documentPath = fileURLToPath(new URL('../../docs/onnxruntime-issues.md', import.meta.url))

/** The versions that the reproducers run on. */
export const versionText = (): string =>
  ['onnxruntime-node', 'onnxruntime-web'].map((name) => `${name} ${versionOf(name)}`).join(', ') +
  `, Node ${process.versions.node}, ${process.platform} ${process.arch}`

/** Reads the version beside the package's main file: the package of the web build does not export its package.json. */
function versionOf(name: string): string {
  const folder = require.resolve(name).replace(/\/dist\/[^/]*$/, '')
  return JSON.parse(readFileSync(`${folder}/package.json`, 'utf8')).version
}

const start = '<!-- verdicts: written by `npm run ort-issues -- --write` -->'
const end = '<!-- end of verdicts -->'

/** Writes the table of verdicts between its two markers in the document. */
export function writeTable(results: readonly Verdict[]): void {
  const text = readFileSync(documentPath, 'utf8')
  const [head, rest] = split(text, start)
  const [table, tail] = split(rest, end)
  const before = new Map([...table.matchAll(/^\| \[([\w-]+)\].*$/gm)].map(([row, slug]) => [slug!, row]))
  const now = new Map(results.map((result) => [result.slug, rowOf(result)]))
  const rows = allIssues.map(
    ({ slug, provider }) => now.get(slug) ?? before.get(slug) ?? row(slug, provider, 'not run', ''),
  )
  const lines = [
    '',
    `Measured with ${versionText()}.`,
    '',
    '| Issue | Provider | Verdict | Measured |',
    '|---|---|---|---|',
    ...rows,
    '',
  ]
  writeFileSync(documentPath, `${head}${start}\n${lines.join('\n')}\n${end}${tail}`)
}

const rowOf = ({ slug, provider, verdict, detail }: Verdict): string => row(slug, provider, verdict, detail)

const row = (slug: string, provider: string, verdict: string, detail: string): string =>
  `| [${slug}](#${slug}) | ${provider} | ${verdict} | ${detail.replaceAll('|', '\\|').replaceAll('<', '&lt;')} |`

function split(text: string, mark: string): [before: string, after: string] {
  const at = text.indexOf(mark)
  if (at < 0) throw new Error(`${documentPath} lacks the line ${mark}`)
  return [text.slice(0, at), text.slice(at + mark.length)]
}
