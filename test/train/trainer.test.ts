import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { Random, subset, transform } from '../../src/data/index.js'
import { importGraph, input, modelOf, op, parameter } from '../../src/graph/index.js'
import {
  adamw,
  crossEntropy,
  type Dataset,
  encodeModel,
  fromArrays,
  type IntervalMetrics,
  ire,
  labelColumn,
  type Model,
  type Optimizer,
  sam,
  sgd,
  Trainer,
} from '../../src/index.js'
import { tensorFrom } from '../../src/ir/leaf.js'
import { decodeSafetensors, encodeSafetensors } from '../../src/ir/safetensors.js'
import { readModel, writeModel } from '../../src/node/index.js'
import { session } from '../onnx/session.js'
import { rejectedError } from '../thrown.js'
import { argMax, clusters, crossEntropyOf, flat, normal, smallConvnet, smallMlp } from './problem.js'
import { startTrainers, train } from './small-trainer.js'

const { runtime, create } = startTrainers()

const points = clusters(40, [6])
const images = clusters(24, [2, 6, 6])

describe('a training run', () => {
  it('reads a file, trains with IRE, and writes a file with the same metrics in plain onnxruntime', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'trainer-'))
    try {
      await writeModel(join(folder, 'model.onnx'), smallMlp())
      const model = await readModel(join(folder, 'model.onnx'))
      const trainer = await Trainer.create(model, {
        loss: crossEntropy({ logits: 'logits' }),
        optimizer: ire(adamw({ lr: 1e-2 }), { kappa: 2, gamma: 0.8, interval: 10 }),
        runtime,
      })
      const before = await trainer.evaluate(points)
      const metrics: IntervalMetrics[] = []
      for await (const epoch of trainer.fit(points, { totalEpochs: 30 })) metrics.push(epoch)
      await writeModel(join(folder, 'tuned.onnx'), trainer.export())
      expect(metrics.length).toBe(30)
      expect(metrics[29]).toMatchObject({ epoch: 29, step: 60, count: 40 })
      expect(metrics[29]!.flatShare).toBeGreaterThanOrEqual(0.8)
      const after = await trainer.evaluate(points)
      expect(after.loss).toBeLessThan(before.loss / 2)
      expect(await scores(await readModel(join(folder, 'tuned.onnx')), points)).toEqual({
        loss: expect.closeTo(after.loss, 5),
        accuracy: after.accuracy,
      })
      await trainer.dispose()
    } finally {
      await rm(folder, { recursive: true })
    }
  })

  it('is identical for the same seed, and different for another seed', async () => {
    const optimizer = ire(adamw({ lr: 1e-2 }), { kappa: 2, gamma: 0.6, interval: 2 })
    const run = async (seed: number) => {
      const trainer = await create({ optimizer, seed })
      const metrics = await train(trainer, points, { totalEpochs: 3 })
      return { parameters: flat(await trainer.parameters()), losses: metrics.map(({ loss }) => loss) }
    }
    const first = await run(5)
    expect(await run(5)).toEqual(first)
    expect((await run(6)).parameters).not.toEqual(first.parameters)
  })

  it('starts with a new head if the option is set', async () => {
    const trainer = await create({ head: { classes: 5, seed: 3 } })
    const fives = transform(points, (batch, indices) => ({
      x: batch['x']!,
      labels: labelColumn(Array.from(indices, (index) => index % 5)),
    }))
    await train(trainer, fives, { totalEpochs: 2 })
    const tuned = importGraph(trainer.export())
    expect(tuned.outputs.get('logits')!.shape).toEqual(['N', 5])
    const { run } = await session(encodeModel(trainer.export()))
    expect((await run({ x: normal(new Random(1), [2, 6]) }))['logits']!.dims).toEqual([2, 5])
    expect((await rejectedError(() => create({ head: { classes: 0 } }))).code).toBe('invalid-option')
  })

  it('counts totals from the beginning of training, and rejects a fit with nothing to do', async () => {
    const trainer = await create()
    const metrics = await train(trainer, points, { totalSteps: 7 })
    expect(metrics.map(({ epoch, step, count }) => [epoch, step, count])).toEqual([
      [0, 5, 40],
      [1, 7, 16],
    ])
    expect(trainer.step).toBe(7)
    for (const totals of [{ totalSteps: 7 }, { totalSteps: 5 }, { totalEpochs: 1 }]) {
      expect(trainer.isFinished(totals)).toBe(true)
      const { code, message } = await rejectedError(() => train(trainer, points, totals))
      expect(code).toBe('invalid-option')
      expect(message).toMatch(Object.keys(totals)[0]!)
    }
    expect(trainer.isFinished({ totalEpochs: 2 })).toBe(false)
    expect((await train(trainer, points, { totalEpochs: 2 })).map(({ step }) => step)).toEqual([10])
    expect((await rejectedError(() => train(trainer, points, {}))).message).toMatch(/totalEpochs.*totalSteps/)
    expect((await rejectedError(() => train(trainer, points, { totalEpochs: 1, totalSteps: 1 }))).code).toBe(
      'invalid-option',
    )
    expect((await rejectedError(() => train(trainer, points, { totalEpochs: 0 }))).code).toBe('invalid-option')
  })

  it('train() returns the metrics of the last interval, or null if aborted before the first step', async () => {
    const [trainer, other] = [await create(), await create()]
    const metrics = await train(other, points, { totalEpochs: 2 })
    const last = await trainer.train(points, { totalEpochs: 2 })
    expect({ ...last, secondsPerStep: 0 }).toEqual({ ...metrics.at(-1), secondsPerStep: 0 })
    expect(await trainer.train(points, { totalEpochs: 3, signal: { aborted: true } })).toBe(null)
    expect(trainer.step).toBe(10)
  })

  it('evaluates validation data after every epoch', async () => {
    const trainer = await create()
    const validation = subset(points, { start: 30 })
    const metrics = await train(trainer, subset(points, { end: 30 }), { totalEpochs: 2, validation })
    expect(metrics[1]!.validation).toEqual(await trainer.evaluate(validation))
    expect(metrics[1]!.validation!.count).toBe(10)
  })

  it('returns training metrics as means over examples, with a smaller last batch', async () => {
    const ragged = subset(points, { end: 11 })
    const trainer = await create({ optimizer: sgd({ lr: 0 }) })
    const [metrics] = await train(trainer, ragged, { totalEpochs: 1 })
    const still = await trainer.evaluate(ragged)
    expect(metrics!.count).toBe(11)
    expect(metrics!.loss).toBeCloseTo(still.loss, 6)
    expect(metrics!.accuracy).toBeCloseTo(still.accuracy!, 12)
  })

  it('ends without an error after the current step when aborted', async () => {
    const trainer = await create()
    const signal = { aborted: false }
    const metrics = await train(trainer, points, {
      totalEpochs: 3,
      signal,
      onStep: ({ step }) => {
        signal.aborted = step === 6
      },
    })
    expect(trainer.step).toBe(7)
    expect(metrics.map(({ step }) => step)).toEqual([5, 7])
    expect(await train(trainer, points, { totalEpochs: 3, signal: { aborted: true } })).toEqual([])
  })
})

