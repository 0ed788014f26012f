import { spawn, spawnSync } from 'node:child_process'
import { readdir, utimes } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { checkpointFolder } from '../../src/node/files/checkpoint-folder.js'
import { stageFile } from '../../src/node/files/files.js'
import { makeFolder } from '../../src/node/files/make-folder.js'
import { removeAbandonedFiles, temporaryName } from '../../src/node/files/temporary-files.js'
import { temporaryFolder } from './data/folder.js'

const { path, put } = temporaryFolder()

/** The name that a process of this machine would use. */
const nameOf = (id: number) => temporaryName().replace(`-${process.pid}-`, `-${id}-`)
const exited = () => spawnSync(process.execPath, ['--version']).pid
const hour = 3600
const age = async (name: string, seconds: number) => {
  const then = Date.now() / 1000 - seconds
  await utimes(path(name), then, then)
}

/** The machine in the name of a temporary file, on a system with this id. */
function machineWith(id: string): string | undefined {
  const code = `
    import fs from 'node:fs'
    import { syncBuiltinESMExports } from 'node:module'
    const { readFileSync } = fs
    fs.readFileSync = (path, ...of) => (path === '/etc/machine-id' ? '${id}' : readFileSync(path, ...of))
    syncBuiltinESMExports()
    const { temporaryName } = await import('${new URL('../../dist/node/files/temporary-files.js', import.meta.url)}')
    console.log(temporaryName())`
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', code], { encoding: 'utf8' })
  return /^\.onnx-ire-([0-9a-f]{8})-/.exec(stdout)?.[1]
}

it('machines of one name > are distinguished by the ids of their systems', () => {
  const [one, other, again] = ['one', 'another', 'one'].map(machineWith)
  expect(one).toMatch(/^.{8}$/)
  expect([other === one, again === one]).toEqual([false, true])
})

describe('temporary files in a folder', () => {
  it('file of a process that is gone > is removed, one of a living process is kept', async () => {
    const living = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'])
    try {
      const [abandoned, written] = [nameOf(exited()), nameOf(living.pid!)]
      await put(`a/${abandoned}`, 'x')
      await put(`a/${written}`, 'x')
      await put('a/other.tmp', 'x')
      await removeAbandonedFiles(path('a'))
      expect((await readdir(path('a'))).sort()).toEqual([written, 'other.tmp'].sort())
    } finally {
      living.kill()
    }
  })

  it('file of this process > is kept; of an earlier process with its id > is removed', async () => {
    await makeFolder(path('b'))
    const staged = await stageFile(path('b/f'), 'content')
    const earlier = temporaryName()
    await put(`b/${earlier}`, 'x')
    await age(`b/${earlier}`, hour + process.uptime())
    await removeAbandonedFiles(path('b'))
    await staged.commit()
    expect(await readdir(path('b'))).toEqual(['f'])
  })

  it('file of another machine or an earlier version > is removed a day after its last change', async () => {
    const other = temporaryName().replace(/^\.onnx-ire-[0-9a-f]{8}/, '.onnx-ire-00000000')
    const earlier = '.onnx-ire-0123456789abcdef.tmp'
    for (const name of [other, earlier]) await put(`c/${name}`, 'x')
    for (const name of [other, earlier]) await age(`c/${name}`, 23 * hour)
    await removeAbandonedFiles(path('c'))
    expect((await readdir(path('c'))).sort()).toEqual([earlier, other].sort())
    for (const name of [other, earlier]) await age(`c/${name}`, 25 * hour)
    await removeAbandonedFiles(path('c'))
    expect(await readdir(path('c'))).toEqual([])
  })

  it('folder of checkpoints > is cleared at the next checkpoint', async () => {
    await put(`d/${nameOf(exited())}`, 'x')
    await checkpointFolder(path('d')).save(1, Uint8Array.of(1))
    expect(await readdir(path('d'))).toEqual(['checkpoint-00000001.safetensors'])
  })
})
