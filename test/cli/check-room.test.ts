import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { availableMemory, parseBytes } from '../../src/cli/training/check-room.js'
import type { TrainingResult } from '../../src/cli/training/training-request.js'
import { json, run } from './command.js'
import { type Workspace, workspace } from './workspace.js'

let space: Workspace
beforeAll(async () => {
  space = await workspace()
})
afterAll(() => space.remove())

const GiB = 2 ** 30
const machine = { container: 0, total: 16 * GiB, free: 8 * GiB, own: GiB }

test('memory that a run may take > what is left of the machine, at most the limit of the container', () => {
  expect(availableMemory(machine)).toBe(9 * GiB)
  expect(availableMemory({ ...machine, container: 4 * GiB })).toBe(4 * GiB)
  // Without a limit, Node returns 0, or a number above any memory.
  expect(availableMemory({ ...machine, container: 2 ** 64 })).toBe(9 * GiB)
  expect(availableMemory({ ...machine, free: 16 * GiB })).toBe(16 * GiB)
  expect(availableMemory()).toBeGreaterThan(0)
})

test('numbers of bytes > with binary units', () => {
  expect(['4G', '4GiB', '4gb', '1.5M', '1000'].map(parseBytes)).toEqual([
    4 * GiB,
    4 * GiB,
    4 * GiB,
    1.5 * 2 ** 20,
    1000,
  ])
  for (const text of ['', '0', '-1', '4X', 'G', '1e3', '99999999T']) expect(() => parseBytes(text)).toThrow()
})

test('train > more memory than --memory > warns on the terminal, in the result and the log, and trains', async () => {
  const out = space.path('small')
  const { code, stdout, stderr } = await run(
    'train',
    space.path('recipe.json'),
    '--out',
    out,
    '--memory',
    '10M',
    '--json',
  )
  expect([code, stderr]).toEqual([0, expect.stringMatching(/^warning: .*memory.*10\.0 MiB.*batchSize/m)])
  const { memory, warnings, step } = JSON.parse(stdout) as TrainingResult
  expect(step).toBe(20)
  expect(memory).toEqual({ available: 10 * 2 ** 20, needed: expect.any(Number) })
  expect(memory!.needed).toBeGreaterThan(100 * 2 ** 20)
  expect(warnings).toHaveLength(1)
  const [line] = (await readFile(`${out}/metrics.jsonl`, 'utf8')).split('\n')
  expect(JSON.parse(line!)).toEqual({ kind: 'warning', step: 0, message: warnings[0] })
})

test('train > enough memory > no warning', async () => {
  const result = await json<TrainingResult>(
    'train',
    space.path('recipe.json'),
    '--out',
    space.path('large'),
    '--memory',
    '64G',
  )
  expect(result.warnings).toEqual([])
  expect(result.memory!.needed).toBeLessThan(result.memory!.available)
})

test('train > --memory that is no number of bytes > is refused', async () => {
  expect(await run('train', space.path('recipe.json'), '--memory', 'much')).toMatchObject({ code: 2 })
})