describe('a checkpoint', () => {
  const optimizers: readonly (readonly [string, Optimizer])[] = [
    ['AdamW', adamw({ lr: 1e-2 })],
    ['SAM', sam(sgd({ lr: 0.1, momentum: 0.9 }))],
    ['IRE around AdamW', ire(adamw({ lr: 1e-2 }), { kappa: 3, gamma: 0.6, interval: 3, beta: 0.5 })],
    ['IRE around SAM', ire(sam(sgd({ lr: 0.05 })), { kappa: 2, gamma: 0.7, interval: 2 })],
  ]
  it.each(optimizers)('taken within an epoch continues bit for bit: %s, trained norms', async (_, optimizer) => {
    const options = { optimizer, batchNorm: 'trained', seed: 9, schedule: { kind: 'cosine' } } as const
    const whole = await create(options, smallConvnet())
    await train(whole, images, { totalEpochs: 3 })

    const half = await create(options, smallConvnet())
    const signal = { aborted: false }
    const onStep = ({ step }: { readonly step: number }) => {
      signal.aborted = step === 3
    }
    await train(half, images, { totalEpochs: 3, signal, onStep })
    expect(half.step).toBe(4)
    const saved = half.checkpoint()
    await train(half, images, { totalEpochs: 3 })

    const resumed = await create(options, smallConvnet())
    resumed.restore(saved)
    expect(resumed.step).toBe(4)
    await train(resumed, images, { totalEpochs: 3 })
    const model = encodeModel(whole.export())
    expect(Buffer.compare(encodeModel(resumed.export()), model)).toBe(0)
    expect(Buffer.compare(encodeModel(half.export()), model)).toBe(0)
  })

  it('of another run is rejected without any change', async () => {
    const trainer = await create()
    const saved = trainer.checkpoint()
    await train(trainer, points, { totalSteps: 2 })
    const before = flat(await trainer.parameters())
    const others = await Promise.all([
      create({ seed: 1 }),
      create({ batchSize: 4 }),
      create({ optimizer: sgd({ lr: 1e-2 }) }),
      create({ trainable: 'head*' }),
      create({}, smallConvnet()),
    ])
    for (const other of others) {
      const kept = flat(await other.parameters())
      expect((await rejectedError(async () => other.restore(saved))).code).toBe('checkpoint')
      expect(flat(await other.parameters())).toEqual(kept)
      expect((await rejectedError(async () => trainer.restore(other.checkpoint()))).code).toBe('checkpoint')
    }
    const damaged = saved.slice()
    damaged[damaged.length - 3]! ^= 1
    const { tensors, metadata } = decodeSafetensors(saved)
    const withoutNumbers = encodeSafetensors({ tensors, metadata: { ...metadata, numbers: 'null' } })
    expect((await rejectedError(async () => trainer.restore(withoutNumbers))).code).toBe('checkpoint')
    for (const bytes of [damaged, saved.subarray(0, 100), new Uint8Array()])
      expect((await rejectedError(async () => trainer.restore(bytes))).code).toBe('damaged')
    expect(flat(await trainer.parameters())).toEqual(before)
    expect(trainer.step).toBe(2)
  })
})

