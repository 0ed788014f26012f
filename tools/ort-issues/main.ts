import { Command, Option } from 'commander'
import { type ProviderName, providers, type Verdict } from './issue.js'
import { allIssues, findReproducer } from './issues.js'
import { versionText, writeTable } from './report.js'
import { runIssue } from './run.js'

/** Runs the reproducers of docs/onnxruntime-issues.md on plain onnxruntime, each in a process of its own. */
const program = new Command('ort-issues')
  .description('Runs the reproducers of docs/onnxruntime-issues.md: still there, fixed, or not tested here (and why).')
  .option('--only <slugs...>', 'run only these issues')
  .addOption(new Option('--provider <names...>', 'run only the issues of these providers').choices(providers))
  .option('--list', 'print the slugs and end')
  .option('--json', 'print the verdicts as JSON')
  .option(
    '--write',
    'write the table of verdicts into docs/onnxruntime-issues.md; issues that were not run keep theirs',
  )
  .parse()
const { only, provider, list, json, write } = program.opts<{
  only?: string[]
  provider?: ProviderName[]
  list?: boolean
  json?: boolean
  write?: boolean
}>()

const unknown = only?.find((slug) => !allIssues.some((issue) => issue.slug === slug))
if (unknown !== undefined) program.error(`error: no issue '${unknown}'; --list prints the slugs`)

const chosen = (only?.map(findReproducer) ?? allIssues).filter((issue) => provider?.includes(issue.provider) ?? true)
// The processes of reproducers end with this one.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1))
if (list) for (const { slug, provider } of chosen) console.log(`${provider}\t${slug}`)
else await run()

async function run(): Promise<void> {
  if (!json) console.log(versionText())
  const results: Verdict[] = []
  // One after another: some reproducers compare times.
  for (const { slug, provider, reproducer } of chosen) {
    const verdict = await runIssue(slug, provider, reproducer)
    results.push(verdict)
    if (!json) console.log(`${slug}: ${verdict.verdict} (${verdict.detail}) ${verdict.seconds.toFixed(1)} s`)
  }
  if (json) console.log(JSON.stringify({ versions: versionText(), results }, undefined, 2))
  else console.log(summary(results))
  if (write) writeTable(results)
}

function summary(results: readonly Verdict[]): string {
  const count = (verdict: Verdict['verdict']) => results.filter((result) => result.verdict === verdict).length
  return `${results.length === 1 ? '1 issue' : `${results.length} issues`}: ${count('still there')} still there, ${count('fixed')} fixed, ${count('not tested here')} not tested here`
}
