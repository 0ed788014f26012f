import { constants } from 'node:fs'
import { type FileHandle, open, readlink, realpath, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { builtInType } from '../../util/bytes.js'
import { describeValue } from '../../util/check.js'
import { messageOf, OnnxIreError } from '../../util/errors.js'
import { getOwn } from '../../util/record.js'
import { temporaryName } from './temporary-files.js'

/** Content of a file: text, bytes, or bytes in chunks. */
type FileContent = string | Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>

/** A completely written temporary file that can replace its target. */
export interface StagedFile {
  /** Atomically replaces the target. */
  commit(): Promise<void>
  /** Removes the temporary file. Does nothing after `commit`. */
  discard(): Promise<void>
}

/**
 * Writes a file atomically: its path holds either the previous content or all of `content`, never a part.
 * @throws OnnxIreError `io` with the reason, leaving no temporary file; an error thrown by `content` passes through
 */
export async function writeFileAtomic(path: string, content: FileContent): Promise<void> {
  const staged = await stageFile(path, content)
  await commitAll([staged])
}

/** Commits files in order; if one fails, the remaining ones are discarded. */
export async function commitAll(files: readonly StagedFile[]): Promise<void> {
  try {
    for (const file of files) await file.commit()
  } finally {
    for (const file of files) await file.discard()
  }
}

/** Writes `content` to disk under a temporary name next to `path`. */
export async function stageFile(path: string, content: FileContent): Promise<StagedFile> {
  const { target, mode } = await targetOf(path)
  const temporary = join(dirname(target), temporaryName())
  const discard = () => rm(temporary, { force: true })
  try {
    const file = await attempt(target, () => open(temporary, 'wx', mode))
    try {
      // The mask of this process is for new files. Some file systems have no modes.
      if (mode !== undefined) await file.chmod(mode).catch(() => {})
      for await (const block of blocksOf(content)) await attempt(path, () => writeAll(file, block))
      await attempt(path, () => file.sync())
    } finally {
      await file.close()
    }
  } catch (error) {
    await discard()
    throw error
  }
  return {
    discard,
    commit: () =>
      attempt(path, async () => {
        await rename(temporary, target)
        await syncFolder(dirname(target))
      }),
  }
}

/**
 * Path of a file from text or a `file:` URL. Throws `invalid-option` for other values.
 * @param owner function with the parameter, for the message
 * @param remedy what to call for other values
 */
export function pathOf(owner: string, path: string | URL, remedy: string): string {
  const isAddress = path instanceof URL ? path.protocol !== 'file:' : /^https?:\/\//.test(path)
  if (typeof path === 'string' && !isAddress) return path
  if (path instanceof URL && !isAddress) return fileURLToPath(path)
  const shown = isAddress ? `the address ${path}` : describeValue(path)
  throw new OnnxIreError('invalid-option', `${owner}: the path is ${shown}; pass text or a file URL${remedy}`)
}

/** Checks that a path is free or a regular file, which can be replaced. Throws `io`. */
export async function checkTarget(path: string): Promise<void> {
  const found = await stat(path).catch(() => null)
  if (found && !found.isFile()) throw noFileError(path)
}

const noFileError = (path: string): OnnxIreError =>
  new OnnxIreError('io', `cannot write ${path}: it exists and is not a file; choose another name`)

/**
 * Resolves links of a path, also those to a file that does not exist yet, and returns the mode of the existing file, if
 * there is one. Throws `io` if something other than a file exists there.
 */
async function targetOf(path: string): Promise<{ target: string; mode?: number }> {
  try {
    const found = await stat(path)
    if (!found.isFile()) throw noFileError(path)
    return { target: await realpath(path), mode: found.mode & 0o777 }
  } catch (error) {
    if (codeOf(error) === 'ENOENT') {
      const link = await readlink(path).catch(() => null)
      return link === null ? { target: path } : targetOf(resolve(await realpath(dirname(path)), link))
    }
    throw error instanceof OnnxIreError ? error : writeError(path, error)
  }
}

/** Whether content is bytes: a Buffer too, in any realm. */
const isBytes = (content: FileContent): content is Uint8Array => builtInType(content) === 'Uint8Array'

/** Content in blocks that are worth a system call: small chunks are collected, large ones passed on. */
async function* blocksOf(content: FileContent): AsyncGenerator<Uint8Array> {
  if (typeof content === 'string' || isBytes(content)) {
    yield typeof content === 'string' ? Buffer.from(content) : content
    return
  }
  const block = new Uint8Array(2 ** 20)
  let used = 0
  for await (const chunk of content) {
    if (used + chunk.length > block.length) {
      yield block.subarray(0, used)
      used = 0
    }
    if (chunk.length > block.length) {
      yield chunk
    } else {
      block.set(chunk, used)
      used += chunk.length
    }
  }
  yield block.subarray(0, used)
}

/** Writes a chunk completely: one system call writes at most 2 GiB and may write less than requested. */
async function writeAll(file: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let at = 0; at < chunk.length; ) {
    const { bytesWritten } = await file.write(chunk, at, Math.min(chunk.length - at, 2 ** 30))
    at += bytesWritten
  }
}

