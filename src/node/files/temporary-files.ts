import { createHash, randomBytes } from 'node:crypto'
import { readFileSync, readlinkSync } from 'node:fs'
import { readdir, rm, stat } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'

/** Name for a new temporary file: it holds the machine and the process that write the file. */
export const temporaryName = (): string => `.onnx-ire-${machine}-${process.pid}-${randomBytes(8).toString('hex')}.tmp`

/** Names of temporary files; those of version 0.2 have no machine and no process. */
const pattern = /^\.onnx-ire-(?:([0-9a-f]{8})-(\d+)-)?[0-9a-f]{16}\.tmp$/

/** Identifies the machine, or the container, that process ids belong to. */
export const machine = createHash('sha256')
  .update(`${hostname()} ${systemId()} ${processNamespace()}`)
  .digest('hex')
  .slice(0, 8)

/**
 * The id of the operating system, or in a container, which has none, that of the last start of the machine: machines
 * may have the same name. Empty outside of Linux.
 */
function systemId(): string {
  for (const path of ['/etc/machine-id', '/proc/sys/kernel/random/boot_id'])
    try {
      const id = readFileSync(path, 'utf8').trim()
      if (id !== '') return id
    } catch {}
  return ''
}

/** The namespace of process ids, which differs between containers; empty outside of Linux. */
function processNamespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid')
  } catch {
    return ''
  }
}

/** Milliseconds without a change after which a temporary file of another machine counts as abandoned: a day. */
const abandonedAfter = 24 * 3600 * 1000

/**
 * Removes the temporary files in a folder that killed processes left. A file of this machine is removed if its process
 * no longer exists; a file of another machine, whose processes are unknown here, if it has not changed for a day.
 */
export async function removeAbandonedFiles(folder: string): Promise<void> {
  const names = await readdir(folder).catch((): string[] => [])
  for (const name of names) {
    const found = pattern.exec(name)
    if (!found) continue
    const path = join(folder, name)
    // Another process may have removed or renamed the file; a file that cannot be removed does no harm.
    const changed = await stat(path)
      .then(({ mtimeMs }) => mtimeMs)
      .catch(() => Number.POSITIVE_INFINITY)
    if (isAbandoned(found[1], Number(found[2]), changed)) await rm(path, { force: true }).catch(() => {})
  }
}

function isAbandoned(owner: string | undefined, id: number, changed: number): boolean {
  if (owner !== machine) return Date.now() - changed > abandonedAfter
  // A container often gives the same id to a process and to its successor.
  if (id === process.pid) return changed < Date.now() - 1000 * process.uptime()
  return !isRunning(id)
}

/** Whether a process of this machine exists, also one of another user. */
export function isRunning(id: number): boolean {
  try {
    return process.kill(id, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}
