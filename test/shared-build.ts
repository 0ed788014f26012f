import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'

/** Beginning of the names of a run's folders, which it removes at its end. */
export const prefix = (run: number) => `onnx-ire-build-${run}-`

/**
 * Returns the folder that `build` fills, once per run of the tests: the first test file that requires it builds, the
 * others wait. Test files are child processes of the run, whose process id is part of the folder's name.
 */
export async function sharedBuild(name: string, build: (folder: string) => Promise<unknown>): Promise<string> {
  const folder = join(tmpdir(), prefix(process.ppid) + name)
  const [lock, done] = [`${folder}.lock`, `${folder}.done`]
  while (!existsSync(done)) {
    if (!takeLock(lock)) {
      await setTimeout(100)
      continue
    }
    try {
      // Another process may have finished between the two checks.
      if (existsSync(done)) break
      await build(folder)
      writeFileSync(done, '')
    } finally {
      rmSync(lock, { recursive: true })
    }
  }
  return folder
}

/** Takes the lock, a folder; returns false if another process holds it. */
function takeLock(lock: string): boolean {
  try {
    mkdirSync(lock)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

async function removeBuilds(): Promise<void> {
  for (const name of await readdir(tmpdir()))
    if (name.startsWith(prefix(process.pid)))
      await rm(join(tmpdir(), name), { recursive: true, force: true, maxRetries: 10 })
}

/** Runs in the process of the run, before the tests. */
export const setup = removeBuilds

/** Runs in the process of the run, after the tests. */
export const teardown = removeBuilds
