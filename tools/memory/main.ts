import { fork } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { writeProblem } from '../bench/problem.js'
import { workloads } from '../bench/workloads.js'

/**
 * Compares the estimated memory of training with the measured peak of a process: `npx tsx tools/memory/main.ts`, after
 * `npm run build`. Linux only: the peak is VmHWM.
 */
const program = new Command('memory')
  .option('--only <models>', 'names of models, separated by commas')
  .option('--variants <names>', 'variants of the run to measure, separated by commas')
  .option('--no-write', 'do not write RESULTS.md')
  .parse()
const { only, variants, write } = program.opts<{ only?: string; variants?: string; write: boolean }>()

/** Models of tools/bench and their batch sizes: those of large images are smaller than there. */
const sizes: Readonly<Record<string, number>> = {
  mlp: 128,
  resnet: 32,
  resnet50: 2,
  mobilenet: 2,
  densenet: 2,
  vit: 32,
  encoder: 8,
  llama: 8,
  lstm: 32,
  audio: 8,
  unet: 2,
  'mlp-130m': 32,
}

interface Estimate {
  readonly total: number
  readonly causes: Readonly<Record<string, number>>
  readonly inspect: number | null
}

/** Variants of `measure.mjs`, and the way to onnxruntime: its C API, or its binding in a worker. */
const configurations = [
  ['adamw-ire', 'c-api'],
  ['adamw-ire', 'worker'],
  ['sgd', 'c-api'],
  ['sam-ire', 'c-api'],
  ['hutchinson', 'c-api'],
  ['hutchinson-quarter', 'c-api'],
  ['quarter', 'c-api'],
  ['averages-best', 'c-api'],
] as const
const chosen =
  variants === undefined ? configurations : configurations.filter(([name]) => variants.split(',').includes(name))

const MB = (bytes: number) => (bytes / 2 ** 20).toFixed(0)
const lines: string[] = []
const say = (line: string) => {
  lines.push(line)
  console.log(line)
}
const ratios: { readonly title: string; readonly ratio: number }[] = []
const names = only?.split(',') ?? Object.keys(sizes)
const causes: string[] = []

say('| model, batch | optimizer | onnxruntime | steps | measured MiB | estimated MiB | ratio | `inspect` MiB |')
say('|---|---|---|---|---|---|---|---|')
for (const name of names) {
  const folder = mkdtempSync(join(tmpdir(), 'onnx-ire-memory-'))
  try {
    writeProblem(folder, workloads[name]!)
    const [batch, title] = [sizes[name]!, workloads[name]!.title.replace(/, batch .*/, '')]
    for (const [optimizer, thread] of chosen) {
      const call = (action: string) => measure([folder, `${batch}`, optimizer, thread, action])
      const { total, causes: terms, inspect } = (await call('estimate')) as Estimate
      const { peak, steps } = (await call('train')) as { peak: number; steps: number }
      const ratio = peak / total
      ratios.push({ title: `${title}, ${optimizer}, ${thread}`, ratio })
      if (optimizer === 'adamw-ire' && thread === 'c-api')
        causes.push(`| ${title} | ${Object.values(terms).map(MB).join(' | ')} |`)
      say(
        `| ${title}, ${batch} | ${optimizer} | ${thread} | ${steps} | ${MB(peak)} | ${MB(total)} | ${ratio.toFixed(2)} | ` +
          `${inspect === null || optimizer !== 'adamw-ire' || thread !== 'c-api' ? '' : MB(inspect)} |`,
      )
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
const outside = ratios.filter(({ ratio }) => ratio > 1.3 || ratio < 1 / 1.3)
const worst = [...ratios].sort((a, b) => Math.abs(Math.log(b.ratio)) - Math.abs(Math.log(a.ratio)))[0]!
say('')
say(
  `Ratios of measured to estimated: ${Math.min(...ratios.map(({ ratio }) => ratio)).toFixed(2)} to ` +
    `${Math.max(...ratios.map(({ ratio }) => ratio)).toFixed(2)}; the worst is ${worst.title}. ` +
    (outside.length === 0
      ? 'All are within 1.3.'
      : `Not within 1.3: ${outside.map(({ title, ratio }) => `${title} (${ratio.toFixed(2)})`).join('; ')}.`),
)
if (write && only === undefined && variants === undefined)
  writeFileSync(
    fileURLToPath(new URL('RESULTS.md', import.meta.url)),
    `# Memory of training, measured and estimated

Written by \`npx tsx tools/memory/main.ts\`. Each row is a fresh process that reads a model, evaluates one batch and trains for at least four steps and 8 seconds, with a checkpoint after every second step (float32, \`batchNorm: 'trained'\`, IRE's mask refreshed every second step). Measured is its VmHWM, the peak of everything that the process has in memory: Node, onnxruntime, model, data and training. Estimated is the sum of \`src/analysis/inspect/run-memory.ts\`, by which \`onnx-ire train\` warns; the last column is the estimate of \`onnx-ire inspect\` for the same batch, which has no loss, frozen norms, and always AdamW and IRE. The estimate is the same for both ways to onnxruntime. \`hutchinson\` is Hutchinson's curvature, \`quarter\` is \`curvatureShare\` 0.25, and \`averages-best\` a moving average, best weights and an evaluation every second step.

${lines.join('\n')}

Estimated MiB by cause, with AdamW and IRE. \`training\` is a simulation of onnxruntime's arena (\`src/analysis/inspect/arena-peak.ts\`), gaps included.

| model | loaded | runtime | weights | optimizer | gradients | batches | training | evaluation | checkpoint |
|---|---|---|---|---|---|---|---|---|---|
${causes.join('\n')}
`,
  )

function measure(args: readonly string[]): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(new URL('measure.mjs', import.meta.url)), [...args], { execArgv: [] })
    child.once('message', resolve)
    child.once('exit', () => reject(new Error(`${args.join(' ')} ended without a result`)))
  })
}
