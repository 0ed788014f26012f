import { Readable, Writable } from 'node:stream'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Io } from '../../src/cli/io.js'
import { main } from '../../src/cli/main.js'
import { type Workspace, workspace } from './workspace.js'

let space: Workspace
beforeAll(async () => {
  space = await workspace()
})
afterAll(() => space.remove())

/** Streams that collect what is written, and a signal to send. */
function fakeIo() {
  const written = { stdout: '', stderr: '' }
  const into = (name: keyof typeof written) =>
    new Writable({
      write(chunk, _, done) {
        written[name] += chunk
        done()
      },
    })
  const listeners = new Set<(signal: NodeJS.Signals) => void>()
  const exits: number[] = []
  const io: Io = {
    stdout: into('stdout'),
    stderr: into('stderr'),
    stdin: Readable.from([]),
    onSignal(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    exit: (code) => exits.push(code),
  }
  const interrupt = (...signals: readonly NodeJS.Signals[]) => {
    for (const signal of signals) for (const listener of listeners) listener(signal)
  }
  return { io, written, listeners, exits, interrupt }
}

test('main > in process > writes to the given streams and returns the exit code', async () => {
  const { io, written } = fakeIo()
  expect(await main(['inspect', space.path('model.onnx'), '--json'], io)).toBe(0)
  expect(JSON.parse(written.stdout).file).toBe(space.path('model.onnx'))
  expect(written.stderr).toBe('')
  expect(process.exitCode).toBeUndefined()
})

test('main > wrong usage > returns 2, a hint on stderr and an error document on stdout', async () => {
  const { io, written } = fakeIo()
  expect(await main(['gradient', 'a.onnx', '--json'], io)).toBe(2)
  expect(JSON.parse(written.stdout).error.code).toBe('usage')
  expect(written.stderr).toContain('--help')
})

test.each([
  ['inspect', '--recompute', 'blocks', 'model.onnx'],
  ['gradient', '-o', 'gradient.onnx', '--wrt', 'a', 'model.onnx'],
  ['data', 'prepare', 'text', '-o', 'tokens', '--validation-input', 'valid.txt', 'train.txt'],
  ['chat', '--message', 'Hello', 'folder'],
])('main > the option takes the argument: %s %s %s %s > the error names the option', async (...args) => {
  const { io, written } = fakeIo()
  expect(await main(args, io)).toBe(2)
  expect(written.stderr).toMatch(
    /missing required argument '\w+'; --[a-z-]+ takes all values after it: give the argument/,
  )
})

test.each(['0', '1025', '1e3'])('main > --threads %s > usage error', async (threads) => {
  const { io, written } = fakeIo()
  const args = ['evaluate', space.path('model.onnx'), space.path('recipe.json'), '--threads', threads, '--json']
  expect([await main(args, io), JSON.parse(written.stdout).error.code]).toEqual([2, 'usage'])
})

test('main > interrupted during training > returns 130 and saves a checkpoint; a second one exits at once, but SIGHUP does not', async () => {
  const { io, written, listeners, exits, interrupt } = fakeIo()
  const stderr = new Writable({
    write(chunk, _, done) {
      if (/^epoch 1, step 1\//.test(String(chunk))) interrupt('SIGHUP', 'SIGHUP', 'SIGINT', 'SIGHUP', 'SIGTERM')
      done()
    },
  })
  const args = ['train', space.path('recipe.json'), '--set', 'epochs=50', '--out', space.path('run'), '--json']
  expect(await main(args, { ...io, stderr })).toBe(130)
  expect(JSON.parse(written.stdout)).toMatchObject({ interrupted: true, model: null })
  expect(exits).toEqual([130])
  expect(listeners.size).toBe(0)
})
