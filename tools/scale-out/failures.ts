import { setTimeout } from 'node:timers/promises'
import type { Hosts } from './hosts.js'
import { type Launcher, launch } from './launch.js'

/** A failure that was caused in a job of two processes, and the end of the job. */
export interface Failure {
  readonly launcher: Launcher
  readonly event: string
  /** Exit code of the launcher; null if a signal ended it. */
  readonly code: number | null | 'running'
  /** From the event to the end of the launcher. */
  readonly seconds: number
  /** Processes of the job that ran then, or 3 seconds after the end of the launcher. */
  readonly left: number
}

/** Seconds that a process waits for the other one. */
export const timeout = 20
/** Seconds after which a launcher that still runs is killed. */
export const patience = 40

const events: Readonly<Record<string, (hosts: Hosts) => void>> = {
  'kill -9 of one process': (hosts) => signal(hosts, 'SIGKILL'),
  'one process stopped (SIGSTOP)': (hosts) => signal(hosts, 'SIGSTOP'),
  'link of one host cut': (hosts) => hosts.setConnected(1, false),
  'link of one host cut for 5 s': (hosts) => {
    hosts.setConnected(1, false)
    void setTimeout(5000).then(() => hosts.setConnected(1, true))
  },
}

/** Runs a job for each event, and waits for its end. A job that survives the event is killed. */
export async function observeFailures(hosts: Hosts, launcher: Launcher): Promise<Failure[]> {
  const failures: Failure[] = []
  for (const [event, cause] of Object.entries(events)) {
    const task = { hidden: [64], batchSize: 8, steps: 50, epochs: 1e6, timeout }
    const { child, onLine, ended } = launch(hosts, launcher, 2, task)
    await new Promise<void>((resolve, reject) => {
      onLine(() => resolve())
      void ended.then(({ errors }) => reject(new Error(errors)))
    })
    const start = performance.now()
    cause(hosts)
    // Not until its output ends: connections of ssh outlive it if the link is cut.
    const exited = new Promise<number | null>((resolve) => child.once('exit', resolve))
    const code = await Promise.race([exited, setTimeout(1000 * patience, 'running' as const)])
    const seconds = (performance.now() - start) / 1000
    if (code !== 'running') await setTimeout(3000)
    const left = jobsOf(hosts).length
    child.kill('SIGKILL')
    await exited
    console.error(`${launcher}, ${event}: ${code} after ${seconds.toFixed(0)} s, ${left} processes`)
    failures.push({ launcher, event, code, seconds, left })
    hosts.setConnected(1, true)
    for (const pid of jobsOf(hosts)) process.kill(pid, 'SIGKILL')
  }
  return failures
}

const jobsOf = (hosts: Hosts): number[] => [0, 1].flatMap((host) => hosts.nodesOf(host))

/** Sends a signal to the process on the second host. */
function signal(hosts: Hosts, name: NodeJS.Signals): void {
  for (const pid of hosts.nodesOf(1)) process.kill(pid, name)
}
