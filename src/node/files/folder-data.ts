import { closeSync, constants, fstatSync, openSync, readSync, realpathSync, statSync } from 'node:fs'
import { dirname, isAbsolute, relative, resolve, sep } from 'node:path'
import { checkLocation, type ExternalData } from '../../onnx/proto/external-data.js'
import { OnnxIreError } from '../../util/errors.js'
import { codeOf, reasonOf } from './files.js'

/** Properties of a file that change if it is replaced or modified. */
interface Identity {
  readonly inode: number
  readonly size: number
  readonly modified: number
}

/**
 * External data files in a model's folder, read in pieces on demand. Files outside the folder, by their path or through
 * links, are rejected, and so are files that changed since they were first read.
 */
export class FolderData implements ExternalData {
  /** Absolute path of the model's file. */
  readonly model: string
  readonly folder: string
  readonly #seen = new Map<string, Identity>()

  constructor(model: string) {
    this.model = resolve(model)
    this.folder = dirname(this.model)
  }

  /** Absolute paths of the data files that were read or watched so far. */
  get files(): readonly string[] {
    return [...this.#seen.keys()].map((location) => resolve(this.folder, location))
  }

  /** Records the present state of a data file; a missing file causes an error only when it is read. */
  watch(location: string): void {
    try {
      checkLocation(location)
      const { ino, size, mtimeMs } = statSync(resolve(this.folder, location))
      this.#seen.set(location, { inode: ino, size, modified: mtimeMs })
    } catch {
      this.#seen.delete(location)
    }
  }

  folderOf(location: string): string | undefined {
    const seen = this.#seen.get(location)
    try {
      const { ino, size, mtimeMs } = statSync(this.#resolve(location))
      const isSame = seen?.inode === ino && seen.size === size && seen.modified === mtimeMs
      return isSame ? this.folder : undefined
    } catch {
      return undefined
    }
  }

  read(location: string, offset: number, length: number | undefined): Uint8Array {
    const path = this.#resolve(location)
    let file: number | null = null
    try {
      // The path is real: a link is one that replaced the file since. Opening a pipe must not wait for its writer.
      file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
      const found = fstatSync(file)
      if (!found.isFile()) throw new OnnxIreError('external-data', `external data path ${path} is not a file`)
      const { ino, size, mtimeMs } = found
      this.#check(location, { inode: ino, size, modified: mtimeMs })
      const end = length === undefined ? size : offset + length
      if (offset > size || end > size) {
        throw new OnnxIreError(
          'external-data',
          `external data file ${path} is too short: it has ${size} bytes, but bytes ${offset} to ${end} are needed; download it again`,
        )
      }
      return readAt(file, offset, end - offset)
    } catch (error) {
      throw error instanceof OnnxIreError ? error : unreadable(path, error)
    } finally {
      if (file !== null) closeSync(file)
    }
  }

  /** Resolves a location to a file inside the folder. */
  #resolve(location: string): string {
    checkLocation(location)
    if (process.platform === 'win32' && isDeviceName(location))
      throw new OnnxIreError('external-data', `external data file ${location} is rejected: it is a device of Windows`)
    const path = resolve(this.folder, location)
    try {
      const real = realpathSync(path)
      const inside = relative(realpathSync(this.folder), real)
      if (inside === '..' || inside.startsWith(`..${sep}`) || isAbsolute(inside)) {
        throw new OnnxIreError(
          'external-data',
          `external data file ${path} is rejected: it is a link to ${real}, outside the model's folder; copy the file into the folder`,
        )
      }
      return real
    } catch (error) {
      if (codeOf(error) === 'ENOENT' && this.#seen.has(location)) throw stale(location)
      throw error instanceof OnnxIreError ? error : unreadable(path, error)
    }
  }

  #check(location: string, now: Identity): void {
    const seen = this.#seen.get(location)
    if (!seen) {
      this.#seen.set(location, now)
    } else if (seen.inode !== now.inode || seen.size !== now.size || seen.modified !== now.modified) {
      throw stale(location)
    }
  }
}

/** Whether Windows reads a path as a device, such as `NUL` or `data/com1.bin`. */
export const isDeviceName = (path: string): boolean =>
  /(^|[/\\])(con|prn|aux|nul|com\d|lpt\d)\s*([.:][^/\\]*)?$/i.test(path)

const stale = (location: string): OnnxIreError =>
  new OnnxIreError(
    'external-data',
    `external data file ${location} has changed since the model was read; read the model again`,
  )

function readAt(file: number, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let at = 0; at < length; ) {
    const count = readSync(file, bytes, at, Math.min(length - at, 2 ** 30), offset + at)
    if (count === 0) throw new OnnxIreError('external-data', 'the external data file was truncated while it was read')
    at += count
  }
  return bytes
}

function unreadable(path: string, cause: unknown): OnnxIreError {
  const reason = reasonOf(cause, {
    ENOENT: 'it does not exist; put it next to the model',
    ENOTDIR: 'it does not exist; put it next to the model',
    EACCES: 'permission denied; change its permissions',
    ELOOP: 'its symbolic links form a cycle, or a link replaced the file while it was opened',
    ENXIO: 'it is not a file',
  })
  return new OnnxIreError('external-data', `cannot read external data file ${path}: ${reason}`, { cause })
}
