import { execFile } from 'node:child_process'
import { tmpdir } from 'node:os'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { OnnxIreError } from 'onnx-ire'
import { Random } from 'onnx-ire/data'
import { afterAll, describe, expect, it } from 'vitest'
import { applyEdits, drawEdits, fewerEdits } from '../../tools/torture/edits.js'
import { judge, Verdict } from '../../tools/torture/judge.js'
import { Worker } from '../../tools/torture/pool.js'
import { Report } from '../../tools/torture/report.js'

describe('judge', () => {
  it('a short typed error > is no fault', () => {
    expect(judge(new OnnxIreError('invalid-model', 'it has no graph'), 'decode')).toBeUndefined()
  })

  it.each([
    ['another error', new TypeError('x is not a function'), /^untyped TypeError at /],
    ['no error', 'text', /no Error was thrown/],
    [
      'a long message',
      Object.assign(new OnnxIreError('invalid-model', ''), { message: 'x'.repeat(3000) }),
      /^message of over 2200 characters, 'invalid-model' at /,
    ],
    ['self-accusation', new OnnxIreError('runtime', 'this is a bug of onnx-ire'), /^message that blames onnx-ire/],
  ])('%s > is a fault', (_, error, cause) => {
    expect(judge(error, 'decode')?.cause).toMatch(cause)
  })

  it('a verdict > has the code of the first error and all faults', () => {
    const verdict = new Verdict(() => {})
    verdict.stage('a', () => 1)
    verdict.stage('b', () => {
      throw new OnnxIreError('invalid-data', 'short')
    })
    verdict.stage('c', () => {
      throw new RangeError('deep')
    })
    verdict.expect(false, 'a wrong result')
    expect(verdict.outcome()).toMatchObject({
      ended: 'invalid-data',
      faults: [{ cause: expect.stringMatching(/^untyped RangeError/) }, { cause: 'a wrong result' }],
    })
  })
})

describe('edits of bytes', () => {
  const bytes = Uint8Array.from({ length: 50 }, (_, i) => i)

  it('the same seed > draws the same edits', () => {
    const mutant = (seed: number) => applyEdits(bytes, drawEdits(new Random(seed), bytes, [Uint8Array.of(9, 9)]))
    expect(mutant(3)).toEqual(mutant(3))
    expect(
      Array.from({ length: 50 }, (_, seed) => mutant(seed)).filter((each) => each.length !== 50).length,
    ).toBeGreaterThan(5)
  })

  it('replaces, removes and inserts', () => {
    const edit = (at: number, removed: number, ...inserted: number[]) => ({
      at,
      removed,
      inserted: Uint8Array.from(inserted),
    })
    expect([...applyEdits(bytes.subarray(0, 4), [edit(1, 1, 7, 8), edit(0, 1), edit(99, 5, 6)])]).toEqual([
      7, 8, 2, 3, 6,
    ])
  })

  it('fewer edits > are halves, then all but one', () => {
    const edits = [0, 1, 2].map((at) => ({ at, removed: 1, inserted: new Uint8Array(0) }))
    expect([...fewerEdits(edits)].map((some) => some.map(({ at }) => at))).toEqual([
      [0, 1],
      [2],
      [1, 2],
      [0, 2],
      [0, 1],
    ])
  })
})

describe('worker processes', () => {
  const program = fileURLToPath(new URL('worker.ts', import.meta.url))
  const worker = new Worker({ folder: tmpdir(), long: false, program })
  afterAll(() => worker.end())

  it.each([
    [1, { cpu: 0.5, memory: 500, wall: 60 }, /^over 0.5 s of CPU time, models, stage misbehave$/],
    [2, { cpu: 30, memory: 500, wall: 60 }, /^the process ended with SIGABRT, models, stage misbehave$/],
    [3, { cpu: 30, memory: 100, wall: 60 }, /^over 100 MiB of memory, models, stage misbehave$/],
    [4, { cpu: 30, memory: 500, wall: 1 }, /^no end after 1 s, models, stage misbehave$/],
  ])('case %i that hangs or crashes > is recorded, and the next one runs', async (seed, limits, cause) => {
    const reply = await worker.run({ campaign: 'models', seed }, limits)
    expect(reply).toMatchObject({
      title: `case ${seed}`,
      died: true,
      faults: [{ cause: expect.stringMatching(cause) }],
    })
    expect(reply.late).toBe(seed === 1 || seed === 4 ? true : undefined)
    const next = await worker.run({ campaign: 'models', seed: 0 }, limits)
    expect(next).toEqual({ title: 'well', ended: 'accepted', faults: [] })
  })
})

it('a report > counts faults by cause and names the case that replays the first one', () => {
  const report = new Report()
  const fault = { cause: 'untyped TypeError', detail: 'decode' }
  expect(report.add('models', 5, { title: 'a', ended: 'accepted', faults: [] })).toEqual([])
  expect(report.add('models', 6, { title: 'b', ended: 'invalid-model', faults: [fault, fault] })).toEqual([fault.cause])
  expect(report.add('bytes', 7, { title: 'c', ended: 'accepted', faults: [fault] })).toEqual([])
  expect(report.toJson()).toMatchObject({
    campaigns: { models: { cases: 2, ended: { accepted: 1, fault: 1 } }, bytes: { cases: 1 } },
    faults: [{ cause: fault.cause, count: 2, replay: 'models:6', title: 'b' }],
  })
})

it('a fault of a dependency > is reported with its reason and does not count', () => {
  const report = new Report()
  const cause = 'over 5 s of CPU time, data, stage read parquet SNAPPY'
  report.add('data', 1, { title: 'a', ended: 'fault', faults: [{ cause, detail: '' }] })
  expect(report.hasFaults).toBe(false)
  expect(report.toText()).toContain('hyparquet')
  report.add('data', 2, { title: 'b', ended: 'fault', faults: [{ cause: 'untyped TypeError', detail: '' }] })
  expect(report.hasFaults).toBe(true)
})

it('--replay > makes the same case again', async () => {
  const main = fileURLToPath(new URL('../../tools/torture/main.ts', import.meta.url))
  const args = ['--import', 'tsx', main, '--replay', 'checkpoints:1', '--json']
  const { stdout } = await promisify(execFile)(process.execPath, args)
  expect(JSON.parse(stdout)).toMatchObject({
    campaigns: { checkpoints: { cases: 1, ended: { damaged: 1 } } },
    faults: [],
  })
})
