import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { RequirementName } from '../../requirements.js'

/** The launchers that the tests use: the program, by the requirement for it. */
export const launchers = { 'Open MPI': 'mpirun.openmpi', MPICH: 'mpiexec.mpich' } as const satisfies Partial<
  Record<RequirementName, string>
>

export type LauncherName = keyof typeof launchers

const root = fileURLToPath(new URL('../../..', import.meta.url))

/** Starts one thread per process, on machines with fewer cores than processes too, and as root. */
const environment = {
  ...process.env,
  ORT_DISABLE_TELEMETRY: '1',
  OMPI_ALLOW_RUN_AS_ROOT: '1',
  OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1',
  OMPI_MCA_rmaps_base_oversubscribe: '1',
  // A process that waits leaves its core to others.
  OMPI_MCA_mpi_yield_when_idle: '1',
}

/** An MPI job of Node processes. */
export interface Job {
  readonly pid: number
  /** The job's exit code and output, after its end. */
  readonly ended: Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }>
  /** Ends the job, if it has not ended. */
  stop(): void
}

/** Starts `ranks` processes `node ...args`, in the root folder of the package. */
export function startJob(
  launcher: LauncherName,
  ranks: number,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Job {
  const child = spawn(launchers[launcher], ['-n', String(ranks), process.execPath, ...args], {
    cwd: root,
    env: { ...environment, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let [stdout, stderr] = ['', '']
  child.stdout.on('data', (text) => (stdout += text))
  child.stderr.on('data', (text) => (stderr += text))
  return {
    pid: child.pid!,
    ended: new Promise((resolve, reject) => {
      child.on('error', reject)
      child.on('close', (code) => resolve({ code, stdout, stderr }))
    }),
    stop: () => void child.kill(),
  }
}

/** Arguments of Node for a module whose text is given; `onnx-ire` in it is this package. */
export const script = (text: string): readonly string[] => ['--input-type=module', '--eval', text]

/** Runs a job and returns its exit code and output. */
export const runJob = (...job: Parameters<typeof startJob>): Job['ended'] => startJob(...job).ended

/** The JSON lines of a job's output, by rank. */
export const linesOf = <T extends { readonly rank: number }>(stdout: string): T[] =>
  stdout
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as T)
    .sort((a, b) => a.rank - b.rank)