describe('an exported model', () => {
  it('differs from the original only in the bytes of the trained tensors', async () => {
    const model = smallConvnet()
    const before = encodeModel(model)
    const trainer = await create(
      {
        trainable: { exclude: ['stage0*', '*running*'], include: ['stage*', 'head*'] },
      },
      model,
    )
    await train(trainer, images, { totalEpochs: 1 })
    const after = encodeModel(trainer.export())
    expect(encodeModel(model)).toEqual(before)
    expect(after.length).toBe(before.length)
    const parameters = await trainer.parameters()
    const spans = [...importGraph(model).parameters].flatMap(([name, { source }]) => {
      if (source.kind !== 'parameter' || !(name in parameters)) return []
      const { buffer, byteOffset, byteLength } = source.tensor.data as Float32Array
      const at = Buffer.from(before).indexOf(new Uint8Array(buffer, byteOffset, byteLength))
      return [[at, at + byteLength] as const]
    })
    expect(Object.keys(parameters)).toEqual([
      'stage1.conv.weight',
      'stage1.norm.weight',
      'stage1.norm.bias',
      'head.weight',
      'head.bias',
    ])
    const changed = Array.from(after.keys()).filter((i) => after[i] !== before[i])
    expect(changed.length).toBeGreaterThan(100)
    expect(changed.every((i) => spans.some(([from, to]) => i >= from && i < to))).toBe(true)
  })

  it('does not change when training continues', async () => {
    const trainer = await create()
    const exported = trainer.export()
    const before = encodeModel(exported).slice()
    await train(trainer, points, { totalSteps: 2 })
    expect(encodeModel(exported)).toEqual(before)
    expect(encodeModel(trainer.export())).not.toEqual(before)
  })

  it('has the same metrics in plain onnxruntime, also with trained norms', async () => {
    for (const batchNorm of ['frozen', 'trained'] as const) {
      const trainer = await create({ batchNorm }, smallConvnet())
      await train(trainer, images, { totalEpochs: 2 })
      const { loss, accuracy } = await trainer.evaluate(images)
      expect(await scores(trainer.export(), images)).toEqual({ loss: expect.closeTo(loss, 5), accuracy })
    }
  })
})

/** Loss and accuracy of a classifier in plain onnxruntime and plain arithmetic. */
async function scores(model: Model, data: Dataset): Promise<{ loss: number; accuracy: number }> {
  const { run } = await session(encodeModel(model))
  const batch = await data.batch(Uint32Array.from({ length: data.length }, (_, i) => i))
  const { logits } = await run({ x: batch['x']! })
  const rows = Array.from({ length: data.length }, (_, i) =>
    Array.from(logits!.data as Float32Array).slice(3 * i, 3 * i + 3),
  )
  const truth = Array.from(batch['labels']!.data as BigInt64Array, Number)
  return {
    loss: rows.reduce((sum, row, i) => sum + crossEntropyOf(row, truth[i]!), 0) / rows.length,
    accuracy: rows.filter((row, i) => argMax(row) === truth[i]).length / rows.length,
  }
}

describe('a model whose file fixes the number of examples', () => {
  const fixed = (examples: number | string): Model => {
    const random = new Random(8)
    const x = input('x', 'float32', [examples, 6])
    const w = parameter('w', normal(random, [6, 3]))
    const b = parameter('b', normal(random, [3]))
    return modelOf({
      name: 'fixed',
      inputs: new Map([['x', x]]),
      outputs: new Map([['logits', op.Add(op.MatMul(x, w), b)]]),
    })
  }

  it('is trained in micro-batches, with the same result as the whole batch', async () => {
    const optimizer = ire(sgd({ lr: 0.1, momentum: 0.9 }), { kappa: 2, gamma: 0.6, interval: 2 })
    // A quarter of the batch would be fewer than 4 examples.
    const options = { optimizer, curvatureShare: 1 }
    const trainers = await Promise.all([4, 1, 'N'].map((examples) => create(options, fixed(examples))))
    const metrics = await Promise.all(trainers.map((trainer) => train(trainer, points, { totalEpochs: 3 })))
    const whole = flat(await trainers[2]!.parameters())
    for (const k of [0, 1]) {
      for (const [i, value] of flat(await trainers[k]!.parameters()).entries())
        expect(Math.abs(value - whole[i]!)).toBeLessThan(1e-6 * Math.max(1, Math.abs(whole[i]!)))
      expect(metrics[k]![2]!.loss).toBeCloseTo(metrics[2]![2]!.loss, 6)
      expect(metrics[k]![2]!.accuracy).toBe(metrics[2]![2]!.accuracy)
      expect(await trainers[k]!.evaluate(points)).toMatchObject({ count: 40 })
    }
  })

  it('may have a scalar input in addition to its examples', async () => {
    const scale = input('scale', 'float32', [])
    const x = input('x', 'float32', [2, 6])
    const logits = op.Mul(op.MatMul(x, parameter('w', normal(new Random(8), [6, 3]))), scale)
    const inputs = new Map([
      ['scale', scale],
      ['x', x],
    ])
    const trainer = await create({}, modelOf({ name: 'scaled', inputs, outputs: new Map([['logits', logits]]) }))
    for (const value of [1, 0]) {
      const scaled = transform(points, (batch) => ({ scale: tensorFrom('float32', [], [value]), ...batch }))
      const { loss, count } = await trainer.evaluate(scaled)
      expect(count).toBe(40)
      if (value === 0) expect(loss).toBeCloseTo(Math.log(3), 6)
      else expect(loss).not.toBeCloseTo(Math.log(3), 2)
    }
  })

  it('rejects batches that are not a multiple of that number', async () => {
    const trainer = await create({ batchSize: 6 }, fixed(4))
    const { code, message } = await rejectedError(() => train(trainer, points, { totalEpochs: 1 }))
    expect(code).toBe('invalid-data')
    expect(message).toMatch(/takes 4 examples at once.*batch has 6/)
    const last = await create({ batchSize: 8 }, fixed(4))
    const before = flat(await last.parameters())
    expect((await rejectedError(() => train(last, subset(points, { end: 18 }), { totalEpochs: 1 }))).message).toMatch(
      /4 .* 2\b/,
    )
    expect(flat(await last.parameters())).toEqual(before)
    const validation = subset(points, { end: 18 })
    const held = await rejectedError(() => train(last, subset(points, { end: 16 }), { totalEpochs: 1, validation }))
    expect(held.message).toMatch(/has 2/)
    expect(flat(await last.parameters())).toEqual(before)
  })
})

describe('training rejects', () => {
  it('data with NaN, naming example, step and tensor, with the parameters from before that step', async () => {
    const trainer = await create({
      optimizer: ire(sam(adamw({ lr: 1e-2 })), { kappa: 1, gamma: 0.6, interval: 1 }),
    })
    const poisoned = transform(points, (batch, indices) => {
      const x = batch['x']!
      const data = Float32Array.from(x.data as Float32Array)
      for (let i = 0; i < indices.length; i++) if (indices[i] === 17) data[6 * i] = Number.NaN
      return { ...batch, x: { ...x, data } }
    })
    let before = flat(await trainer.parameters())
    let steps = 0
    const { code, message } = await rejectedError(() =>
      train(trainer, poisoned, {
        totalEpochs: 1,
        onStep: async () => {
          before = flat(await trainer.parameters())
          steps++
        },
      }),
    )
    expect(code).toBe('invalid-data')
    expect(message).toMatch(new RegExp(`^'x' has NaN in example 17 .*step ${steps}\\b`))
    expect(message).toMatch(/hidden0\.weight/)
    expect(flat(await trainer.parameters())).toEqual(before)
    expect(trainer.step).toBe(steps)
    expect(before.every(Number.isFinite)).toBe(true)
  })

  it.each([
    [
      'a label out of range',
      fromArrays({ x: normal(new Random(1), [4, 6]), labels: labelColumn([0, 1, 3, 2]) }),
      /'labels' .* 3 \(element 2.*3 classes.*0 to 2/,
    ],
    [
      'a negative label',
      fromArrays({ x: normal(new Random(1), [4, 6]), labels: labelColumn([0, 1, -1, 2]) }),
      /'labels' .* label -1/,
    ],
    [
      'data of another shape',
      fromArrays({ x: normal(new Random(1), [4, 5]), labels: labelColumn([0, 1, 1, 2]) }),
      /'x' has the shape \[4, 5\].*\[N, 6\]$/,
    ],
    [
      'labels of another shape',
      fromArrays({
        x: normal(new Random(1), [4, 6]),
        labels: { dtype: 'int64', dims: [4, 1], data: BigInt64Array.of(0n, 1n, 1n, 2n) },
      }),
      /'labels' has the shape \[4, 1\].* \[N\]: "columns" of a table makes \[N\] of a name/,
    ],
    [
      'data of another type',
      fromArrays({ x: { dims: [4, 6], data: new Uint8Array(24) }, labels: labelColumn([0, 1, 1, 2]) }),
      /'x' is uint8.* float32/,
    ],
    [
      'labels that are not integers',
      fromArrays({ x: normal(new Random(1), [4, 6]), labels: { dims: [4], data: new Float32Array(4) } }),
      /'labels' is float32.* int64/,
    ],
    [
      'no labels',
      fromArrays({ x: normal(new Random(1), [4, 6]), label: labelColumn([0, 1, 1, 2]) }),
      /'labels', int64\[N\].*'x', 'label'/,
    ],
    ['no input', fromArrays({ labels: labelColumn([0, 1, 1, 2]) }), /'x', float32\[N, 6\]/],
  ])('%s', async (_, data, pattern) => {
    const trainer = await create()
    const before = flat(await trainer.parameters())
    for (const action of [() => train(trainer, data, { totalEpochs: 1 }), () => trainer.evaluate(data)]) {
      const { code, message } = await rejectedError(action)
      expect(code).toBe('invalid-data')
      expect(message).toMatch(pattern)
    }
    expect(flat(await trainer.parameters())).toEqual(before)
  })

  it('but accepts additional tensors, int32 labels and float64 data', async () => {
    const random = new Random(1)
    const x = { dims: [4, 6], data: random.fill(new Float64Array(24), 'normal') }
    const data = fromArrays({
      x,
      labels: { dims: [4], data: Int32Array.of(0, 1, 1, 2) },
      weight: normal(random, [4, 2]),
    })
    const same = fromArrays({ x: { dims: [4, 6], data: Float32Array.from(x.data) }, labels: labelColumn([0, 1, 1, 2]) })
    const trainer = await create()
    expect(await trainer.evaluate(data)).toEqual(await trainer.evaluate(same))
  })

  it.each([
    ['batchSize', { batchSize: 0 }],
    ['clipNorm', { clipNorm: -1 }],
    ["'nothing*'", { trainable: 'nothing*' }],
    ['no tensors to train', { trainable: { include: 'head*', exclude: '*' } }],
    ["no output 'scores'", { loss: crossEntropy({ logits: 'scores' }) }],
    ["adds an input 'x'", { loss: crossEntropy({ labels: 'x' }) }],
  ] as const)('a wrong option: %s', async (said, options) => {
    const { code, message } = await rejectedError(() => create(options))
    expect(code).toBe('invalid-option')
    expect(message).toContain(said)
  })

  it('a quantized model', async () => {
    const x = input('x', 'uint8', ['N', 4])
    const zero = parameter('scale', tensorFrom('float32', [], [0.1]))
    const y = op.Mul(
      op.Cast(op.MatMulInteger(x, parameter('w', tensorFrom('int8', [4, 3], Array(12).fill(1)))), { to: 1 }),
      zero,
    )
    const model = modelOf({ name: 'integers', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) })
    expect((await rejectedError(() => create({}, model))).message).toMatch(/is quantized.*Fine-tune the float model/)
  })
})
