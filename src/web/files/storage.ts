import { OnnxIreError } from '../../util/errors.js'
import { getOwn } from '../../util/record.js'

/** Content of a file to write. */
export type Content = Uint8Array | Blob

/**
 * The origin's private file system (OPFS): folders and files that only pages of this origin can access and that survive
 * a reload. Paths are like 'runs/digits.onnx'. The browser may clear it when disk space runs short, unless
 * `navigator.storage.persist()` was granted.
 * @example
 * await storage.write('models/digits.onnx', file)
 * const model = await readModel(await storage.read('models/digits.onnx'))
 */
export const storage = {
  /** Returns a file in its current state. @throws OnnxIreError `io` with the reason */
  async read(path: string): Promise<File> {
    const { folder, name } = splitPath(path)
    try {
      return await (await (await openFolder(folder, false)).getFileHandle(name)).getFile()
    } catch (cause) {
      throw storageError('read', path, cause)
    }
  },

  /**
   * Writes a file and creates its folders. An existing file is replaced atomically when all bytes are written: a
   * failure or a crash leaves it intact.
   * @throws OnnxIreError `io` with the reason
   */
  async write(path: string, content: Content): Promise<void> {
    const { folder, name } = splitPath(path)
    try {
      const parent = await openFolder(folder, true)
      const isNew = !(await hasFile(parent, name))
      const file = await parent.getFileHandle(name, { create: true })
      try {
        await replaceFile(file, content)
      } catch (error) {
        // A new file is empty until its content is committed.
        if (isNew) await parent.removeEntry(name).catch(() => {})
        throw error
      }
    } catch (cause) {
      throw storageError('write', path, cause)
    }
  },

  /**
   * Returns the sorted names of the entries of a folder; empty if the folder does not exist. @throws OnnxIreError `io`
   */
  async list(path: string): Promise<string[]> {
    try {
      const names: string[] = []
      for await (const name of (await openFolder(partsOf(path), false)).keys()) names.push(name)
      return names.sort()
    } catch (cause) {
      if (isMissing(cause)) return []
      throw storageError('read', path, cause)
    }
  },

  /** Removes a file, or a folder with its content; does nothing if it does not exist. @throws OnnxIreError `io` */
  async remove(path: string): Promise<void> {
    const { folder, name } = splitPath(path)
    try {
      await (await openFolder(folder, false)).removeEntry(name, { recursive: true })
    } catch (cause) {
      if (!isMissing(cause)) throw storageError('remove', path, cause)
    }
  },
}

/** Replaces a file atomically: closing the writable stream commits its content. */
export async function replaceFile(file: FileSystemFileHandle, content: Content): Promise<void> {
  if (!(file as Partial<FileSystemFileHandle>).createWritable)
    throw new Error('this browser has no FileSystemFileHandle.createWritable; Safari has it from 26 on')
  const writable = await file.createWritable()
  try {
    // Typed arrays over shared memory are not accepted.
    await writable.write(
      content instanceof Blob || content.buffer instanceof ArrayBuffer
        ? (content as Blob | Uint8Array<ArrayBuffer>)
        : new Uint8Array(content),
    )
  } catch (error) {
    await writable.abort().catch(() => {})
    throw error
  }
  await writable.close()
}

const partsOf = (path: string): string[] => path.split('/').filter((part) => part !== '')

function splitPath(path: string): { folder: string[]; name: string } {
  const folder = partsOf(path)
  const name = folder.pop()
  if (name === undefined)
    throw new OnnxIreError('invalid-option', `'${path}' is not the path of a file, such as 'runs/digits.onnx'`)
  return { folder, name }
}

async function openFolder(parts: readonly string[], create: boolean): Promise<FileSystemDirectoryHandle> {
  const { storage } = navigator as Partial<Navigator>
  if (!(storage as Partial<StorageManager> | undefined)?.getDirectory)
    throw new Error(
      globalThis.isSecureContext === false
        ? 'the page is neither from https nor from localhost, so it has no private file system'
        : 'this browser has no private file system (navigator.storage.getDirectory)',
    )
  let folder = await storage!.getDirectory()
  for (const part of parts) folder = await folder.getDirectoryHandle(part, { create })
  return folder
}

const hasFile = (folder: FileSystemDirectoryHandle, name: string): Promise<boolean> =>
  folder.getFileHandle(name).then(
    () => true,
    (cause) => {
      if (isMissing(cause)) return false
      throw cause
    },
  )

/**
 * Milliseconds to wait for a lock: a worker that a reload has just terminated may still hold it. Chromium gives a worker
 * two seconds to end.
 */
const lockTimeout = 4000

/**
 * Locks a path for writing across all pages and workers of the origin, and returns a function that unlocks it. The end
 * of the page or worker unlocks it too. Without Web Locks, in old browsers, nothing is locked.
 * @throws OnnxIreError `locked` if another page or worker has locked it
 */
export async function lockPath(path: string): Promise<() => void> {
  const { locks } = navigator as Partial<Navigator>
  if (!locks) return () => {}
  return new Promise((resolve, reject) => {
    const held = () => new Promise<void>((unlock) => resolve(unlock))
    locks
      .request(`onnx-ire ${partsOf(path).join('/')}`, { signal: AbortSignal.timeout(lockTimeout) }, held)
      .catch((cause: unknown) =>
        reject(
          (cause as Partial<DOMException>).name === 'TimeoutError'
            ? new OnnxIreError(
                'locked',
                `another page or worker writes to ${path}: end its training run, or use one folder per run`,
                { cause },
              )
            : storageError('lock', path, cause),
        ),
      )
  })
}

const isMissing = (cause: unknown): boolean => cause instanceof DOMException && cause.name === 'NotFoundError'

const makeRoom = 'remove files of this site, keep fewer checkpoints or free disk space'

const reasons: Readonly<Record<string, string>> = {
  NotFoundError: 'there is no such file',
  TypeMismatchError: 'a folder was found instead of a file, or a file instead of a folder',
  QuotaExceededError: `the browser's storage for this site is full; ${makeRoom}`,
  // Chromium's name for some writes beyond the quota; its `navigator.storage.estimate()` does not contain the real
  // quota.
  AbortError: `the browser ended the access, as it does if its storage for this site is full; ${makeRoom}`,
  NoModificationAllowedError: 'another page or worker has it open; close it there',
  InvalidModificationError: 'another page or worker has it open; close it there',
  SecurityError: 'the browser does not allow this page to store data: it may be a private window, or not be from https',
  NotAllowedError: 'the browser does not allow this page to store data',
  // WebKit's name if data is not kept.
  UnknownError: 'the browser failed to store data, as Safari does in private windows',
}

/** Creates the `io` error for a failed access to the private file system. */
export function storageError(what: string, path: string, cause: unknown): OnnxIreError {
  if (cause instanceof OnnxIreError) return cause
  const { name = '', message = String(cause) } = cause as Partial<DOMException>
  return new OnnxIreError('io', `cannot ${what} ${path}: ${getOwn(reasons, name) ?? message}`, { cause })
}
