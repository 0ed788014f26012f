import { type ChildProcess, fork } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Fault, Limits } from './campaign.js'
import type { CampaignName } from './campaigns.js'

/** A request to a worker process. */
export interface Request {
  readonly campaign: CampaignName
  readonly seed: number
  /** Shrink the reproducer of this cause instead of only running the case. */
  readonly shrink?: string
}

/** The reply to a request. */
export interface Reply {
  readonly title: string
  readonly ended: string
  readonly faults: readonly Fault[]
  /** The file of the case in base64, if a fault was found and the case reads a file. */
  readonly file?: string
  /** Whether the case ended its worker process. */
  readonly died?: true
  /** Whether the process was ended because it exceeded a limit of time. */
  readonly late?: true
  /** The title after shrinking. */
  readonly shrunk?: string
}

/** Message of a worker process: that it begins to make or to run the case, the stages of the case, and the reply. */
export type Message =
  | { readonly kind: 'ready' }
  | { readonly kind: 'stage'; readonly stage: string; readonly title?: string; readonly file?: string }
  | { readonly kind: 'reply'; readonly reply: Reply }

interface PoolOptions {
  /** Folder for the folders of the worker processes. */
  readonly folder: string
  readonly long: boolean
  /** The program of the worker processes. Default: `worker.ts`. */
  readonly program?: string
}

const worker = fileURLToPath(new URL('worker.ts', import.meta.url))

/** Interval in ms at which the watchdog looks at the worker process. */
const patrol = 100

/** One worker process, replaced after a case that crashed it or that exceeded a limit. */
export class Worker {
  readonly #options: PoolOptions
  #child: ChildProcess | undefined

  constructor(options: PoolOptions) {
    this.#options = options
  }

  async run(request: Request, limits: Limits): Promise<Reply> {
    this.#child ??= start(this.#options)
    const { reply, alive } = await new Watched(this.#child, request, limits).reply
    if (!alive) this.#child = undefined
    return reply
  }

  /** Ends the process, and the processes that it started. */
  end(): void {
    if (this.#child) killGroup(this.#child)
    this.#child = undefined
  }
}

/** The heap is limited, so that memory that grows without bound ends in a crash of the worker process only. */
const start = ({ folder, long, program = worker }: PoolOptions): ChildProcess =>
  fork(program, [folder, ...(long ? ['--long'] : [])], {
    execArgv: ['--import', 'tsx', '--expose-gc', '--max-old-space-size=1500', '--stack-trace-limit=40'],
    env: { ...process.env, ORT_DISABLE_TELEMETRY: '1' },
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    // A process group of its own: the processes that a case starts end with it, and Ctrl-C reaches the main process
    // only.
    detached: true,
  })

function killGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL')
  } catch {
    // It has ended already.
  }
}

/** A request in progress, with its watchdog. */
class Watched {
  readonly reply: Promise<{ reply: Reply; alive: boolean }>
  readonly #child: ChildProcess
  readonly #limits: Limits
  #stage = 'make'
  #title = ''
  #file: string | undefined
  #before: Usage | undefined
  #startedAt = 0
  #errors = ''

  constructor(child: ChildProcess, request: Request, limits: Limits) {
    this.#child = child
    this.#limits = limits
    this.reply = new Promise((resolve) => {
      const finish = (reply: Reply, alive: boolean) => {
        clearInterval(timer)
        child.off('message', onMessage).off('exit', onExit)
        child.stderr?.off('data', onError)
        if (!alive) killGroup(child)
        resolve({ reply, alive })
      }
      const fail = (cause: string, detail: string, late = false) => {
        const fault = {
          cause: `${cause}, ${request.campaign}, stage ${this.#stage}`,
          detail: `${this.#title}: ${detail}`,
        }
        const file = this.#file === undefined ? {} : { file: this.#file }
        const ending = { died: true, ...(late && { late }) } as const
        finish({ title: this.#title, ended: 'fault', faults: [fault], ...ending, ...file }, false)
      }
      const onMessage = (message: Message) => {
        if (message.kind === 'ready') this.#begin()
        else if (message.kind === 'reply') finish(message.reply, true)
        else this.#enter(message)
      }
      const onExit = (code: number | null, signal: string | null) =>
        fail(`the process ended with ${signal ?? code}`, this.#errors.slice(-600))
      const onError = (text: Buffer) => {
        this.#errors += text.toString()
      }
      const timer = setInterval(() => {
        const excess = this.#excess()
        if (excess) fail(excess.cause, excess.detail, excess.late)
      }, patrol)
      child.on('message', onMessage).once('exit', onExit)
      child.stderr?.on('data', onError)
      child.send(request)
    })
  }

  /** The campaign is open, or the case is made: limits count from here. */
  #begin(): void {
    this.#before = usageOf(this.#child.pid!)
    this.#startedAt = performance.now()
  }

  #enter({ stage, title, file }: Message & { kind: 'stage' }): void {
    this.#stage = stage
    if (title !== undefined) this.#title = title
    if (file !== undefined) this.#file = file
  }

  #excess(): { cause: string; detail: string; late: boolean } | undefined {
    if (!this.#startedAt) return undefined
    const seconds = (performance.now() - this.#startedAt) / 1000
    const now = usageOf(this.#child.pid!)
    if (now && this.#before) {
      const cpu = now.cpu - this.#before.cpu
      if (cpu > this.#limits.cpu)
        return { cause: `over ${this.#limits.cpu} s of CPU time`, detail: `${cpu.toFixed(1)} s`, late: true }
      const memory = (now.memory - this.#before.memory) / 2 ** 20
      if (memory > this.#limits.memory)
        return { cause: `over ${this.#limits.memory} MiB of memory`, detail: `${memory.toFixed(0)} MiB`, late: false }
    }
    if (seconds > this.#limits.wall) return { cause: `no end after ${this.#limits.wall} s`, detail: '', late: true }
    return undefined
  }
}

interface Usage {
  /** Processor time in seconds. */
  readonly cpu: number
  /** Resident memory in bytes. */
  readonly memory: number
}

/** Processor time and memory of a process, from Linux's /proc; undefined on other systems and after its end. */
function usageOf(pid: number): Usage | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    // Clock ticks have 10 ms and pages 4 KiB on Linux x64 and arm64.
    return { cpu: (Number(fields[11]) + Number(fields[12])) / 100, memory: Number(fields[21]) * 4096 }
  } catch {
    return undefined
  }
}
