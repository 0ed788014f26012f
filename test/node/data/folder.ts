import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll } from 'vitest'

/** A folder for the tests of a file: writes files by name and gives their paths. */
export function temporaryFolder() {
  let folder = ''
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'onnx-ire-'))
  })
  afterAll(() => rm(folder, { recursive: true }))
  return {
    path: (name: string) => join(folder, name),
    async put(name: string, content: string | Uint8Array): Promise<string> {
      await mkdir(dirname(join(folder, name)), { recursive: true })
      await writeFile(join(folder, name), content)
      return join(folder, name)
    },
  }
}
