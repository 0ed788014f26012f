import { afterEach, expect, it, vi } from 'vitest'
import { storage } from '../../src/web/files/storage.js'

afterEach(() => vi.unstubAllGlobals())

const write = () => storage.write('runs/a', new Uint8Array(3))
const failsWith = (message: string) => ({ code: 'io', message })

it('a page without the private file system > the error says so', async () => {
  vi.stubGlobal('navigator', {})
  await expect(write()).rejects.toMatchObject(
    failsWith('cannot write runs/a: this browser has no private file system (navigator.storage.getDirectory)'),
  )
  vi.stubGlobal('isSecureContext', false)
  await expect(storage.list('runs')).rejects.toMatchObject(
    failsWith('cannot read runs: the page is neither from https nor from localhost, so it has no private file system'),
  )
})

it("a private window of Safari > the error names it, in place of WebKit's unknown transient reason", async () => {
  const getDirectory = () =>
    Promise.reject(new DOMException('The operation failed for an unknown transient reason', 'UnknownError'))
  vi.stubGlobal('navigator', { storage: { getDirectory } })
  await expect(write()).rejects.toMatchObject(
    failsWith('cannot write runs/a: the browser failed to store data, as Safari does in private windows'),
  )
})

it('a browser that cannot replace files, such as Safari before 26 > the error says so, and no empty file is left', async () => {
  const names = new Set<string>()
  const folder = {
    getDirectoryHandle: () => Promise.resolve(folder),
    getFileHandle: (name: string, options?: { readonly create?: boolean }) => {
      if (options?.create) names.add(name)
      return names.has(name) ? Promise.resolve({ name }) : Promise.reject(new DOMException('', 'NotFoundError'))
    },
    removeEntry: (name: string) => Promise.resolve(void names.delete(name)),
  }
  vi.stubGlobal('navigator', { storage: { getDirectory: () => Promise.resolve(folder) } })
  await expect(write()).rejects.toMatchObject(
    failsWith('cannot write runs/a: this browser has no FileSystemFileHandle.createWritable; Safari has it from 26 on'),
  )
  expect([...names]).toEqual([])
})
