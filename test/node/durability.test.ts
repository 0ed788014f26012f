import { existsSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import { type FileHandle, mkdtemp, open, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { mlp } from '../../models/mlp.js'
import { checkpointFolder } from '../../src/node/files/checkpoint-folder.js'
import { writeFileAtomic } from '../../src/node/files/files.js'
import { makeFolder } from '../../src/node/files/make-folder.js'
import { writeModel } from '../../src/node/files/model.js'
import { modelOf } from '../../src/onnx/export/export-graph.js'
import { needs } from '../requirements.js'

/** A call of fsync. */
interface Sync {
  readonly path: string
  /** Size of a file; null for a folder. */
  readonly size: number | null
  /** Content of the target file at that time; null if there was none. */
  readonly target: string | null
}

let folder = ''
let target = ''
let prototype: FileHandle
const syncs: Sync[] = []
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'onnx-ire-durability-'))
  target = join(folder, 'f')
  syncs.length = 0
  const handle = await open(folder, 'r')
  prototype = Object.getPrototypeOf(handle) as FileHandle
  await handle.close()
  const sync = prototype.sync
  vi.spyOn(prototype, 'sync').mockImplementation(function (this: FileHandle) {
    const path = readlinkSync(`/proc/self/fd/${this.fd}`)
    const found = statSync(path)
    syncs.push({
      path,
      size: found.isDirectory() ? null : found.size,
      target: existsSync(target) ? readFileSync(target, 'latin1') : null,
    })
    return sync.call(this)
  })
})
afterEach(async () => {
  vi.restoreAllMocks()
  await rm(folder, { recursive: true })
})

// A file system may write everything in another order, except what was synced.
describe('files and folders survive a power failure', await needs('linux'), () => {
  it('writeFileAtomic > the new content is synced before it replaces the old one, and its folder afterwards', async () => {
    await writeFile(target, 'old')
    await writeFileAtomic(target, 'new content')
    expect(syncs.map(({ size, target }) => [size, target])).toEqual([
      [11, 'old'],
      [null, 'new content'],
    ])
    expect(dirname(syncs[0]!.path)).toBe(folder)
    expect(basename(syncs[0]!.path)).toMatch(/^\.onnx-ire-[\w-]+\.tmp$/)
    expect(syncs[1]!.path).toBe(folder)
  })

  it('makeFolder > the parent of every new folder is synced', async () => {
    await makeFolder(join(folder, 'a', 'b', 'c'))
    const folders = syncs.filter(({ size }) => size === null).map(({ path }) => path)
    expect(folders).toEqual([folder, join(folder, 'a'), join(folder, 'a', 'b')])
  })

  it('checkpoint > is synced with all its bytes, and its folder afterwards', async () => {
    await checkpointFolder(folder).save(3, new Uint8Array(5000))
    const [file, parent] = syncs.slice(-2)
    expect(file!.size).toBe(5000)
    expect(parent).toMatchObject({ path: folder, size: null })
  })

  it('model with external data > the data are synced under their name before the model replaces the old one', async () => {
    await writeFile(target, 'old')
    await writeModel(target, modelOf(mlp({ features: 64, hidden: [64], classes: 2 })), { externalData: true })
    const data = readFileSync(`${target}.data`).length
    const [first, ...others] = syncs
    expect(first).toMatchObject({ size: data, target: 'old' })
    const folders = others.filter(({ size }) => size === null)
    // The first sync of the folder makes the data durable, the second one the model.
    expect(folders.map(({ target }) => target === 'old')).toEqual([true, false])
    const model = others.find(({ size }) => size !== null)!
    expect(model.target).toBe('old')
    expect(model.size).toBe(readFileSync(target).length)
  })
})

it.each(['ENOSPC', 'EDQUOT', 'EIO'])('%s while writing > throws io, and leaves the old files alone', async (code) => {
  await writeFile(target, 'old')
  const write = prototype.write
  let written = 0
  vi.spyOn(prototype, 'write').mockImplementation(function (this: FileHandle, ...args: never[]) {
    if (++written > 1) throw Object.assign(new Error(code), { code })
    return (write as (...args: never[]) => ReturnType<FileHandle['write']>).apply(this, args)
  } as FileHandle['write'])
  const model = modelOf(mlp({ features: 64, hidden: [64], classes: 2 }))
  await expect(writeFileAtomic(target, [new Uint8Array(2 ** 21), new Uint8Array(2 ** 21)])).rejects.toMatchObject({
    code: 'io',
    cause: { code },
  })
  expect(written).toBe(2)
  await expect(writeModel(target, model, { externalData: true })).rejects.toMatchObject({ code: 'io' })
  await expect(checkpointFolder(folder).save(1, new Uint8Array(100))).rejects.toMatchObject({ code: 'io' })
  expect(await readdir(folder)).toEqual(['f'])
  expect(readFileSync(target, 'utf8')).toBe('old')
})
