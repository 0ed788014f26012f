import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { open, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { input, modelOf, op, parameter, tensor } from '../../src/graph/index.js'
import { writeModel } from '../../src/node/index.js'
import { needs } from '../requirements.js'
import { type Finished, program, run, runOnTerminal, start } from './command.js'
import { type Workspace, workspace } from './workspace.js'

let [space, recipe]: [Workspace, string] = [{} as Workspace, '']
beforeAll(async () => {
  space = await workspace()
  recipe = await space.writeRecipe('long.json', { epochs: 5, threads: 1 })
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

test('progress on a terminal > leaves the wrapping of lines as it is, also if the process is killed', async () => {
  const { stderr } = await runOnTerminal('train', recipe, '--out', space.path('on-terminal'))
  expect(stderr).toMatch(/epoch 1 .*\/50 \| loss/)
  expect(stderr).not.toContain('\x1b[?7')
})

describe('an output without room', await needs('linux'), () => {
  /** Runs the program with standard output on a full device. */
  async function runOnFullDevice(...args: readonly string[]): Promise<Omit<Finished, 'stdout'>> {
    const device = await open('/dev/full', 'w')
    const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', device.fd, 'pipe'] })
    let stderr = ''
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      stderr += text
    })
    const code = await new Promise<number | null>((resolve) => child.on('close', resolve))
    await device.close()
    return { code, stderr }
  }

  test('inspect > exits with 1 and one line', async () => {
    const { code, stderr } = await runOnFullDevice('inspect', space.path('model.onnx'))
    expect(code).toBe(1)
    expect(stderr).toMatch(/^error \(io\): .*\n$/)
  })

  test('train > writes the model, and exits with 1 if the result could not be printed', async () => {
    const quiet = ['--quiet', '--set', 'epochs=1']
    const lost = await runOnFullDevice('train', recipe, '--out', space.path('no-result'), ...quiet)
    expect(lost).toMatchObject({ code: 1, stderr: expect.stringMatching(/^error \(io\): .*\n$/) })
    expect(existsSync(space.path('no-result/tuned.onnx'))).toBe(true)
  })
})

describe('names with control characters in a model and its data', () => {
  // Hides text, reverses it and moves the cursor by a C1 character.
  const hostile = 'na\x1b[8mme\u202e\x9b'
  /** A class that would begin a line of its own, as the program itself prints it. */
  const forging = `${hostile}\n2 steps done`
  const forged = /^2 steps done/m
  let [model, data] = ['', {}]

  beforeAll(async () => {
    const x = input(hostile, 'float32', ['N', 2])
    const w = parameter(`${hostile}.weight`, tensor('float32', [2, 2], Float32Array.of(0.5, -0.5, 0.25, 0.125)))
    model = space.path('hostile.onnx')
    await writeModel(
      model,
      modelOf({
        name: hostile,
        inputs: new Map([[hostile, x]]),
        outputs: new Map([[`${hostile}.y`, op.MatMul(x, w)]]),
      }),
    )
    const quoted = (text: string) => `"${text}"`
    const rows = Array.from({ length: 8 }, (_, i) => `${i % 3},${i % 2},${quoted(i % 2 ? hostile : forging)}`)
    await writeFile(
      space.path('hostile.csv'),
      [`${quoted(`${hostile}a`)},b,${quoted(`${hostile}c`)}`, ...rows].join('\n'),
    )
    await writeFile(space.path('hostile-names.json'), JSON.stringify([hostile, forging]))
    const labels = { columns: `${hostile}c`, as: 'class' }
    data = { kind: 'csv', file: space.path('hostile.csv'), tensors: { [hostile]: [`${hostile}a`, 'b'], labels } }
  })

  const hostileRecipe = (changes: object = {}): Promise<string> =>
    space.writeRecipe('hostile.json', {
      model: 'hostile.onnx',
      data: { train: data, validation: data },
      metrics: ['accuracy', 'perClass', 'confusion'],
      batchSize: 4,
      ...changes,
    })

  /** Runs a command with its outputs on a terminal and elsewhere. Checks that the names in its output are harmless. */
  async function expectEscaped(code: number, ...args: readonly string[]): Promise<string> {
    let printed = ''
    for (const start of [run, runOnTerminal]) {
      const { stdout, stderr, ...ended } = await start(...args)
      expect([ended.code, stderr]).toEqual([code, expect.anything()])
      printed = stdout + stderr
      for (const part of ['\x1b[8m', '\u202e', '\x9b']) expect(printed).not.toContain(part)
      expect(printed).not.toMatch(forged)
    }
    return printed
  }

  test('train > metrics per class', async () => {
    const out = space.path('hostile-run')
    const text = await expectEscaped(0, 'train', await hostileRecipe(), '--out', out, '--force')
    expect(text).toContain('na\\u001b[8mme')
  })

  test.each([
    ['a loss on an output that does not exist', { loss: { kind: 'cross-entropy', logits: `${hostile}?` } }],
    ['trainable tensors that do not exist', { trainable: [`${hostile}?`] }],
    ['a best metric that does not exist', { best: { metric: `${hostile}?` } }],
    ['a field that does not exist', { [hostile]: 1 }],
    ['a model that does not exist', { model: hostile }],
  ])('train with %s > error', async (_, changes) => {
    const text = await expectEscaped(1, 'train', await hostileRecipe(changes), '--out', space.path('hostile-error'))
    expect(text).toContain('\\u001b[8m')
  })

  test('train with a column that does not exist > error', async () => {
    const missing = { ...data, tensors: { [hostile]: [`${hostile}?`] } }
    const recipe = await hostileRecipe({ data: { train: missing } })
    const text = await expectEscaped(1, 'train', recipe, '--out', space.path('hostile-error'))
    expect(text).toContain('\\u001b[8m')
  })

  test('predict > its report, and its errors', async () => {
    const source = ['--data', JSON.stringify(data)]
    const classes = ['--classes', '--class-names', space.path('hostile-names.json')]
    const output = space.path('hostile-out.csv')
    await expectEscaped(0, 'predict', model, ...source, ...classes, '-o', output)
    for (const wrong of [
      ['--data', JSON.stringify({ ...data, tensors: { [hostile]: `${hostile}?` } })],
      ['--data', JSON.stringify({ ...data, tensors: { [`${hostile}?`]: 'b' } })],
      [...source, '--outputs', `${hostile}?`],
    ])
      expect(await expectEscaped(1, 'predict', model, ...wrong, '-o', output)).toContain('\\u001b[8m')
  })
})
