import type { Hosts } from './hosts.js'
import { type Launcher, launch } from './launch.js'

/** What was done to a job of two processes, and how it ended. */
export interface Failure {
  readonly launcher: Launcher
  readonly event: string
  readonly code: number | null
  /** From the event to the end of the launcher. */
  readonly seconds: number
  /** Number of processes that were left. */
  readonly left: number
}

/** Seconds that a process waits for the other one. */
export const timeout = 20
/** Seconds after which the launcher is ended from here. */
const patience = 90

const events: Readonly<Record<string, (hosts: Hosts) => void>> = {
  'kill -9 of one process': (hosts) => signal(hosts, 'SIGKILL'),
  'one process stopped (SIGSTOP)': (hosts) => signal(hosts, 'SIGSTOP'),
  'link of one host cut': (hosts) => hosts.setConnected(1, false),
  'link of one host cut for 5 s': (hosts) => {
    hosts.setConnected(1, false)
    setTimeout(() => hosts.setConnected(1, true), 5000)
  },
}

/** Runs a job for each event, and waits for its end. A job that survives the event is ended by an interrupt. */
export async function observeFailures(hosts: Hosts, launcher: Launcher): Promise<Failure[]> {
  const failures: Failure[] = []
  for (const [event, cause] of Object.entries(events)) {
    const task = { lengths: [], hidden: [64], batchSize: 8, steps: 50, epochs: 1e6, timeout }
    const { child, onLine, ended } = launch(hosts, launcher, 2, task)
    await new Promise<void>((resolve, reject) => {
      onLine(() => resolve())
      void ended.then(({ errors }) => reject(new Error(errors)))
    })
    const start = performance.now()
    cause(hosts)
    const kill = setTimeout(() => child.kill('SIGINT'), 1000 * patience)
    const { code } = await ended
    clearTimeout(kill)
    const seconds = (performance.now() - start) / 1000
    await new Promise((resolve) => setTimeout(resolve, 3000))
    failures.push({ launcher, event, code, seconds, left: jobsOf(hosts).length })
    hosts.setConnected(1, true)
    for (const pid of jobsOf(hosts)) process.kill(pid, 'SIGKILL')
  }
  return failures
}

const jobsOf = (hosts: Hosts): number[] => [0, 1].flatMap((host) => hosts.processesOf(host, 'job.ts'))

/** Sends a signal to the process on the second host. */
function signal(hosts: Hosts, name: NodeJS.Signals): void {
  for (const pid of hosts.processesOf(1, 'job.ts')) process.kill(pid, name)
}
