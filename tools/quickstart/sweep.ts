import { appendFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { adamw, ire } from 'onnx-ire'
import { node, readModel } from 'onnx-ire/node'
import { modelPath, readDigits, readTuningDigits } from './digits.js'
import { type Contender, fineTune } from './run.js'

/**
 * Tunes the settings of the quickstart: every method over a grid, three seeds each, evaluated on digits that neither
 * training nor the table of the quickstart uses. `npx tsx tools/quickstart/sweep.ts` takes about 20 minutes and writes
 * sweep.md.
 */
const seeds = [0, 1, 2]
const [epochs, examples, batchSize] = [8, 600, 32]
const steps = Math.ceil(examples / batchSize) * epochs

const base = (lr: number): Contender => ({ name: `AdamW lr ${lr}`, optimizer: adamw({ lr }), weights: 'pretrained' })
const random = (lr: number): Contender => ({ ...base(lr), name: `random weights, AdamW lr ${lr}`, weights: 'random' })
const enhanced = (lr: number, kappa: number, gamma: number): Contender => ({
  name: `AdamW lr ${lr} + IRE kappa ${kappa} gamma ${gamma}`,
  optimizer: ire(adamw({ lr }), { kappa, gamma, interval: 10, warmup: Math.ceil(steps / 10) }),
  weights: 'pretrained',
})

const grid = [
  ...[1e-3, 2e-3, 3e-3, 4e-3, 6e-3].map(base),
  ...[1e-3, 2e-3, 3e-3].flatMap((lr) =>
    [1, 2].flatMap((kappa) => [0.6, 0.8].map((gamma) => enhanced(lr, kappa, gamma))),
  ),
  ...[2e-3, 4e-3, 8e-3, 12e-3, 16e-3].map(random),
]

const file = fileURLToPath(new URL('sweep.md', import.meta.url))
writeFileSync(
  file,
  `# Settings of the quickstart

${epochs} epochs over ${examples} digits, batch ${batchSize}, cosine to 0; 2,000 digits that training does not use; mean and standard deviation over ${seeds.length} seeds.
Written by \`npx tsx tools/quickstart/sweep.ts\`.

| | loss | accuracy |
|---|---|---|
`,
)

const model = await readModel(modelPath)
const runtime = node()
const heldOut = await readTuningDigits(2000)
for (const contender of grid) {
  const outcomes = []
  for (const seed of seeds) {
    const { train } = await readDigits(examples, 1, seed)
    outcomes.push(await fineTune(model, contender, { train, heldOut }, { epochs, batchSize, seed }, runtime, () => {}))
  }
  const row = `| ${contender.name} | ${spread(
    outcomes.map((outcome) => outcome.heldOut.loss),
    3,
  )} | ${spread(
    outcomes.map((outcome) => 100 * outcome.heldOut.accuracy!),
    1,
  )} % |`
  console.log(row)
  appendFileSync(file, `${row}\n`)
}
await runtime.dispose()

function spread(values: readonly number[], digits_: number): string {
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length
  const deviation = Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (values.length - 1))
  return `${mean.toFixed(digits_)} ± ${deviation.toFixed(digits_)}`
}
