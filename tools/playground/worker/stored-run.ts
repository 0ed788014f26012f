import { OnnxIreError } from 'onnx-ire'
import { storage } from 'onnx-ire/web'
import type { DataChoice, Form, Settings } from '../protocol.js'

/**
 * Initial state of a training run, from which it can be started again. Its weights are stored separately, as
 * checkpoints.
 */
export interface StoredRun {
  readonly id: string
  readonly model: File | string
  readonly form: Form
  readonly data: DataChoice
  readonly settings: Settings
  /** Time of storing, in milliseconds. */
  readonly storedAt: number
}

const root = 'playground'
const database = 'onnx-ire-playground'
const table = 'unfinished'

/** Folder of the checkpoints of a training run. */
export const checkpointRoot = (id: string): string => `${root}/${id}`

/** Reads a training run that was in progress when its page was last hidden; undefined if it is not stored. */
export const readStoredRun = (id: string): Promise<StoredRun | undefined> =>
  access<StoredRun>('readonly', (store) => store.get(id))

/** @throws 'io' if the storage is full */
export async function writeStoredRun(run: StoredRun): Promise<void> {
  try {
    await access('readwrite', (store) => store.put(run))
  } catch (cause) {
    if ((cause as Partial<DOMException>).name !== 'QuotaExceededError') throw cause
    throw new OnnxIreError('io', "the browser's storage for this site is full; free some disk space", { cause })
  }
}

/** Deletes a training run and its checkpoints. */
export async function deleteStoredRun(id: string): Promise<void> {
  await access('readwrite', (store) => store.delete(id))
  await storage.remove(checkpointRoot(id))
}

/**
 * Returns the training runs that no tab is training, newest first, and deletes checkpoints of runs that are not stored,
 * which remain if a page is closed before its run is stored.
 */
export async function findUnfinishedRuns(): Promise<StoredRun[]> {
  // In this order: a run without a lock is final, so a run that is missing from the database then is not stored.
  const folders = await storage.list(root)
  const locked = new Set<string>()
  for (const id of folders) if (!(await isFree(id))) locked.add(id)
  const runs = (await access<StoredRun[]>('readonly', (store) => store.getAll())) ?? []
  const stored = new Set(runs.map(({ id }) => id))
  for (const id of folders) if (!stored.has(id) && !locked.has(id)) await storage.remove(checkpointRoot(id))
  return runs.filter(({ id }) => folders.includes(id) && !locked.has(id)).sort((a, b) => b.storedAt - a.storedAt)
}

/** Milliseconds to wait for a lock: the worker of a page that was just closed may still hold it. */
const lockTimeout = 1000

/**
 * Locks a training run for this tab and returns a function that unlocks it; null if another tab has locked it. The end
 * of the page unlocks it too. Without Web Locks a browser cannot store training runs either.
 */
export async function lockRun(id: string): Promise<(() => void) | null> {
  const { locks } = navigator as Partial<Navigator>
  if (!locks) return () => {}
  return new Promise((resolve, reject) => {
    locks
      .request(
        `${database} ${id}`,
        { signal: AbortSignal.timeout(lockTimeout) },
        () => new Promise<void>((unlock) => resolve(unlock)),
      )
      .catch((error: DOMException) => (error.name === 'TimeoutError' ? resolve(null) : reject(error)))
  })
}

async function isFree(id: string): Promise<boolean> {
  const unlock = await lockRun(id)
  unlock?.()
  return unlock !== null
}

async function access<T>(
  mode: IDBTransactionMode,
  work: (store: IDBObjectStore) => IDBRequest,
): Promise<T | undefined> {
  const opened = await openDatabase()
  try {
    const transaction = opened.transaction(table, mode)
    const request = work(transaction.objectStore(table))
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
    const request = indexedDB.open(database, 2)
    request.onupgradeneeded = () => {
      // Version 1 had one run for all tabs.
      if (request.result.objectStoreNames.contains(table)) request.result.deleteObjectStore(table)
      request.result.createObjectStore(table, { keyPath: 'id' })
    }
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })
