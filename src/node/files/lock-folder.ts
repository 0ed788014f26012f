import { execFile } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { readFile, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { OnnxIreError } from '../../util/errors.js'
import { codeOf, readError } from './files.js'
import { isRunning, machine } from './temporary-files.js'

/** Name of the lock file in a locked folder. */
const lockName = 'lock.json'

/** Content of a lock file: the process that holds the lock. */
export interface LockHolder {
  readonly process: number
  /** Start time of the process, to recognize another process with its id; '' if it is unknown. */
  readonly started: string
  readonly host: string
  /** The system on which the process id has a meaning. */
  readonly machine: string
  /** Time of locking, for people. */
  readonly since: string
}

/** Seconds between two renewals of a lock. */
const renewal = 10
/** Seconds without a renewal after which a lock of another machine may be taken over. */
const expiry = 120

/**
 * Locks a folder for this process, by a file `lock.json`, and returns a function that unlocks it. The lock of a process
 * that no longer exists is taken over. Processes of another machine, or in another container, cannot be looked up:
 * their lock is taken over if it has not been renewed for two minutes.
 * @throws OnnxIreError `locked` naming the process that holds the lock, `io` if the folder is not writable or its lock
 * is not readable
 */
export async function lockFolder(folder: string): Promise<() => void> {
  const path = join(folder, lockName)
  const own = await describeHolder()
  let timer: NodeJS.Timeout | undefined
  const unlock = () => {
    clearInterval(timer)
    process.off('exit', unlock)
    release(path, own)
  }
  // The process may end as soon as the file exists.
  process.on('exit', unlock)
  try {
    const other = await acquire(path, own)
    if (other) throw lockedError(folder, path, other)
  } catch (error) {
    process.off('exit', unlock)
    throw error
  }
  timer = setInterval(() => {
    const now = new Date()
    utimes(path, now, now).catch(() => {})
  }, 1000 * renewal).unref()
  return unlock
}

/** The process that holds the lock of a folder; undefined if none does. */
export async function findHolder(folder: string): Promise<LockHolder | undefined> {
  const path = join(folder, lockName)
  // A lock that cannot be read is reported when it is needed.
  const text = await readComplete(path).catch(() => undefined)
  const holder = text === undefined ? undefined : parse(text)
  return holder && (await isHeld(path, holder)) ? holder : undefined
}

async function describeHolder(): Promise<string> {
  const started = (await startOf(process.pid)) ?? ''
  const since = new Date().toISOString()
  const holder: LockHolder = { process: process.pid, started, host: hostname(), machine, since }
  return `${JSON.stringify(holder)}\n`
}

/** Creates the lock file `path` with the content `own`. Returns the other holder of the lock, if there is one. */
async function acquire(path: string, own: string): Promise<LockHolder | undefined> {
  while (!(await create(path, own))) {
    const text = await readComplete(path)
    if (text === undefined) continue
    const other = parse(text)
    if (other && (await isHeld(path, other))) return other
    // One process at a time removes an abandoned lock, and only if its content is unchanged: another process may have
    // taken it over.
    const removal = `${path}.removal`
    if (await acquire(removal, own)) {
      await delay(20)
      continue
    }
    if ((await readFile(path, 'utf8').catch(() => undefined)) === text) await rm(path, { force: true })
    release(removal, own)
  }
  return undefined
}

function release(path: string, own: string): void {
  try {
    if (readFileSync(path, 'utf8') === own) rmSync(path, { force: true })
  } catch {
    // Another process has removed the file.
  }
}

/** Creates a file that does not exist yet. Returns false if it exists. */
async function create(path: string, content: string): Promise<boolean> {
  try {
    await writeFile(path, content, { flag: 'wx' })
    return true
  } catch (cause) {
    if (codeOf(cause) === 'EEXIST') return false
    await rm(path, { force: true }).catch(() => {}) // a full disk leaves an empty file
    throw new OnnxIreError('io', `cannot write ${path}: ${(cause as Error).message}`, { cause })
  }
}

/**
 * Reads a lock file, which another process may be writing or removing at the moment; undefined if it no longer exists.
 * Throws `io` if it cannot be read.
 */
async function readComplete(path: string): Promise<string | undefined> {
  for (let attempt = 1; ; attempt++) {
    const isLast = attempt === 10
    try {
      const text = await readFile(path, 'utf8')
      if (parse(text) || isLast) return text
    } catch (cause) {
      if (codeOf(cause) === 'ENOENT' || codeOf(cause) === 'ENOTDIR') return undefined
      if (isLast) throw readError('lock', path, cause)
    }
    await delay(50)
  }
}

function parse(text: string): LockHolder | undefined {
  try {
    const holder = JSON.parse(text) as Partial<LockHolder> | null
    if (Number.isSafeInteger(holder?.process) && typeof holder?.machine === 'string') return holder as LockHolder
  } catch {}
  return undefined
}

async function isHeld(path: string, { process: id, started, machine: other }: LockHolder): Promise<boolean> {
  if (other === machine) {
    const now = await startOf(id)
    return now !== undefined && (now === '' || started === '' || now === started)
  }
  const age = Date.now() - (await stat(path).catch(() => ({ mtimeMs: 0 }))).mtimeMs
  return age < 1000 * expiry
}

/**
 * Start time of a process in the system's own format: '' if it cannot be read, undefined if there is no such process.
 */
async function startOf(id: number): Promise<string | undefined> {
  if (!isRunning(id)) return undefined
  if (process.platform === 'win32') return ''
  if (process.platform !== 'linux')
    return promisify(execFile)('ps', ['-o', 'lstart=', '-p', String(id)]).then(
      ({ stdout }) => stdout.trim(),
      () => '',
    )
  const text = await readFile(`/proc/${id}/stat`, 'utf8').catch(() => '')
  // The fields after the name, which may contain spaces: state, ..., and the start time as the 20th.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return fields[0] === 'Z' ? undefined : (fields[19] ?? '')
}

function lockedError(folder: string, path: string, { process: id, host, since }: LockHolder): OnnxIreError {
  return new OnnxIreError(
    'locked',
    `${folder} is in use by process ${id} on ${host}, since ${since}: wait until it ends, or choose another folder; if ` +
      `there is no such process, remove ${path}`,
  )
}
