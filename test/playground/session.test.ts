import { beforeEach, expect, it, vi } from 'vitest'
import { mlp } from '../../models/index.js'
import { input, modelOf, op, parameter, tensor } from '../../src/graph/index.js'
import { encodeModel, type Model } from '../../src/index.js'
import type { EndedEvent, Settings, ShownExample } from '../../tools/playground/protocol.js'
import { Session } from '../../tools/playground/worker/session.js'
import { writeStoredRun } from '../../tools/playground/worker/stored-run.js'

vi.mock('../../tools/playground/worker/stored-run.js', () => ({
  lockRun: async () => () => {},
  runFolder: (id: string) => id,
  tunedPath: (id: string, contender: string) => `${id}/${contender}`,
  deleteStoredRun: async () => {},
  writeStoredRun: vi.fn(async () => {}),
}))

beforeEach(() => vi.stubGlobal('ImageData', class {}))

const fileOf = (name: string, model: Model) => new File([encodeModel(model) as Uint8Array<ArrayBuffer>], name)
const network = (seed: number) => fileOf(`${seed}.onnx`, modelOf(mlp({ features: 2, hidden: [4], classes: 2, seed })))

it('a model that is opened during a prediction > the next prediction is that of the new model', async () => {
  const only = new Session(() => {})
  await only.open(network(2))
  const wanted = await only.look([1, 2], 2)
  // The prediction begins after so many steps of the opening.
  for (let delay = 0; delay < 20; delay++) {
    const session = new Session(() => {})
    await session.open(network(1))
    const opening = session.open(network(2))
    for (let i = 0; i < delay; i++) await Promise.resolve()
    await session.look([1, 2], 2)
    await opening
    expect(await session.look([1, 2], 2)).toEqual(wanted)
  }
})

const rows = (count: number) => {
  const lines = Array.from({ length: count }, (_, i) => `${i % 7},${i % 3},${i % 2 ? 'odd' : 'even'}`)
  const file = new File([['a,b,class', ...lines].join('\n')], `${count}.csv`)
  return { kind: 'csv', file, label: 'class' } as const
}

it('data, a model or a form that is chosen while other data are read > those are refused', async () => {
  const session = new Session(() => {})
  const { form } = await session.open(network(1))
  const refused = { code: 'invalid-option', message: expect.stringMatching(/^These data are not used/) }
  const changes = [
    () => session.data(rows(10)),
    () => session.form({ ...form, normalization: 'signed' }),
    () => session.open(network(2)),
  ]
  for (const change of changes) {
    const reading = session.data(rows(3000))
    const changed = change()
    await expect(reading).rejects.toMatchObject(refused)
    await changed
  }
  expect(await session.data(rows(10))).toMatchObject({ examples: 10 })
})

it('a model that onnxruntime refuses > the next model opens', async () => {
  const x = input('x', 'float32', ['N', 2])
  const w = parameter('w', tensor('float32', [2, 2], new Float32Array(4)))
  // onnxruntime has no kernel for this type.
  const y = op.Cast(op.Softplus(op.Cast(op.MatMul(x, w), { to: 11 })), { to: 1 })
  const graph = {
    name: 'wide',
    inputs: new Map([['x', x]]),
    parameters: new Map([['w', w]]),
    outputs: new Map([['y', y]]),
  }
  const session = new Session(() => {})
  await session.open(fileOf('wide.onnx', modelOf(graph)))
  await expect(session.look([1, 2], 2)).rejects.toThrow(/Softplus/)
  expect(await session.open(network(1))).toMatchObject({ name: '1.onnx' })
  expect(Object.keys(await session.look([1, 2], 2))).toEqual(['untrained'])
})

const settings: Settings = {
  ...({ provider: 'wasm', layers: 'all', epochs: 2, batchSize: 4, lr: 0.01, weightDecay: 0, seed: 0 } as const),
  ...{ held: 0.25, kappa: 1, gamma: 0.5, interval: 2, flatness: false },
}

/** A session with a model and data, and the events of the ends of its runs. */
async function begin() {
  const ends: EndedEvent[] = []
  const session = new Session((event) => event.kind === 'ended' && ends.push(event))
  await session.open(network(1))
  await session.data(rows(16))
  return { session, ends }
}

it('a run that is stopped before its first step > has no tuned models', async () => {
  const { session, ends } = await begin()
  const training = session.train(settings)
  await session.stop()
  expect(await training).toEqual({ stopped: true })
  expect(ends).toEqual([{ kind: 'ended', run: null, reason: null }])
})

it('a run that fails > its models are not reported as stored', async () => {
  const { session, ends } = await begin()
  const error = await session.train({ ...settings, lr: 1e38, epochs: 50 }).catch((error: Error) => error)
  expect(error).toBeInstanceOf(Error)
  expect(ends).toEqual([{ kind: 'ended', run: expect.any(String), reason: (error as Error).message }])
})

it('examples that were shown, and a run on other data > are stored apart', async () => {
  const { session } = await begin()
  const example = { label: 'a', pixels: {} } as ShownExample
  vi.mocked(writeStoredRun).mockClear()
  await session.keepExamples({ kind: 'shown', classes: ['a'], examples: [example] })
  await session.train(settings)
  const [shown, ...others] = vi.mocked(writeStoredRun).mock.calls.map(([{ id }]) => id)
  expect(others.length).toBeGreaterThan(0)
  expect(others).not.toContain(shown)
})

it('another model that is opened when training begins > is refused, and the run ends', async () => {
  const { session, ends } = await begin()
  const opening = session.open(network(2)).catch((error: Error) => error)
  const training = session.train({ ...settings, epochs: 1 })
  expect(await opening).toMatchObject({ message: expect.stringMatching(/in progress/) })
  await training
  expect(ends).toMatchObject([{ kind: 'ended', run: expect.any(String) }])
})

it('a run that is refused for its held-out share > the models of the run before stay open', async () => {
  const { session, ends } = await begin()
  await session.train({ ...settings, epochs: 1 })
  await expect(session.train({ ...settings, held: 0.01 })).rejects.toMatchObject({ code: 'invalid-option' })
  expect(Object.keys(await session.look([1, 2], 2)).sort()).toEqual(['base', 'ire'])
  expect(ends.length).toBe(1)
})

it('examples that are stored twice at once > are one stored run', async () => {
  const { session } = await begin()
  const choice = (label: string) => ({
    kind: 'shown' as const,
    classes: ['a'],
    examples: [{ label, pixels: {} } as ShownExample],
  })
  vi.mocked(writeStoredRun).mockClear()
  await Promise.all([session.keepExamples(choice('a')), session.keepExamples(choice('b'))])
  const ids = vi.mocked(writeStoredRun).mock.calls.map(([{ id }]) => id)
  expect(ids.length).toBe(2)
  expect(new Set(ids).size).toBe(1)
})

it('a table with semicolons, and commas within quoted names > is divided at the semicolons', async () => {
  const file = new File(['"a, b, cm";"c, d, cm";kind\n"1";"2";a\n'], 'table.csv')
  const { columns } = await new Session(() => {}).previewTable(file)
  expect(columns.map(({ name }) => name)).toEqual(['a, b, cm', 'c, d, cm', 'kind'])
})
