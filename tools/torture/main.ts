import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { Command, InvalidArgumentError } from 'commander'
import { someOf, wholeNumber } from '../bench/options.js'
import type { Limits } from './campaign.js'
import { type CampaignName, campaignNames, campaigns } from './campaigns.js'
import { Worker } from './pool.js'
import { Report } from './report.js'

interface Options {
  readonly minutes: number
  readonly seed: number
  readonly only: readonly CampaignName[]
  readonly workers: number
  readonly soak?: true
  readonly replay?: { readonly campaign: CampaignName; readonly seed: number }
  readonly keep: string
  readonly json?: true
}

/** The command line of `npm run torture`. */
const program = new Command('npm run torture --')
  .description(
    'Hostile files, kills, full disks and long runs against the built library: every case must succeed or end in a ' +
      'short OnnxIreError.',
  )
  .option('--minutes <n>', 'duration of the run, shared by the campaigns', positive, 3)
  .option('--seed <n>', 'seed of the run: the same seed gives the same cases in the same order', natural, 0)
  .option('--only <list>', `campaigns to run, of ${campaignNames.join(', ')}`, someOf(campaignNames), campaignNames)
  .option('--workers <n>', 'worker processes', wholeNumber, Math.min(availableParallelism(), 4))
  .option('--soak', 'run the soak at full length: 100,000 steps')
  .option('--replay <campaign:seed>', 'run one case and print its faults', parseReplay)
  .option('--keep <folder>', 'folder for files of over 1 KB that show a fault', join(tmpdir(), 'onnx-ire-torture'))
  .option('--json', 'print the report as JSON')
  .addHelpText(
    'after',
    `
Campaigns:
${campaignNames.map((name) => `  ${name.padEnd(12)} ${campaigns[name].about}`).join('\n')}

Faults are: an error that is not an OnnxIreError, a message of over 2,000 characters or one that blames onnx-ire, a
crash, too much time or memory, and a result that differs from the promised one. Faults are grouped by cause. Ctrl-C
ends the run and prints the report so far. Exit codes: 0 no faults, 1 faults, 2 wrong usage.

Examples:
  npm run torture -- --minutes 60 --seed 1 --soak
  npm run torture -- --only models,bytes --minutes 5
  npm run torture -- --replay models:1000017`,
  )
  .parse()
const options = program.opts<Options>()

const folder = mkdtempSync(join(tmpdir(), 'onnx-ire-torture-'))
const workers: Worker[] = []
const report = new Report()
let interruptedAt = 0
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => {
    // npm passes on the signal that the terminal has sent already.
    if (interruptedAt > 0 && performance.now() - interruptedAt < 500) return
    if (interruptedAt > 0) end()
    interruptedAt = performance.now()
    console.error('\nending after the current cases; interrupt again to quit at once')
  })

if (options.replay) await runCase(startWorker(), options.replay.campaign, options.replay.seed)
else await attack()
end()

/** Prints the report and ends all processes. */
function end(): never {
  console.log(options.json ? JSON.stringify(report.toJson(), null, 2) : report.toText())
  for (const worker of workers) worker.end()
  unmountBelow(folder)
  rmSync(folder, { recursive: true, force: true })
  process.exit(report.hasFaults ? 1 : 0)
}

/** Unmounts the disks of cases that were ended. */
function unmountBelow(path: string): void {
  if (process.platform !== 'linux') return
  const mounted = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .flatMap((line) => line.split(' ')[1] ?? [])
  for (const place of mounted) if (place.startsWith(`${path}/`)) execFileSync('umount', ['-l', place])
}

/** Runs the campaigns one after the other, each for its share of the time. */
async function attack(): Promise<void> {
  const pool = Array.from({ length: options.workers }, startWorker)
  const shares = options.only.reduce((sum, name) => sum + campaigns[name].share, 0)
  for (const campaign of options.only) {
    const seconds = (60 * options.minutes * campaigns[campaign].share) / shares
    const begun = performance.now()
    const isDue = () => (performance.now() - begun) / 1000 < seconds
    const tally = report.tally(campaign)
    // Seeds of one run are consecutive; those of different runs do not overlap.
    let next = options.seed * 1_000_000
    const progress = setInterval(() => showProgress(campaign), process.stderr.isTTY ? 500 : 15_000)
    await Promise.all(
      pool.map(async (worker) => {
        while (isDue() && interruptedAt === 0) await runCase(worker, campaign, next++)
      }),
    )
    clearInterval(progress)
    tally.seconds = (performance.now() - begun) / 1000
    showProgress(campaign, '\n')
    if (interruptedAt > 0) break
  }
}

/** A case that exceeds a limit of time is run once more, in a new process: another program may have held it up. */
async function runCase(worker: Worker, campaign: CampaignName, seed: number): Promise<void> {
  const { limits } = campaigns[campaign]
  const first = await worker.run({ campaign, seed }, limits)
  const reply = first.late ? await worker.run({ campaign, seed }, limits) : first
  for (const cause of report.add(campaign, seed, reply)) {
    const group = report.groups.get(cause)!
    // A case that ended its process is not run again.
    const shrunk = reply.died
      ? reply
      : await worker.run({ campaign, seed, shrink: cause }, shrinking(campaigns[campaign].limits))
    group.title = shrunk.shrunk ?? reply.title
    const file = shrunk.file ?? reply.file
    if (file !== undefined) group.file = keepFile(file, campaign, seed)
  }
}

/** Shrinking runs a case many times. */
function shrinking({ cpu, memory, wall }: Limits): Limits {
  return { cpu: cpu + 10, memory: 2 * memory, wall: wall + 60 }
}

/** A file as base64 if it is short, else the path of the folder `--keep` where it is written. */
function keepFile(base64: string, campaign: CampaignName, seed: number): string {
  if (base64.length <= 1400) return base64
  mkdirSync(options.keep, { recursive: true })
  const path = resolve(options.keep, `${campaign}-${seed}`)
  writeFileSync(path, Buffer.from(base64, 'base64'))
  return path
}

function startWorker(): Worker {
  const worker = new Worker({ folder, long: options.soak ?? false })
  workers.push(worker)
  return worker
}

function showProgress(campaign: CampaignName, end = process.stderr.isTTY ? '' : '\n'): void {
  const { cases } = report.tally(campaign)
  const line = `${campaign}: ${cases} cases, ${report.groups.size} causes of faults`
  process.stderr.write(`${process.stderr.isTTY ? `\r\x1b[K${line}` : line}${end}`)
}

function positive(text: string): number {
  const value = Number(text)
  if (!(value > 0 && value < 10_000)) throw new InvalidArgumentError('It must be a number above 0.')
  return value
}

function natural(text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value * 1_000_000) || value < 0)
    throw new InvalidArgumentError('It must be an integer >= 0.')
  return value
}

function parseReplay(text: string): { readonly campaign: CampaignName; readonly seed: number } {
  const [campaign = '', seed = ''] = text.split(':')
  if (!(campaignNames as readonly string[]).includes(campaign) || !/^\d+$/.test(seed))
    throw new InvalidArgumentError(`It must be <campaign>:<seed>, with a campaign of ${campaignNames.join(', ')}.`)
  return { campaign: campaign as CampaignName, seed: Number(seed) }
}
