import { OnnxIreError } from 'onnx-ire'
import { storage } from 'onnx-ire/web'
import type { ContenderName, ContenderResult, DataChoice, Form, ProgressEvent, Settings } from '../protocol.js'
import { readForm } from './form.js'

/** A training run in the storage of this browser. Its files, checkpoints or tuned models, are in its folder. */
export interface StoredRun {
  readonly id: string
  /** File name of the model that it started from. */
  readonly model: string
  readonly form: Form
  /** Null until its training begins. */
  readonly settings: Settings | null
  /** Progress until it was stored. */
  readonly history: readonly ProgressEvent[]
  /** Time of its beginning, in milliseconds. */
  readonly startedAt: number
  /** Result of the run; null until it ends. */
  readonly finished: StoredResult | null
}

export interface StoredResult {
  /** Time of its end, in milliseconds. */
  readonly at: number
  readonly classes: readonly string[]
  readonly results: Readonly<Partial<Record<ContenderName, ContenderResult>>>
}

/** Model and data of a run, stored apart from its description since they may be large. */
export interface RunContents {
  readonly source: File | string
  readonly data: DataChoice
}

const root = 'playground'
const database = 'onnx-ire-playground'
const tables = { runs: 'runs', contents: 'contents' } as const
type Table = keyof typeof tables

/** Folder of the checkpoints of a training run and of its tuned models. */
export const runFolder = (id: string): string => `${root}/${id}`

/** Path of a tuned model of a finished run. */
export const tunedPath = (id: string, contender: ContenderName): string => `${runFolder(id)}/${contender}.onnx`

/** Reads a training run; undefined if it is not stored. */
export async function readStoredRun(id: string): Promise<(StoredRun & RunContents) | undefined> {
  const [run, contents] = await Promise.all([
    access<StoredRun>('readonly', ['runs'], (table) => table('runs').get(id)),
    access<RunContents>('readonly', ['contents'], (table) => table('contents').get(id)),
  ])
  return run && contents && { ...run, form: readForm(run.form), ...contents }
}

/**
 * Stores a training run, or its new description if `contents` is omitted.
 * @throws 'io' if the storage is full
 */
export async function writeStoredRun(run: StoredRun, contents?: RunContents): Promise<void> {
  try {
    await access('readwrite', contents ? ['runs', 'contents'] : ['runs'], (table) => {
      if (contents) table('contents').put({ id: run.id, ...contents })
      return table('runs').put(run)
    })
  } catch (cause) {
    if ((cause as Partial<DOMException>).name !== 'QuotaExceededError') throw cause
    throw new OnnxIreError('io', "the browser's storage for this site is full; free some disk space", { cause })
  }
}

/** Deletes a training run and its files. */
export async function deleteStoredRun(id: string): Promise<void> {
  await access('readwrite', ['runs', 'contents'], (table) => {
    table('contents').delete(id)
    return table('runs').delete(id)
  })
  await storage.remove(runFolder(id))
}

/** Returns the finished training runs, newest first. */
export async function findFinishedRuns(): Promise<(StoredRun & { readonly finished: StoredResult })[]> {
  const runs = (await listRuns()).filter((run): run is StoredRun & { finished: StoredResult } => run.finished !== null)
  return runs.sort((a, b) => b.finished.at - a.finished.at)
}

/**
 * Returns the unfinished training runs that no tab is training, newest first, and deletes files of runs that are not
 * stored, which remain if a page is closed while its run is deleted.
 */
export async function findUnfinishedRuns(): Promise<StoredRun[]> {
  // Files are read first: a run is in the database before it has files.
  const folders = await storage.list(root)
  const runs = await listRuns()
  const stored = new Set(runs.map(({ id }) => id))
  for (const id of folders) if (!stored.has(id) && (await isFree(id))) await storage.remove(runFolder(id))
  const free = await Promise.all(runs.map(async (run) => run.finished === null && (await isFree(run.id))))
  return runs.filter((_, i) => free[i]).sort((a, b) => b.startedAt - a.startedAt)
}

const listRuns = async (): Promise<StoredRun[]> =>
  (await access<StoredRun[]>('readonly', ['runs'], (table) => table('runs').getAll())) ?? []

/**
 * Milliseconds to wait for a lock: the worker of a page that was just closed may still hold it. Chromium gives a worker
 * two seconds to end.
 */
const lockTimeout = 4000

/**
 * Locks a training run for this tab and returns a function that unlocks it; null if another tab has locked it. The end
 * of the page unlocks it too. Without Web Locks a browser cannot store training runs either.
 */
export async function lockRun(id: string): Promise<(() => void) | null> {
  const { locks } = navigator as Partial<Navigator>
  if (!locks) return () => {}
  const attempt = () =>
    new Promise<(() => void) | null>((resolve, reject) => {
      const hold = (lock: Lock | null) =>
        lock ? new Promise<void>((unlock) => resolve(unlock)) : Promise.resolve(resolve(null))
      locks.request(`${database} ${id}`, { ifAvailable: true }, hold).catch(reject)
    })
  const start = performance.now()
  let unlock = await attempt()
  while (!unlock && performance.now() - start < lockTimeout) {
    await new Promise((resolve) => setTimeout(resolve, 100))
    unlock = await attempt()
  }
  return unlock
}

async function isFree(id: string): Promise<boolean> {
  const unlock = await lockRun(id)
  unlock?.()
  return unlock !== null
}

async function access<T>(
  mode: IDBTransactionMode,
  names: readonly Table[],
  work: (table: (name: Table) => IDBObjectStore) => IDBRequest,
): Promise<T | undefined> {
  const opened = await openDatabase()
  try {
    const transaction = opened.transaction(names, mode)
    const request = work((name) => transaction.objectStore(tables[name]))
    await new Promise<void>((resolve, reject) => {
      transaction.oncomplete = () => resolve()
      transaction.onabort = () => reject(transaction.error)
    })
    return request.result
  } finally {
    opened.close()
  }
}

const openDatabase = () =>
  new Promise<IDBDatabase>((resolve, reject) => {
    const request = indexedDB.open(database, 3)
    request.onupgradeneeded = () => {
      // Earlier versions kept model and data in the description of a run.
      for (const name of request.result.objectStoreNames) request.result.deleteObjectStore(name)
      for (const name of Object.values(tables)) request.result.createObjectStore(name, { keyPath: 'id' })
    }
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })
