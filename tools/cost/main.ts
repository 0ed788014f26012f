import { fork } from 'node:child_process'
import { readdirSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import type { Cost } from './measure.js'

/**
 * Measures the cost of building training graphs: `npx tsx tools/cost/main.ts [--models FOLDER]`. Every measurement runs in a
 * separate process, for graphs of 1,000 to 20,000 nodes and the ONNX files in the folder.
 */
const program = new Command('cost')
  .option('--models <folder>', 'ONNX files to report nodes of')
  .option('--sizes <list>', 'numbers of nodes', '1000,2000,5000,10000,20000')
  .option('--forms <list>', 'forms of graphs', 'chain,graph,transformer,convolution,shared,wide,loop,branches')
  .parse()
const options = program.opts<{ models?: string; sizes: string; forms: string }>()

const lines: string[] = []
const say = (line: string) => {
  lines.push(line)
  console.log(line)
}

say('| form | nodes | with gradient | of them superfluous | read s | differentiate s | write s | in all s | peak MB |')
say('|---|---|---|---|---|---|---|---|---|')
for (const form of options.forms.split(',').filter(Boolean))
  for (const size of options.sizes.split(',')) {
    const cost = await measured(['form', form, size])
    say(
      typeof cost === 'string'
        ? `| ${form} | ${size} | ${cost} | | | | | |`
        : `| ${form} | ${cost.before} | ${cost.after} | ${cost.superfluous} | ${timesOf(cost)} |`,
    )
  }
const curve = lines.splice(0)
if (options.models) {
  say(
    '| model | nodes in the file | after import | with gradient | of them superfluous | read s | differentiate s | write s | in all s | peak MB |',
  )
  say('|---|---|---|---|---|---|---|---|---|---|')
  for (const file of filesUnder(options.models)) {
    const cost = await measured(['file', file])
    say(
      typeof cost === 'string'
        ? `| ${basename(file)} | ${cost} | | | | | | | |`
        : `| ${basename(file)} | ${cost.before} | ${cost.imported} | ${cost.after} | ${cost.superfluous} | ${timesOf(cost)} |`,
    )
  }
}
writeFileSync(
  fileURLToPath(new URL('RESULTS.md', import.meta.url)),
  `# What building a training graph costs

Written by \`npx tsx tools/cost/main.ts\`. Reading a model, differentiating it with respect to everything, and writing the gradient model: seconds of computing, garbage collection included, which depend on the machine and are to be read as a curve. Peak memory is that of the process above its start. Superfluous nodes compute what another node does, or what nothing uses.

${curve.join('\n')}
${lines.length > 0 ? `\nPretrained models: nodes with their bodies, before and after.\n\n${lines.join('\n')}\n` : ''}`,
)

function timesOf({ seconds: { read, differentiate, write }, megabytes }: Cost): string {
  return [
    ...[read, differentiate, write, read + differentiate + write].map((x) => x.toFixed(2)),
    megabytes.toFixed(0),
  ].join(' | ')
}

function filesUnder(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.onnx'))
    .map((file) => join(folder, file))
    .sort((a, b) => basename(a).localeCompare(basename(b)))
}

/** The cost, or the error. */
function measured(args: readonly string[]): Promise<Cost | string> {
  return new Promise((resolve) => {
    const child = fork(fileURLToPath(new URL('measure.ts', import.meta.url)), [...args], {
      execArgv: ['--import', 'tsx'],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    })
    let said = ''
    child.stderr!.on('data', (chunk: Buffer) => {
      said += chunk.toString()
    })
    child.once('message', (cost) => resolve(cost as Cost))
    child.once('exit', () => {
      const [line] = said.split('\n').filter((each) => /Error/.test(each))
      resolve((line ?? 'ended without a result').slice(0, 160).replaceAll('|', '\\|'))
    })
  })
}
