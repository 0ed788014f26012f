import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** Control groups that limit the throughput of disks (version 1). */
const groups = '/sys/fs/cgroup/blkio'
const prefix = 'onnx-ire-torture-'

/** A disk that processes write to slowly if they are started by `shell`. */
interface SlowDisk {
  /** A shell script that runs "$@" with the limit. */
  readonly shell: string
  unmount(): void
}

const execute = (file: string, ...args: readonly string[]) => execFileSync(file, args, { stdio: 'ignore' })

/**
 * Mounts a disk of 64 MiB: an ext4 file system in a file, without a journal, which would be written by the kernel. A
 * process waits for its writes in `fsync`, at so many bytes per second.
 * @throws if mounting or control groups are not permitted
 */
export function mountSlowDisk(folder: string, bytesPerSecond: number): SlowDisk {
  const image = `${folder}.disk`
  writeFileSync(image, '')
  truncateSync(image, 64 * 2 ** 20)
  execute('mkfs.ext4', '-q', '-F', '-O', '^has_journal', image)
  execute('mount', '-o', 'loop', image, folder)
  const group = join(groups, `${prefix}${process.pid}`)
  const unmount = () => {
    execute('umount', '-l', folder)
    rmSync(image)
    if (existsSync(group)) rmdirSync(group)
  }
  try {
    mkdirSync(group)
    const { dev } = statSync(folder)
    const device = `${Math.floor(dev / 256)}:${dev % 256}`
    writeFileSync(join(group, 'blkio.throttle.write_bps_device'), `${device} ${bytesPerSecond}`)
  } catch (error) {
    unmount()
    throw error
  }
  return { shell: `echo $$ > '${join(group, 'cgroup.procs')}' && exec "$@"`, unmount }
}

/** The reason why no slow disk can be mounted here. Removes control groups of processes that were killed. */
export function findSlowDiskObstacle(folder: string): string | undefined {
  if (!existsSync(join(groups, 'blkio.throttle.write_bps_device')))
    return 'no control groups of version 1 that limit the throughput of disks'
  for (const name of readdirSync(groups))
    if (name.startsWith(prefix) && !existsSync(`/proc/${name.slice(prefix.length)}`)) rmdirSync(join(groups, name))
  try {
    mountSlowDisk(folder, 2 ** 20).unmount()
    return undefined
  } catch {
    return 'mounting is not permitted'
  }
}
