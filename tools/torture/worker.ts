import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Random } from 'onnx-ire/data'
import type { Campaign, Case, Opened, Outcome } from './campaign.js'
import { campaigns } from './campaigns.js'
import type { Message, Reply, Request } from './pool.js'

/**
 * Worker process: makes and runs the case of each request. If a case crashes or hangs it, the parent reports the case.
 */
const [parentFolder, ...flags] = process.argv.slice(2)
const folder = await mkdtemp(join(parentFolder!, 'worker-'))
const opened = new Map<Campaign, Promise<Opened>>()
const send = (message: Message) => process.send!(message)

process.on('disconnect', async () => {
  await rm(folder, { recursive: true, force: true })
  process.exit()
})

process.on('message', async (request: Request) => {
  const campaign: Campaign = campaigns[request.campaign]
  if (!opened.has(campaign))
    opened.set(campaign, campaign.open({ folder, shared: parentFolder!, long: flags.includes('--long') }))
  const open = await opened.get(campaign)!
  // The watchdog starts here, and once more when the case is made.
  send({ kind: 'ready' })
  const case_ = await open.make(request.seed, new Random(request.seed))
  // Garbage of earlier cases must not count for this one; collecting it each time would take most of a run.
  if (process.memoryUsage().rss > 400 * 2 ** 20) globalThis.gc?.()
  // The file is sent, and the message awaited, before the case runs: the process may not survive it.
  const begun: Message = { kind: 'stage', stage: 'start', title: case_.title, ...encodeFile(case_) }
  await new Promise<void>((resolve) => process.send!(begun, undefined, {}, () => resolve()))
  send({ kind: 'ready' })
  const reply = request.shrink === undefined ? await run(case_) : await shrink(case_, request.shrink)
  send({ kind: 'reply', reply })
})

async function run(case_: Case): Promise<Reply> {
  const { title } = case_
  const { ended, faults } = await outcomeOf(case_)
  return { title, ended, faults, ...(faults.length > 0 ? encodeFile(case_) : {}) }
}

/** Runs a case, and those with fewer changes as long as they show the same fault. */
async function shrink(case_: Case, cause: string): Promise<Reply> {
  const { ended, faults } = await outcomeOf(case_)
  const hasFault = async (other: Case) => (await outcomeOf(other)).faults.some((fault) => fault.cause === cause)
  let best = case_
  if (faults.some((fault) => fault.cause === cause)) {
    const end = performance.now() + 20_000
    for (let found = true; found && performance.now() < end; ) {
      found = false
      for (const simpler of best.simpler?.() ?? []) {
        if (performance.now() > end) break
        if (!(await hasFault(simpler))) continue
        best = simpler
        found = true
        break
      }
    }
  }
  return { title: case_.title, shrunk: best.title, ended, faults, ...encodeFile(best) }
}

async function outcomeOf(case_: Case): Promise<Outcome> {
  const enter = (stage: string) => send({ kind: 'stage', stage })
  try {
    return await case_.run(enter)
  } catch (error) {
    const stack = error instanceof Error ? (error.stack ?? error.message) : String(error)
    return { ended: 'fault', faults: [{ cause: 'the case itself failed', detail: stack }] }
  }
}

const encodeFile = ({ file }: Case): { file?: string } => (file ? { file: Buffer.from(file).toString('base64') } : {})
