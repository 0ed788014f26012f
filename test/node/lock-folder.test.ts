import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { lockFolder } from '../../src/node/files/lock-folder.js'
import { checkpointFolder } from '../../src/node/index.js'

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'onnx-ire-lock-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const lockFile = () => join(folder, 'lock.json')
const readLock = async () => JSON.parse(await readFile(lockFile(), 'utf8')) as Record<string, unknown>
const locked = expect.objectContaining({ code: 'locked', message: expect.stringContaining(String(process.pid)) })

test('a locked folder > second lock > throws locked and names the process; unlocked > can be locked again', async () => {
  const unlock = await lockFolder(folder)
  expect(await readLock()).toMatchObject({ process: process.pid })
  await expect(lockFolder(folder)).rejects.toEqual(locked)
  unlock()
  expect(await readdir(folder)).toEqual([])
  ;(await lockFolder(folder))()
})

test('many at once > exactly one gets the lock, also if the lock before was abandoned', async () => {
  const attempts = async () => {
    const all = await Promise.allSettled(Array.from({ length: 20 }, () => lockFolder(folder)))
    const unlocks = all.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []))
    expect(unlocks).toHaveLength(1)
    unlocks[0]!()
  }
  await attempts()
  const unlock = await lockFolder(folder)
  const abandoned = { ...(await readLock()), process: await endedProcess() }
  unlock()
  await writeFile(lockFile(), JSON.stringify(abandoned))
  await attempts()
  expect(await readdir(folder)).toEqual([])
})

/** The id of a process that has ended. */
function endedProcess(): Promise<number> {
  const child = spawn(process.execPath, ['-e', ''])
  return new Promise((resolve) => child.on('close', () => resolve(child.pid!)))
}

test.each<[string, (lock: Record<string, unknown>) => Promise<object> | object]>([
  ['whose process has ended', async (lock) => ({ ...lock, process: await endedProcess() })],
  ['whose process id was given to another process', (lock) => ({ ...lock, started: 'earlier' })],
])('a lock %s > is taken over', async (_, change) => {
  const unlock = await lockFolder(folder)
  const abandoned = JSON.stringify(await change(await readLock()))
  unlock()
  await writeFile(lockFile(), abandoned)
  const own = await lockFolder(folder)
  expect(await readLock()).toMatchObject({ process: process.pid })
  own()
  expect(existsSync(lockFile())).toBe(false)
})

test('a lock of another machine > is respected while it is renewed, and taken over after two minutes without', async () => {
  const unlock = await lockFolder(folder)
  const other = JSON.stringify({ ...(await readLock()), machine: 'another' })
  unlock()
  await writeFile(lockFile(), other)
  await expect(lockFolder(folder)).rejects.toEqual(locked)
  const before = Date.now() / 1000 - 121
  await utimes(lockFile(), before, before)
  ;(await lockFolder(folder))()
})

test('a lock file that was never completely written > is taken over', async () => {
  await writeFile(lockFile(), '{"pro')
  ;(await lockFolder(folder))()
})

test('a lock file that cannot be read > throws io, in place of trying forever', async () => {
  await mkdir(lockFile())
  const error = { code: 'io', message: `cannot read the lock ${lockFile()}: it is a folder` }
  await expect(lockFolder(folder)).rejects.toMatchObject(error)
})

test('unlock > leaves the lock of another process', async () => {
  const unlock = await lockFolder(folder)
  const other = JSON.stringify({ ...(await readLock()), process: 1 })
  await writeFile(lockFile(), other)
  unlock()
  expect(await readFile(lockFile(), 'utf8')).toBe(other)
})

test('checkpointFolder > save while another run has the lock > throws locked', async () => {
  const [first, second] = [checkpointFolder(folder), checkpointFolder(folder)]
  const unlock = await first.lock!()
  await first.save(1, new Uint8Array(8))
  await expect(second.save(2, new Uint8Array(8))).rejects.toEqual(locked)
  await expect(second.lock!()).rejects.toEqual(locked)
  expect(await second.steps()).toEqual([1]) // reading needs no lock
  expect(await second.load(1)).toHaveLength(8)
  unlock()
  await second.save(2, new Uint8Array(8))
  expect(await readdir(folder)).toEqual(['checkpoint-00000001.safetensors', 'checkpoint-00000002.safetensors'])
})
