import { type ChildProcess, spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Hosts } from './hosts.js'
import type { Measured, Task } from './job.js'

export const launchers = ['Open MPI', 'MPICH'] as const
export type Launcher = (typeof launchers)[number]

const root = fileURLToPath(new URL('../..', import.meta.url))

/** A running job. */
export interface Job {
  readonly child: ChildProcess
  /** Calls `listener` with each line of JSON that rank 0 prints. */
  onLine(listener: (value: Partial<Measured>) => void): void
  /** The exit code of the launcher, and what it and the processes wrote to standard error. */
  readonly ended: Promise<{ readonly code: number | null; readonly errors: string }>
}

/** Starts a job of one process on each of the first `size` hosts. */
export function launch(hosts: Hosts, launcher: Launcher, size: number, task: Task): Job {
  const names = hosts.addresses.slice(0, size)
  const file = join(hosts.folder, 'hosts')
  const where = ['-n', String(size), ...(launcher === 'MPICH' ? mpichOptions() : openMpiOptions())]
  const program = launcher === 'MPICH' ? 'mpiexec.mpich' : 'mpirun.openmpi'
  return start(...hosts.onFirst([program, ...where, process.execPath, ...jobArgs(task)]))

  function mpichOptions(): string[] {
    writeFileSync(file, names.map((name) => `${name}:1\n`).join(''))
    const ssh = join(hosts.folder, 'ssh')
    writeFileSync(ssh, `#!/bin/sh\nexec ssh ${hosts.sshOptions.join(' ')} "$@"\n`, { mode: 0o755 })
    return `-launcher ssh -launcher-exec ${ssh} -f ${file} -iface eth0 -genv UCX_TLS tcp,self -genv UCX_NET_DEVICES eth0 -wdir ${root}`.split(
      ' ',
    )
  }

  function openMpiOptions(): string[] {
    writeFileSync(file, names.map((name) => `${name} slots=1\n`).join(''))
    const parameters = {
      btl: 'tcp,self',
      btl_tcp_if_include: 'eth0',
      oob_tcp_if_include: 'eth0',
      mpi_yield_when_idle: '1',
    }
    const options = Object.entries({ ...parameters, plm_rsh_args: hosts.sshOptions.join(' ') })
    return [
      ...`--allow-run-as-root --hostfile ${file} --bind-to none --wdir ${root}`.split(' '),
      ...options.flatMap(([name, value]) => ['--mca', name, value]),
    ]
  }
}

/** Starts a job of Open MPI with `size` processes on this machine. */
export function launchHere(size: number, task: Task): Job {
  const where = `--allow-run-as-root --oversubscribe --bind-to none --mca mpi_yield_when_idle 1 -n ${size}`
  return start('mpirun.openmpi', [...where.split(' '), process.execPath, ...jobArgs(task)])
}

/** Starts a job of one process, without MPI. */
export const startAlone = (task: Task): Job => start(process.execPath, jobArgs(task))

/** Returns what a job has measured. */
export async function measure({ onLine, ended }: Job): Promise<Measured> {
  let measured: Partial<Measured> = {}
  onLine((value) => (measured = value))
  const { code, errors } = await ended
  if (code !== 0) throw new Error(`the job ended with exit code ${code}: ${errors}`)
  return measured as Measured
}

function jobArgs(task: Task): string[] {
  return ['--import', 'tsx', join(root, 'tools/scale-out/job.ts'), JSON.stringify(task)]
}

function start(program: string, args: readonly string[]): Job {
  const child = spawn(program, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] })
  let errors = ''
  let rest = ''
  const listeners: ((value: Partial<Measured>) => void)[] = []
  child.stderr.on('data', (text) => (errors += text))
  child.stdout.on('data', (text) => {
    const lines = `${rest}${text}`.split('\n')
    rest = lines.pop()!
    for (const line of lines) if (line.startsWith('{')) for (const each of listeners) each(JSON.parse(line))
  })
  return {
    child,
    onLine: (listener) => void listeners.push(listener),
    ended: new Promise((resolve, reject) => {
      child.on('error', reject)
      child.on('close', (code) => resolve({ code, errors }))
    }),
  }
}
