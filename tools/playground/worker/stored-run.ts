import type { DataChoice, Form, Settings } from '../protocol.js'

/** Initial state of a training run, from which it can be started again. Its weights are stored separately, as checkpoints. */
export interface StoredRun {
  readonly model: File | string
  readonly form: Form
  readonly data: DataChoice
  readonly settings: Settings
}

const name = 'onnx-ire-playground'
const place = 'unfinished'

/** Reads the training run that was in progress when the page was last hidden; null if none is stored. */
export const readStoredRun = async (): Promise<StoredRun | null> =>
  (await within<StoredRun>('readonly', (store) => store.get(place))) ?? null
export const writeStoredRun = (begun: StoredRun): Promise<unknown> =>
  within('readwrite', (store) => store.put(begun, place))
export const deleteStoredRun = (): Promise<unknown> => within('readwrite', (store) => store.delete(place))

async function within<T>(
  mode: IDBTransactionMode,
  work: (store: IDBObjectStore) => IDBRequest,
): Promise<T | undefined> {
  const database = await opened()
  try {
    const transaction = database.transaction(place, mode)
    const request = work(transaction.objectStore(place))
    await new Promise<void>((resolve, reject) => {
      transaction.oncomplete = () => resolve()
      transaction.onabort = () => reject(transaction.error)
    })
    return request.result
  } finally {
    database.close()
  }
}

const opened = () =>
  new Promise<IDBDatabase>((resolve, reject) => {
    const request = indexedDB.open(name, 1)
    request.onupgradeneeded = () => request.result.createObjectStore(place)
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })
