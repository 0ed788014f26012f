import { afterAll, describe, expect, it } from 'vitest'
import { batches, Random } from '../../src/data/index.js'
import { buildTrainingGraphs, constant, input, op, parameter, type Value } from '../../src/graph/index.js'
import {
  accuracy,
  adamw,
  addTeacher,
  type Dataset,
  type DistillationOptions,
  distillation,
  evaluateModel,
  fromArrays,
  type Graph,
  ire,
  kl,
  labelColumn,
  type Model,
  predict,
  split,
  stream,
  Trainer,
  type TrainingOptions,
} from '../../src/index.js'
import { numbersOf, scalar, tensorFrom } from '../../src/ir/leaf.js'
import { sizeOf, type Tensor, type Tensors } from '../../src/ir/tensor.js'
import { chatData, readLanguageModel, trainingModel } from '../../src/language/index.js'
import { modelFolder, node } from '../../src/node/index.js'
import { type GraphSpec, modelOf } from '../../src/onnx/export/export-graph.js'
import { golden } from '../language/models.js'
import { distance, outputsOf } from '../lowering/outputs.js'
import { errorWith } from '../thrown.js'

const runtime = node({ threads: 1, worker: false })
afterAll(() => runtime.dispose())

const [batch, context, width, classes] = [3, 4, 6, 7]
const random = new Random(8)
const normal = (dims: readonly number[], dtype: 'float64' | 'float32' = 'float64'): Tensor =>
  tensorFrom(dtype, dims, random.fill(new Float64Array(sizeOf(dims)), 'normal'))

/** A network [N, 4, 6] -> [N, 4, 7] of a hidden width; all have tensors of the same names. */
function network(hidden: number, head: (z: Value) => Value = (z) => z): Graph & { readonly given: Tensors } {
  const x = input('x', 'float64', ['N', context, width])
  const [v, w] = [normal([width, hidden]), normal([hidden, classes])]
  const parameters = new Map([
    ['V', parameter('V', v)],
    ['W', parameter('W', w)],
  ])
  const z = op.MatMul(op.Tanh(op.MatMul(x, parameters.get('V')!)), parameters.get('W')!)
  return {
    name: 'g',
    inputs: new Map([['x', x]]),
    outputs: new Map([['y', head(z)]]),
    parameters,
    given: { V: v, W: w },
  }
}
const student = network(5)
const large = network(9)
const teacher: Model = modelOf(large)

const labels = [1, -1, 2, 6, 0, 0, -1, 3, 5, 4, 4, 2]
const feeds: Tensors = {
  x: normal([batch, context, width]),
  labels: tensorFrom('int64', [batch, context], labels),
  ...student.given,
}
const rowsOf = async (graph: Graph & { readonly given: Tensors }) => {
  const { name, inputs, outputs, parameters } = graph
  const all = { x: feeds['x']!, ...graph.given }
  const values = numbersOf(
    (await outputsOf(runtime, { name, inputs: new Map([...inputs, ...parameters]), outputs }, all))['y']!,
  )
  return labels.map((_, i) => values.slice(i * classes, (i + 1) * classes))
}
const run = (spec: GraphSpec, given: Tensors = feeds) =>
  outputsOf(runtime, spec, Object.fromEntries([...spec.inputs.keys()].map((name) => [name, given[name]!])))
const build = (options: Partial<DistillationOptions>, more: Partial<TrainingOptions> = {}) =>
  buildTrainingGraphs(student, { loss: distillation({ teacher, ...options }), trainable: '*', ...more })

const softmax = (z: readonly number[], temperature = 1) => {
  const e = z.map((value) => Math.exp(value / temperature))
  return e.map((value) => value / e.reduce((a, b) => a + b))
}

/** The loss of a position in plain arithmetic. @param kept classes of the teacher that count */
function formula(
  z: readonly number[],
  t: readonly number[],
  label: number,
  options: Partial<DistillationOptions>,
  kept = t.map((_, c) => c),
) {
  const { temperature = 2, weight = 0.5 } = options
  const p = softmax(z, temperature)
  const q = softmax(
    kept.map((c) => t[c]!),
    temperature,
  )
  const divergence = kept.reduce((sum, c, j) => sum + q[j]! * Math.log(q[j]! / p[c]!), 0)
  return (weight === 1 ? 0 : -(1 - weight) * Math.log(softmax(z)[label]!)) + weight * temperature ** 2 * divergence
}

/** Classes with the largest logits. */
const largest = (t: readonly number[], k: number) => [...t.keys()].sort((a, b) => t[b]! - t[a]!).slice(0, k)

const variants: Readonly<Record<string, Partial<DistillationOptions>>> = {
  default: { ignoreIndex: -1 },
  'other temperature and weight': { ignoreIndex: -1, temperature: 3.5, weight: 0.8 },
  'teacher alone': { ignoreIndex: -1, temperature: 1, weight: 1 },
}

describe.each(Object.entries(variants))('distillation > %s', (_, options) => {
  it('loss > that of the formula, with the logits of the teacher and with stored ones', async () => {
    const [z, t] = [await rowsOf(student), await rowsOf(large)]
    const mean = (kept?: (t: readonly number[]) => number[]) => {
      const counted = labels.flatMap((label, i) =>
        label < 0 ? [] : [formula(z[i]!, t[i]!, label, options, kept?.(t[i]!))],
      )
      return counted.reduce((a, b) => a + b) / counted.length
    }
    for (const part of ['training', 'evaluation'] as const) {
      const { loss, count } = await run(build(options)[part])
      expect(numbersOf(count!)).toEqual([10])
      expect(numbersOf(loss!)[0]).toBeCloseTo(mean(), 12)
    }
    const k = 3
    const chosen = t.map((row) => largest(row, k))
    const stored = {
      ...feeds,
      teacher_logits: tensorFrom(
        'float64',
        [batch, context, k],
        t.flatMap((row, i) => chosen[i]!.map((c) => row[c]!)),
      ),
      teacher_classes: tensorFrom('int64', [batch, context, k], chosen.flat()),
    }
    const { training } = build({ ...options, teacher: 'data' })
    const whole = await run(training, stored)
    expect(numbersOf(whole['loss']!)[0]).toBeCloseTo(
      mean((row) => largest(row, k)),
      12,
    )
    for (const chunk of [5, 1, 64]) {
      const chunked = build({ ...options, teacher: 'data', chunk })
      expect(distance(await run(chunked.training, stored), whole)).toBeLessThan(1e-12)
    }
  })

  it('chunks > the loss, gradients and metrics without', async () => {
    const metrics = { metrics: [accuracy()] }
    for (const part of ['training', 'evaluation'] as const) {
      const expected = await run(build(options, metrics)[part])
      for (const chunk of [5, 1, 64])
        expect(distance(await run(build({ ...options, chunk }, metrics)[part]), expected)).toBeLessThan(1e-12)
    }
  })

  it('gradients > the slope of the loss along a direction; none of the teacher', async () => {
    const { training } = build({ ...options, chunk: 5 })
    const outputs = await run(training)
    expect([...training.outputs.keys()].filter((name) => name.startsWith('grad/')).toSorted()).toEqual([
      'grad/V',
      'grad/W',
    ])
    const directions = Object.entries(student.given).map(([name, { dims }]) => [name, numbersOf(normal(dims))] as const)
    const lossAt = async (h: number) => {
      const moved = directions.map(([name, direction]) => [
        name,
        tensorFrom(
          'float64',
          feeds[name]!.dims,
          numbersOf(feeds[name]!).map((w, i) => w + h * direction[i]!),
        ),
      ])
      return numbersOf((await run(training, { ...feeds, ...Object.fromEntries(moved) }))['loss']!)[0]!
    }
    const slope = directions.reduce(
      (sum, [name, direction]) =>
        sum + numbersOf(outputs[`grad/${name}`]!).reduce((part, dx, i) => part + dx * direction[i]!, 0),
      0,
    )
    expect(Math.abs(slope)).toBeGreaterThan(0.01)
    expect(((await lossAt(1e-5)) - (await lossAt(-1e-5))) / 2e-5).toBeCloseTo(slope, 6)
  })
})

describe('distillation > teachers', () => {
  it('a Softmax at the end of the teacher is bypassed; without labels the loss is kl of the probabilities', async () => {
    const probabilities = modelOf({
      ...large,
      outputs: new Map([['y', op.Softmax(large.outputs.get('y')!, { axis: -1 })]]),
    })
    const options = { labels: null, weight: 1, temperature: 1 }
    const found = await run(build({ ...options, teacher: probabilities }).training)
    const targets = tensorFrom(
      'float64',
      [batch, context, classes],
      (await rowsOf(large)).flatMap((row) => softmax(row)),
    )
    const expected = buildTrainingGraphs(student, { loss: kl(), trainable: '*' }).training
    expect(distance(found, await run(expected, { ...feeds, targets }))).toBeLessThan(1e-12)
  })

  it('Dropout that the file of the teacher sets to training mode > is off', async () => {
    const x = large.inputs.get('x')!
    const [dropped] = op.Dropout(x, scalar('float64', 0.5), scalar('bool', 1))
    const w = parameter('W', normal([width, classes]))
    const [dropping, plain] = [dropped, x].map((z) =>
      modelOf({ name: 'g', inputs: large.inputs, outputs: new Map([['y', op.MatMul(z, w)]]) }),
    ) as [Model, Model]
    const options = { labels: null, weight: 1 }
    const expected = await run(build({ ...options, teacher: plain }).training)
    expect(distance(await run(build({ ...options, teacher: dropping }).training), expected)).toBeLessThan(1e-12)
    const data = { length: batch, batch: () => ({ x: feeds['x']! }) }
    const logitsOf = async (model: Model) => {
      const taught = await addTeacher(data, model, { runtime, classes: 2 })
      return numbersOf((await taught.batch([0, 1, 2]))['teacher_logits']!)
    }
    expect(await logitsOf(dropping)).toEqual(await logitsOf(plain))
  })

  it('a stored logit of -infinity > the loss without the class', async () => {
    const x = { dims: [2, context, width], data: random.fill(new Float32Array(2 * context * width), 'normal') }
    const rows = 2 * context
    const lossOf = async (k: number) => {
      const stored = (of: readonly number[]) => Array.from({ length: rows }, () => of.slice(0, k)).flat()
      const data = fromArrays({
        x,
        teacher_logits: { dims: [2, context, k], data: Float32Array.from(stored([2, -1, -Infinity])) },
        teacher_classes: { dims: [2, context, k], data: BigInt64Array.from(stored([1, 4, 2]), BigInt) },
      })
      const given = { loss: distillation({ teacher: 'data', labels: null, weight: 1, temperature: 100 }), runtime }
      return (await evaluateModel(modelOf(student), data, given)).loss
    }
    expect(await lossOf(3)).toBeCloseTo(await lossOf(2), 5)
  })

  it.each(['teacher', 'both models'])('logits of -infinity, of the %s > the loss without these classes', async (of) => {
    const mask = tensorFrom('float64', [classes], [0, 0, 0, -Infinity, 0, 0, -Infinity])
    const masked = (z: Value) => op.Add(z, constant(mask))
    const withHead = (graph: typeof large, head: (z: Value) => Value) => ({
      ...graph,
      outputs: new Map([['y', head(graph.outputs.get('y')!)]]),
    })
    const model = of === 'teacher' ? student : withHead(student, masked)
    const teacher = modelOf(withHead(large, masked))
    const [z, t] = [await rowsOf(student), await rowsOf(large)]
    const kept = [0, 1, 2, 4, 5]
    const y = labels.map((label) => (kept.includes(label) ? label : 0))
    const expected = y.map((label, i) => {
      const row = z[i]!.map((value, c) => (of === 'teacher' || kept.includes(c) ? value : -Infinity))
      return formula(row, t[i]!, label, {}, kept)
    })
    const given = { ...feeds, labels: tensorFrom('int64', [batch, context], y) }
    const build = (chunk?: number) =>
      buildTrainingGraphs(model, { loss: distillation({ teacher, ...(chunk && { chunk }) }), trainable: '*' }).training
    const found = await run(build(), given)
    expect(numbersOf(found['loss']!)[0]).toBeCloseTo(expected.reduce((a, b) => a + b) / expected.length, 12)
    expect(numbersOf(found['grad/V']!).every(Number.isFinite)).toBe(true)
    expect(distance(await run(build(5), given), found)).toBeLessThan(1e-12)
  })

  it('an input that the trained model does not have > fed by the data', async () => {
    const scale = input('scale', 'float64', [])
    const other: Graph = {
      ...large,
      inputs: new Map([...large.inputs, ['scale', scale]]),
      outputs: new Map([['y', op.Mul(large.outputs.get('y')!, scale)]]),
    }
    const { data, training } = build({ teacher: modelOf(other), ignoreIndex: -1 })
    expect([...data.keys()]).toEqual(['x', 'labels', 'scale'])
    const scaled = await run(training, { ...feeds, scale: tensorFrom('float64', [], [1]) })
    expect(distance(scaled, await run(build({ ignoreIndex: -1 }).training))).toBeLessThan(1e-12)
  })

  it.each([5, undefined])('micro-batches, chunk %s > the losses of whole batches', async (chunk) => {
    const data = { length: batch, batch: () => ({ x: feeds['x']!, labels: feeds['labels']! }) }
    const losses = await Promise.all(
      [3, 1].map(async (microBatch) => {
        const all: number[] = []
        const trainer = await Trainer.create(modelOf(student), {
          loss: distillation({ teacher, ignoreIndex: -1, ...(chunk && { chunk }) }),
          optimizer: ire(adamw({ lr: 1e-2 }), { kappa: 1, gamma: 0.5, interval: 2 }),
          ...{ runtime, batchSize: batch, microBatch },
        })
        await trainer.train(data, { totalSteps: 8, onStep: ({ loss }) => void all.push(loss) })
        await trainer.dispose()
        return all
      }),
    )
    for (const [i, loss] of losses[0]!.entries()) expect(losses[1]![i]).toBeCloseTo(loss, 8)
    expect(losses[0]!.at(-1)).toBeLessThan(0.9 * losses[0]![0]!)
  })
})

describe('addTeacher', () => {
  const examples = 40
  const pixels = normal([examples, width], 'float32')
  const model = (hidden: number, length: number | string = 'N'): Model => {
    const x = input('x', 'float32', [length, width])
    const [v, w] = [
      parameter('V', normal([width, hidden], 'float32')),
      parameter('W', normal([hidden, classes], 'float32')),
    ]
    return modelOf({
      name: 'g',
      inputs: new Map([['x', x]]),
      outputs: new Map([['y', op.MatMul(op.Tanh(op.MatMul(x, v)), w)]]),
    })
  }
  const [small, big] = [model(16), model(8)]
  const data = fromArrays({
    x: { dtype: 'float32', dims: pixels.dims, data: pixels.data as Float32Array },
    labels: labelColumn(Uint8Array.from({ length: examples }, (_, i) => i % classes)),
  })
  const evaluate = async (options: DistillationOptions, on: typeof data, totalEpochs = 20) => {
    const trainer = await Trainer.create(small, {
      loss: distillation(options),
      optimizer: adamw({ lr: 3e-2 }),
      runtime,
      batchSize: 8,
    })
    const before = await trainer.evaluate(on)
    await trainer.train(on, { totalEpochs })
    const after = await trainer.evaluate(on)
    await trainer.dispose()
    return { before, after }
  }

  it('all classes of a data set > the results of the teacher in the graph', async () => {
    const stored = await addTeacher(data, big, { runtime, batchSize: 16 })
    const [online, offline] = [await evaluate({ teacher: big }, data), await evaluate({ teacher: 'data' }, stored)]
    expect(offline.before.loss).toBeCloseTo(online.before.loss, 5)
    expect(offline.after.loss).toBeCloseTo(online.after.loss, 3)
  })

  it.each([3, 16])(
    'a teacher whose file fixes %i examples > its logits, of a data set and of a stream',
    async (fixed) => {
      const teacher = model(8, fixed)
      const expected: number[] = []
      for await (const { outputs } of predict(teacher, data, { runtime })) {
        const z = numbersOf(outputs['y']!)
        for (let i = 0; i < z.length; i += classes) expected.push(Math.max(...z.slice(i, i + classes)))
      }
      const rows = stream(
        Array.from({ length: examples }, (_, i) => ({
          x: (pixels.data as Float32Array).slice(i * width, (i + 1) * width),
        })),
      )
      for (const of of [data, rows]) {
        const found: number[] = []
        for await (const { tensors } of batches(await addTeacher(of, teacher, { runtime, classes: 1 }), {
          batchSize: 7,
        }))
          found.push(...numbersOf(tensors['teacher_logits']!))
        expect(found).toEqual(expected)
      }
    },
  )

  it('split > has the parts of the data without a teacher, and statistics of the training part', async () => {
    const table = (count: number): Dataset => ({
      ...data,
      statistics: { x: { x: { offset: count } } },
      fitTo: ({ length }) => table(length),
    })
    const stored = await addTeacher(table(examples), big, { runtime, batchSize: 16 })
    const [plain, taught] = [table(examples), stored].map((each) => split(each, { validation: 0.25 }))
    expect(taught!.train.statistics).toEqual({ x: { x: { offset: 30 } } })
    const indices = Array.from({ length: 10 }, (_, i) => i)
    const { teacher_logits: logits, teacher_classes: _, ...others } = await taught!.validation.batch(indices)
    expect(others).toEqual(await plain!.validation.batch(indices))
    const { teacher_logits: expected } = await (await addTeacher(plain!.validation, big, { runtime })).batch(indices)
    expect(distance({ logits: logits! }, { logits: expected! })).toBeLessThan(1e-5)
    const one = async function* () {
      yield { x: Float32Array.from({ length: width }, () => 1), labels: 0n }
    }
    const { statistics } = table(examples)
    expect((await addTeacher({ ...stream(one), statistics }, big, { runtime })).statistics).toBe(statistics)
  })

  it('a checkpoint > restored by a trainer of the same loss, refused by one of another teacher', async () => {
    const create = (options: DistillationOptions) =>
      Trainer.create(small, { loss: distillation(options), optimizer: adamw(), runtime, batchSize: 8 })
    for (const teacher of ['data', big] as const) {
      const [one, other] = [await create({ teacher }), await create({ teacher })]
      expect(() => other.restore(one.checkpoint())).not.toThrow()
      await one.dispose()
      await other.dispose()
    }
    const [one, other] = [await create({ teacher: big }), await create({ teacher: small })]
    expect(() => other.restore(one.checkpoint())).toThrow(errorWith('checkpoint', 'loss'))
    await one.dispose()
    await other.dispose()
  })

  it('data without labels > the student chooses the classes of the teacher', async () => {
    const { before, after } = await evaluate({ teacher: big, labels: null, weight: 1 }, data, 80)
    expect(before.accuracy).toBeLessThan(0.5)
    expect(after.accuracy).toBeGreaterThan(0.9)
  })

  it('few classes of chat data > the largest logits, padded; the teacher as student has the loss 0', async () => {
    const chat = await readLanguageModel(modelFolder(`${golden}/llama-optimum`))
    const rows = ['Hello', 'How are you? I am fine.', 'Paris'].map((text) => ({ text }))
    const decoder = trainingModel(chat.model)
    const encoded = chatData(rows, chat, { batchSize: 2 })
    const stored = await addTeacher(encoded, decoder, { runtime, classes: 5, logits: 'logits' })
    for (const epoch of [0, 1])
      for await (const { tensors } of batches(stored, { batchSize: 2, epoch })) {
        const { dims } = tensors['labels']!
        expect(tensors['teacher_logits']!.dims).toEqual([...dims, 5])
        expect(tensors['teacher_classes']!.dims).toEqual([...dims, 5])
      }
    const all = await addTeacher(encoded, decoder, { runtime, classes: 1e6, logits: 'logits' })
    const shared = { logits: 'logits', ignoreIndex: -100, chunk: 'auto', weight: 1 } as const
    const lossOf = async (options: DistillationOptions, on: typeof encoded | typeof all) => {
      const trainer = await Trainer.create(decoder, {
        loss: distillation(options),
        optimizer: adamw({ lr: 1e-4 }),
        runtime,
        batchSize: 2,
      })
      const { loss, count } = await trainer.evaluate(on)
      await trainer.train(on, { totalSteps: 1 })
      await trainer.dispose()
      expect(count).toBe(encoded.report.counted)
      return loss
    }
    expect(await lossOf({ ...shared, teacher: decoder }, encoded)).toBeCloseTo(0, 5)
    expect(await lossOf({ ...shared, teacher: 'data' }, all)).toBeCloseTo(0, 5)
  })
})

describe('distillation > rejected', () => {
  const rejects = (action: () => unknown, text: string) => expect(action).toThrow(errorWith('invalid-option', text))

  it('options out of range', () => {
    rejects(() => distillation({ teacher, temperature: 0 }), 'temperature')
    rejects(() => distillation({ teacher, weight: 1.1 }), 'weight')
    rejects(() => distillation({ teacher: 'teacher.onnx' as never }), 'teacher')
    rejects(() => distillation({ teacher, labels: null }), 'labels')
    rejects(() => distillation({ teacher, chunk: 0 }), 'chunk')
  })

  it('a teacher of other classes', () => {
    const x = input('x', 'float64', ['N', context, width])
    const other = modelOf({
      ...large,
      inputs: new Map([['x', x]]),
      outputs: new Map([['y', op.MatMul(x, parameter('W', normal([width, classes + 1])))]]),
    })
    rejects(() => build({ teacher: other }), 'classes')
  })
})