/** Syncs a folder, so that its new entries survive a power failure, on systems that support it. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r').catch(() => null)
  await folder?.sync().catch(() => {})
  await folder?.close()
}

/**
 * Opens a regular file for reading. Folders, pipes, sockets and devices are refused: reading them may block or never
 * end. Throws `io`.
 * @param what kind of file, for the message: 'model', 'recipe'
 * @param reasons explanations of error codes that are specific to this kind of file
 */
export async function openRegularFile(
  what: string,
  path: string | URL,
  reasons: Readonly<Record<string, string>> = {},
): Promise<FileHandle> {
  let file: FileHandle | undefined
  try {
    // Without O_NONBLOCK, which Windows lacks, opening a pipe waits for its writer.
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const found = await file.stat()
    if (!found.isFile()) throw Object.assign(new Error(), { code: found.isDirectory() ? 'EISDIR' : notRegular })
    return file
  } catch (cause) {
    await file?.close()
    throw readError(what, String(path), cause, reasons)
  }
}

/** Error code of a socket that is opened; pipes and devices get it too. */
const notRegular = 'ENXIO'

/** Reads a regular file as a whole. Throws `io`. */
export async function readRegularFile(
  what: string,
  path: string | URL,
  reasons: Readonly<Record<string, string>> = {},
): Promise<Buffer> {
  const file = await openRegularFile(what, path, reasons)
  try {
    return await file.readFile()
  } catch (cause) {
    throw readError(what, String(path), cause, reasons)
  } finally {
    await file.close()
  }
}

async function attempt<T>(path: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (error) {
    throw writeError(path, error)
  }
}

/** Error code of the operating system, such as 'ENOENT'. */
export function codeOf(error: unknown): string | undefined {
  const { code } = Object(error)
  return code === undefined ? undefined : String(code)
}

/** Reason of a file-system error: the text that `reasons` has for its code, otherwise its own message. */
export const reasonOf = (error: unknown, reasons: Readonly<Record<string, string>>): string =>
  getOwn(reasons, codeOf(error) ?? '') ?? messageOf(error)

/**
 * Creates the `io` error for a file that cannot be read.
 * @param what kind of file, for the message: 'model', 'recipe'
 * @param reasons explanations of error codes that are specific to this kind of file
 */
export function readError(
  what: string,
  path: string,
  cause: unknown,
  reasons: Readonly<Record<string, string>> = {},
): OnnxIreError {
  const reason = reasonOf(cause, {
    ENOENT: 'there is no such file',
    ENOTDIR: 'there is no such file',
    EISDIR: 'it is a folder',
    [notRegular]: 'it is a pipe, a socket or a device; write its content to a file and name that file',
    EACCES: 'permission denied; change its permissions',
    ERR_FS_FILE_TOO_LARGE: 'it is larger than 2 GiB',
    ...reasons,
  })
  return new OnnxIreError('io', `cannot read the ${what} ${path}: ${reason}`, { cause })
}

/** Creates the `io` error for a folder that cannot be read. */
export const folderError = (path: string, cause: unknown): OnnxIreError =>
  readError('folder', path, cause, { ENOENT: 'there is no such folder', ENOTDIR: 'it is not a folder' })

function writeError(path: string, cause: unknown): OnnxIreError {
  const folder = dirname(path)
  const reason = reasonOf(cause, {
    ENOENT: `the folder ${folder} does not exist; create it first`,
    ENOTDIR: `${folder} is not a folder`,
    EACCES: `${folder} is not writable; choose another folder or change its permissions`,
    EPERM: `${folder} is not writable; choose another folder or change its permissions`,
    EROFS: `${folder} is on a read-only file system; choose another folder`,
    ENOSPC: 'the disk is full; free some space or choose another disk',
    EDQUOT: 'your disk quota is exhausted; free some space or choose another disk',
    EFBIG: 'the file system does not support files of this size; choose another disk',
    ENAMETOOLONG: `the name ${basename(path)} is too long`,
    ELOOP: 'its symbolic links form a cycle',
  })
  return new OnnxIreError('io', `cannot write ${path}: ${reason}`, { cause })
}
