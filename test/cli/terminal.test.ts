import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Finished, program, start } from './command.js'
import { type Workspace, workspace } from './workspace.js'

let [space, recipe]: [Workspace, string] = [{} as Workspace, '']
beforeAll(async () => {
  space = await workspace()
  recipe = await space.writeRecipe('long.json', { epochs: 30, threads: 1 })
})
afterAll(() => space.remove())

describe('a run whose reader goes away', () => {
  test.each(['stdout', 'stderr'] as const)('%s closed > trains to the end and writes the model', async (name) => {
    const out = space.path(name)
    const { process, finished } = start(['train', recipe, '--out', out])
    const reader = process[name]!
    if (name === 'stdout') reader.destroy()
    else reader.once('data', () => reader.destroy())
    expect((await finished).code).toBe(0)
    expect(existsSync(`${out}/tuned.onnx`)).toBe(true)
  })
})

describe.skipIf(!existsSync('/dev/full'))('an output without room', () => {
  /** Runs the program with one output on a full device. Returns the exit code and the other output. */
  async function runOnFullDevice(
    full: 'stdout' | 'stderr',
    ...args: readonly string[]
  ): Promise<Omit<Finished, 'stdout'>> {
    const device = await open('/dev/full', 'w')
    const child = spawn(process.execPath, [program, ...args], {
      stdio: ['ignore', full === 'stdout' ? device.fd : 'ignore', full === 'stderr' ? device.fd : 'pipe'],
    })
    let stderr = ''
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr += text
    })
    const code = await new Promise<number | null>((resolve) => child.on('close', resolve))
    await device.close()
    return { code, stderr }
  }

  test.each([[], ['--json']])('inspect %s > exits with 1 and one line', async (...options) => {
    const { code, stderr } = await runOnFullDevice('stdout', 'inspect', space.path('model.onnx'), ...options)
    expect(code).toBe(1)
    expect(stderr).toMatch(/^error \(io\): .*\n$/)
  })

  test('train > writes the model, and exits with 1 if the result could not be printed', async () => {
    const quiet = ['--quiet', '--set', 'epochs=1']
    const lost = await runOnFullDevice('stdout', 'train', recipe, '--out', space.path('no-result'), ...quiet)
    expect(lost).toMatchObject({ code: 1, stderr: expect.stringMatching(/^error \(io\): .*\n$/) })
    expect(existsSync(space.path('no-result/tuned.onnx'))).toBe(true)
    const silent = await runOnFullDevice(
      'stderr',
      'train',
      recipe,
      '--out',
      space.path('no-notes'),
      '--set',
      'epochs=1',
    )
    expect(silent.code).toBe(0)
    expect(existsSync(space.path('no-notes/tuned.onnx'))).toBe(true)
  })
})
