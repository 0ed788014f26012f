import { execFileSync } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { SingleBar } from 'cli-progress'
import Table from 'cli-table3'
import { Command, InvalidArgumentError } from 'commander'
import type { StepProgress } from 'onnx-ire'
import { node, readModel, writeModel } from 'onnx-ire/node'
import { modelPath, readDigits } from './digits.js'
import { type Contender, contenders, fineTune, type Outcome } from './run.js'

const positive = (text: string): number => {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('It must be an integer of at least 1.')
  return value
}

const { epochs, examples, heldOut, batchSize, seeds, json, output } = new Command('quickstart')
  .description(
    'Teaches a pretrained OCR model to read digits from few labels: AdamW beside AdamW + IRE, from the same seed.',
  )
  .option('--epochs <n>', 'passes over the labeled digits', positive, 8)
  .option('--examples <n>', 'labeled digits to learn from', positive, 600)
  .option('--held-out <n>', 'number of test digits for evaluation', positive, 2000)
  .option('--batch-size <n>', 'examples per step', positive, 32)
  .option('--seeds <n>', 'repeat with seeds 0 to n-1 and report mean and spread', positive, 1)
  .option('-o, --output <file>', 'the trained model', 'tuned.onnx')
  .option('--json', 'results as JSON on standard output')
  .addHelpText(
    'after',
    '\nExamples:\n  npm run quickstart                    about a minute on two cores\n  npm run quickstart -- --seeds 5       the table of the README',
  )
  .parse()
  .opts<{
    epochs: number
    examples: number
    heldOut: number
    batchSize: number
    seeds: number
    json?: true
    output: string
  }>()

const say = (text: string) => (json ? process.stderr : process.stdout).write(`${text}\n`)

const model = await readModel(modelPath)
const runtime = node()
say(`Model     PaddleOCR's text-direction classifier (MobileNetV3, 2 classes), given a new head of 10 classes`)
say(`Data      ${examples} MNIST training digits, ${heldOut} of the test set held out`)
say(`Runtime   ${runtime.description}, ${availableParallelism()} cores\n`)

const steps = Math.ceil(examples / batchSize) * epochs
const plans = Array.from({ length: seeds }, (_, seed) => ({ epochs, batchSize, seed }))
const outcomes = new Map<Contender, Outcome[]>(contenders(steps).map((contender) => [contender, []]))
for (const plan of plans) {
  const data = await readDigits(examples, heldOut, plan.seed)
  for (const [contender, results] of outcomes) {
    const progress = progressOf(seeds === 1 ? contender.name : `${contender.name}, seed ${plan.seed}`)
    results.push(await fineTune(model, contender, data, plan, runtime, progress.onStep))
    progress.end(results.at(-1)!)
  }
}

const rows = [...outcomes].map(([{ name }, results]) => summary(name, results))
if (!json) printTable(rows)

const [best] = [...outcomes.values()].at(-1)!
await writeModel(output, best!.tuned)
const verified = verifyInFreshProcess(output, heldOut)
const same = verified.correct === Math.round(best!.heldOut.accuracy! * heldOut)
say(
  `\n${output}: ${percent(verified.accuracy)} held-out accuracy in plain onnxruntime, in a fresh process: ${same ? 'the same' : 'NOT THE SAME'}`,
)
if (json)
  console.log(
    JSON.stringify(
      { examples, heldOut, epochs, batchSize, seeds, rows, output, verified: { ...verified, same } },
      null,
      2,
    ),
  )
await runtime.dispose()
if (!same) process.exitCode = 1

interface Row {
  readonly name: string
  readonly trainingLoss: readonly number[]
  readonly heldOutLoss: readonly number[]
  readonly heldOutAccuracy: readonly number[]
  readonly trainingAccuracy: readonly number[]
  readonly secondsPerStep: readonly number[]
}

function summary(name: string, results: readonly Outcome[]): Row {
  return {
    name,
    trainingLoss: results.map(({ training }) => training.loss),
    heldOutLoss: results.map((result) => result.heldOut.loss),
    trainingAccuracy: results.map(({ training }) => training.accuracy!),
    heldOutAccuracy: results.map((result) => result.heldOut.accuracy!),
    secondsPerStep: results.map(({ secondsPerStep }) => secondsPerStep),
  }
}

function printTable(rows: readonly Row[]): void {
  const table = new Table({
    head: ['', 'train loss', 'held-out loss', 'train acc.', 'held-out acc.', 's/step'],
    style: { head: [], border: [] },
  })
  const number = (digits: number) => (value: number) => value.toFixed(digits)
  for (const row of rows) {
    table.push([
      row.name,
      spread(row.trainingLoss, number(4)),
      spread(row.heldOutLoss, number(3)),
      spread(row.trainingAccuracy, percent),
      spread(row.heldOutAccuracy, percent),
      spread(row.secondsPerStep, number(3)),
    ])
  }
  say(`\n${table}`)
}

/** The mean and, for several seeds, the standard deviation. */
function spread(values: readonly number[], show: (value: number) => string): string {
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length
  if (values.length === 1) return show(mean)
  const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (values.length - 1)
  return `${show(mean)} ± ${show(Math.sqrt(variance))}`
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`
}

/** A progress bar with the time left on a terminal, a line per tenth of the work on another output. */
function progressOf(name: string): { onStep: (progress: StepProgress) => void; end: (outcome: Outcome) => void } {
  const label = name.padEnd(22)
  const done = ({ heldOut: { accuracy } }: Outcome) => say(`${label} held-out accuracy ${percent(accuracy!)}`)
  if (!process.stderr.isTTY) {
    const started = Date.now()
    return {
      onStep: ({ step, totalSteps: steps = 0, loss }) => {
        if ((step + 1) % Math.ceil(steps / 5) !== 0) return
        const left = ((Date.now() - started) / 1000 / (step + 1)) * (steps - step - 1)
        say(`${label} step ${step + 1}/${steps}  loss ${loss.toFixed(3)}  ${left.toFixed(0)} s left`)
      },
      end: done,
    }
  }
  const bar = new SingleBar({
    format: `${label} {bar} {value}/{total}  loss {loss}  {eta} s left`,
    hideCursor: true,
    clearOnComplete: true,
  })
  bar.start(1, 0, { loss: '-' })
  return {
    onStep: ({ step, totalSteps: steps = 0, loss }) => {
      bar.setTotal(steps)
      bar.update(step + 1, { loss: loss.toFixed(3) })
    },
    end: (outcome) => {
      bar.stop()
      done(outcome)
    },
  }
}

function verifyInFreshProcess(file: string, count: number): { correct: number; accuracy: number } {
  const script = fileURLToPath(new URL('verify.ts', import.meta.url))
  return JSON.parse(
    execFileSync(process.execPath, ['--import', 'tsx', script, file, String(count)], { encoding: 'utf8' }),
  )
}
