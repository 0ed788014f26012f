import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { writeFileAtomic } from '../../src/node/files/files.js'
import { OnnxIreError } from '../../src/util/errors.js'

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'onnx-ire-files-'))
})
afterEach(() => rm(folder, { recursive: true }))

const failure = async (action: Promise<void>): Promise<OnnxIreError> => {
  const error = await action.then(
    () => null,
    (error: unknown) => error,
  )
  expect(error).toBeInstanceOf(OnnxIreError)
  return error as OnnxIreError
}

describe('writeFileAtomic', () => {
  it('text, bytes and chunks of all sizes > are written', async () => {
    const path = join(folder, 'f')
    await writeFileAtomic(path, 'größe')
    expect(await readFile(path, 'utf8')).toBe('größe')
    await writeFileAtomic(path, Uint8Array.of(1, 2))
    expect([...(await readFile(path))]).toEqual([1, 2])
    const sizes = [0, 1, 1000, 2 ** 20, 3, 2 ** 20 + 1, 5, 0, 2 ** 20 - 2, 7]
    const chunks = sizes.map((size, i) => new Uint8Array(size).fill(i + 1))
    await writeFileAtomic(path, chunks)
    expect(Buffer.concat(chunks).equals(await readFile(path))).toBe(true)
    async function* later() {
      for (const chunk of chunks) yield chunk
    }
    await writeFileAtomic(path, later())
    expect(Buffer.concat(chunks).equals(await readFile(path))).toBe(true)
    expect(await readdir(folder)).toEqual(['f'])
  })

  // 666 is more than the usual mask allows to new files.
  it.each(['600', '666'])('an existing file > keeps its mode %s, and links are followed', async (text) => {
    const mode = Number.parseInt(text, 8)
    const path = join(folder, 'f')
    await writeFile(path, 'old')
    await chmod(path, mode)
    await symlink(path, join(folder, 'link'))
    await writeFileAtomic(join(folder, 'link'), 'new')
    expect(await readFile(path, 'utf8')).toBe('new')
    expect((await stat(path)).mode & 0o777).toBe(mode)
  })

  it('links to a file that does not exist > the file is created, and the links stay', async () => {
    await mkdir(join(folder, 'store'))
    await symlink(join('store', 'next'), join(folder, 'link'))
    await symlink('f', join(folder, 'store', 'next'))
    await writeFileAtomic(join(folder, 'link'), 'new')
    expect(await readFile(join(folder, 'store', 'f'), 'utf8')).toBe('new')
    expect(await readdir(folder)).toEqual(['link', 'store'])
    await symlink(join(folder, 'missing', 'f'), join(folder, 'lost'))
    const { message } = await failure(writeFileAtomic(join(folder, 'lost'), 'new'))
    expect(message).toContain(`the folder ${join(folder, 'missing')} does not exist`)
  })

  it('content that fails midway > the old file is unchanged, and no other file is left', async () => {
    const path = join(folder, 'f')
    await writeFile(path, 'old')
    async function* broken() {
      yield new Uint8Array(2 ** 21)
      throw new OnnxIreError('external-data', 'gone')
    }
    expect((await failure(writeFileAtomic(path, broken()))).code).toBe('external-data')
    expect(await readFile(path, 'utf8')).toBe('old')
    expect(await readdir(folder)).toEqual(['f'])
  })

  it.each([
    ['a folder that does not exist', async () => join(folder, 'no', 'f'), /does not exist; create it first/],
    [
      'a path under a file',
      async () => {
        await writeFile(join(folder, 'file'), '')
        return join(folder, 'file', 'f')
      },
      /file is not a folder/,
    ],
    [
      'a folder',
      async () => {
        await mkdir(join(folder, 'sub'))
        return join(folder, 'sub')
      },
      /is not a file; choose another name/,
    ],
    ['a name that is too long', async () => join(folder, 'x'.repeat(300)), /too long/],
    ['a device', async () => '/dev/null', /is not a file/],
    ['a folder without write access', async () => '/proc/f', /cannot write \/proc\/f: /],
  ])('%s > rejects with the reason', async (_, place, message) => {
    const path = await place()
    const error = await failure(writeFileAtomic(path, 'x'))
    expect(error.code).toBe('io')
    expect(error.message).toContain(`cannot write ${path}`)
    expect(error.message).toMatch(message)
    expect((await readdir(folder)).filter((name) => name.includes('tmp'))).toEqual([])
  })
})
