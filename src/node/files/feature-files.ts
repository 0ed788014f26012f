import { type FileHandle, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { FeatureFile, FeatureStore } from '../../train/cached-features.js'
import { checkNames, checkNumber } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { temporaryName } from './temporary-files.js'

/** Options of `featureFiles`. */
export interface FeatureFilesOptions {
  /** Bytes that the features of one data set may take in memory. Default 1 GiB. */
  readonly memory?: number
}

/**
 * Stores cached features in temporary files of a folder if they take more than `memory` bytes (default 1 GiB); see
 * `features` of `TrainerOptions`. `trainer.dispose` removes the files.
 *
 * @example
 * const features = featureFiles('/tmp')
 * const trainer = await Trainer.create(model, { ...options, freeze: { except: 'head' }, features })
 *
 * @throws OnnxIreError `io` when a file cannot be created, written or read
 */
export function featureFiles(folder: string, options: FeatureFilesOptions = {}): FeatureStore {
  checkNames('featureFiles', options, ['memory'])
  const memory = checkNumber('featureFiles', 'memory', options.memory ?? 2 ** 30, {
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
  })
  return {
    memory,
    async create() {
      const path = join(folder, temporaryName())
      return attempt(path, async () => fileAt(path, await open(path, 'wx+')))
    },
  }
}

const fileAt = (path: string, handle: FileHandle): FeatureFile => ({
  write: (bytes, offset) =>
    attempt(path, async () => {
      for (let done = 0; done < bytes.length; )
        done += (await handle.write(bytes, done, bytes.length - done, offset + done)).bytesWritten
    }),
  read: (length, offset) =>
    attempt(path, async () => {
      const bytes = new Uint8Array(length)
      for (let done = 0; done < length; ) {
        const { bytesRead } = await handle.read(bytes, done, length - done, offset + done)
        if (bytesRead === 0) throw new Error('the file is shorter than what was written')
        done += bytesRead
      }
      return bytes
    }),
  remove: () =>
    attempt(path, async () => {
      await handle.close()
      await rm(path, { force: true })
    }),
})

async function attempt<T>(path: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (cause) {
    throw new OnnxIreError('io', `cannot store features in ${path}: ${(cause as Error).message}`, { cause })
  }
}
