import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { basename, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const program = fileURLToPath(new URL('../../../dist/cli/bin.js', import.meta.url))

/** A command of the CLI that has ended. */
export interface Finished {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** A running command of the CLI. */
export interface Running {
  readonly process: ChildProcess
  readonly finished: Promise<Finished>
}

/**
 * Starts a command of the CLI in a process of its own.
 * @param shell a shell script that runs the command as "$@", to set limits or to redirect; default: no shell
 */
export function start(args: readonly string[], shell?: string): Running {
  const command = [process.execPath, program, ...args]
  const [file, ...rest] = shell === undefined ? command : ['sh', '-c', shell, 'sh', ...command]
  const child = spawn(file!, rest, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NODE_OPTIONS: '' },
  })
  let [stdout, stderr] = ['', '']
  child.stdout!.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  const finished = new Promise<Finished>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }))
  })
  return { process: child, finished }
}

export const run = (args: readonly string[], shell?: string): Promise<Finished> => start(args, shell).finished

/** Digests of all files of a folder, by relative path. */
export async function digestFolder(folder: string): Promise<Record<string, string>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  const digests = await Promise.all(
    paths.map(async (path) => {
      const bytes = await readFile(path)
      const content = comparable[basename(path)]?.(bytes.toString()) ?? bytes
      return [relative(folder, path), createHash('sha256').update(content).digest('hex').slice(0, 16)] as const
    }),
  )
  return Object.fromEntries(digests.sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** The parts of files that do not depend on time and place. */
const comparable: Readonly<Record<string, (text: string) => string>> = {
  'metrics.jsonl': (text) => comparableLog(text),
  // The path of the run folder, which is another one for each case.
  'run.json': (text) => text.replace(/"folder": "[^"]*"/, '"folder": ""'),
}

/**
 * A log without its times and the memory of the process, without warnings of little room on the disk, and without the
 * metrics up to an interrupt: a line of an interval that was not validated, in a run with validation data.
 */
const comparableLog = (log: string): string =>
  log
    .split('\n')
    .filter((line) => !line.startsWith('{"kind":"warning"') || !line.includes('the disk of'))
    .filter((line) => !line.startsWith('{"kind":"epoch"') || line.includes('"validation"'))
    .map((line) => line.replace(/"(seconds|secondsPerStep|memory|time)":[^,}]*/g, '"$1":0'))
    .join('\n')

/** Differences of two folders by their digests, in words; empty if they are equal. */
export function compareDigests(found: Readonly<Record<string, string>>, expected: Readonly<Record<string, string>>) {
  const more = Object.keys(found).filter((path) => !(path in expected))
  const less = Object.keys(expected).filter((path) => !(path in found))
  const other = Object.keys(expected).filter((path) => path in found && found[path] !== expected[path])
  return { more, less, other }
}
