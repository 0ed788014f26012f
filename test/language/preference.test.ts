import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { lora } from '../../src/adapter/index.js'
import { peakBytes } from '../../src/analysis/inspect/arena-peak.js'
import { batches, Random } from '../../src/data/index.js'
import {
  buildTrainingGraphs,
  exportGraph,
  importGraph,
  input,
  op,
  parameter,
  type Value,
} from '../../src/graph/index.js'
import { accuracy, adamw, type Graph, ire, type Loss, type Model, margin, Trainer } from '../../src/index.js'
import { constant, numbersOf, tensorFrom } from '../../src/ir/leaf.js'
import { sizeOf, type Tensor, type Tensors } from '../../src/ir/tensor.js'
import {
  addReference,
  dpo,
  type LanguageModel,
  orpo,
  preferenceData,
  readLanguageModel,
  trainingModel,
} from '../../src/language/index.js'
import { modelFolder, node } from '../../src/node/index.js'
import type { GraphSpec } from '../../src/onnx/export/export-graph.js'
import { encode } from '../../src/onnx/proto/encode.js'
import { prepareForTraining } from '../../src/train/model/prepare-model.js'
import { distance, outputsOf as outputsOfAll } from '../lowering/outputs.js'
import { run } from '../onnx/session.js'
import { thrownMessage } from '../thrown.js'
import { golden } from './models.js'

const runtime = node({ threads: 1, worker: false })
afterAll(() => runtime.dispose())

const [pairs, length, width, classes] = [3, 4, 6, 7]
const random = new Random(8)
const normal = (dims: readonly number[]) =>
  tensorFrom('float64', dims, random.fill(new Float64Array(sizeOf(dims)), 'normal'))

/** A decoder in float64 whose rows are the answers of pairs. */
const x = input('x', 'float64', ['rows', length, width])
const weights = new Map([
  ['V', parameter('V', normal([width, width]))],
  ['W', parameter('W', normal([width, classes]))],
])
const graph: Graph = {
  name: 'g',
  inputs: new Map([['x', x]]),
  outputs: new Map([['logits', op.MatMul(op.Tanh(op.MatMul(x, weights.get('V')!)), weights.get('W')!)]]),
  parameters: weights,
}

const labels = [
  [[-100, 2, 3, 4], [-100, -100, 5, -100]], // biome-ignore format: a row per pair
  [
    [1, 2, -100, -100],
    [1, 0, 6, 6],
  ],
  [
    [-100, -100, 0, 5],
    [-100, 0, 0, 5],
  ],
]
const feeds: Tensors = {
  x: normal([2 * pairs, length, width]),
  labels: tensorFrom('int64', [pairs, 2, length], labels.flat(2)),
  reference: tensorFrom('float64', [pairs, 2], [-3, -2, -7, -9, -1, -4]),
  ...Object.fromEntries(
    [...weights].map(([name, { source }]) => [name, (source as { readonly tensor: Tensor }).tensor]),
  ),
}

/** log p of every counted label, by pair and answer, from logits in plain arithmetic. */
function logProbabilities(logits: readonly number[]): number[][][] {
  return labels.map((pair, p) =>
    pair.map((answer, a) =>
      answer.flatMap((label, t) => {
        if (label < 0) return []
        const at = ((2 * p + a) * length + t) * classes
        const row = logits.slice(at, at + classes)
        return [row[label]! - Math.log(row.reduce((sum, z) => sum + Math.exp(z), 0))]
      }),
    ),
  )
}
const total = (values: readonly number[]) => values.reduce((a, b) => a + b, 0)
const average = (values: readonly number[]) => total(values) / values.length
const logSigmoid = (z: number) => -Math.log1p(Math.exp(-z))

/** Scores of pairs and losses, by the formulas of the papers. */
const formulas: Readonly<Record<string, { loss: Loss; of: (pair: number[][], p: number) => [z: number, l: number] }>> =
  {
    dpo: {
      loss: dpo({ beta: 0.3, labelSmoothing: 0.1, chunk: 5 }),
      of(pair, p) {
        const [q0, q1] = numbersOf(feeds['reference']!).slice(2 * p, 2 * p + 2) as [number, number]
        const z = 0.3 * (total(pair[0]!) - total(pair[1]!) - (q0 - q1))
        return [z, -0.9 * logSigmoid(z) - 0.1 * logSigmoid(-z)]
      },
    },
    orpo: {
      loss: orpo({ lambda: 0.4, chunk: 5 }),
      of(pair) {
        const odds = pair.map((answer) => Math.log(Math.exp(average(answer)) / (1 - Math.exp(average(answer)))))
        const z = odds[0]! - odds[1]!
        return [z, -average(pair[0]!) - 0.4 * logSigmoid(z)]
      },
    },
  }

/** Results of a graph, which takes some of the feeds. */
const outputsOf = (spec: GraphSpec, given: Tensors) =>
  outputsOfAll(runtime, spec, Object.fromEntries([...spec.inputs.keys()].map((name) => [name, given[name]!])))
const build = (loss: Loss, more = {}) => buildTrainingGraphs(graph, { loss, trainable: '*', ...more })

describe.each(Object.entries(formulas))('%s', (_, { loss, of }) => {
  it('loss and metrics > those of the formula', async () => {
    const { evaluation, metrics } = build(loss, { metrics: [accuracy(), margin()] })
    const spec = { ...evaluation, outputs: new Map<string, Value>([...evaluation.outputs, ...graph.outputs]) }
    const outputs = await outputsOf(spec, feeds)
    const expected = logProbabilities(numbersOf(outputs['logits']!)).map(of)
    expect(numbersOf(outputs['loss']!)[0]).toBeCloseTo(average(expected.map(([, l]) => l)), 12)
    const [share, mean] = metrics.evaluation.parts.map(({ prefix, metric }) =>
      metric.measure(
        Object.fromEntries(
          [...metric.sums.keys()].map((key) => [key, Float64Array.from(numbersOf(outputs[prefix + key]!))]),
        ),
      ),
    )
    expect(share).toEqual({ accuracy: average(expected.map(([z]) => Number(z > 0))) })
    expect(mean!['margin']).toBeCloseTo(average(expected.map(([z]) => z)), 12)
  })

  it('gradients > the slope of the loss along a direction', async () => {
    const { training } = build(loss)
    const outputs = await outputsOf(training, feeds)
    const directions = Object.fromEntries(
      [...weights].map(([name, { shape }]) => [name, numbersOf(normal(shape as number[]))]),
    )
    const lossAt = async (h: number) => {
      const moved = Object.entries(directions).map(([name, direction]) => [
        name,
        tensorFrom(
          'float64',
          feeds[name]!.dims,
          numbersOf(feeds[name]!).map((w, i) => w + h * direction[i]!),
        ),
      ])
      return numbersOf((await outputsOf(training, { ...feeds, ...Object.fromEntries(moved) }))['loss']!)[0]!
    }
    const slope = total(
      Object.entries(directions).map(([name, direction]) =>
        total(numbersOf(outputs[`grad/${name}`]!).map((dx, i) => dx * direction[i]!)),
      ),
    )
    expect(Math.abs(slope)).toBeGreaterThan(0.01)
    const h = 1e-5
    expect(((await lossAt(h)) - (await lossAt(-h))) / (2 * h)).toBeCloseTo(slope, 8)
  })

  it('chunks of another size > the same loss and gradients', async () => {
    const [one, other] = [
      build(loss).training,
      build(loss.name === 'dpo' ? dpo({ beta: 0.3, labelSmoothing: 0.1, chunk: 100 }) : orpo({ lambda: 0.4 })).training,
    ]
    expect(distance(await outputsOf(one, feeds), await outputsOf(other, feeds))).toBeLessThan(1e-12)
  })
})

describe('PyTorch', () => {
  const reference: Readonly<Record<string, readonly number[]>> &
    Readonly<Record<'dpo' | 'orpo', { readonly loss: number; readonly gradient: readonly number[] }>> = JSON.parse(
    readFileSync(`${golden}/preference.json`, 'utf8'),
  )
  it.each(['dpo', 'orpo'] as const)('%s > the same loss and gradient of the weight', async (name) => {
    const h = input('h', 'float64', ['rows', length, width])
    const weight = parameter('W', tensorFrom('float64', [width, classes], reference['weight']!))
    const { training } = buildTrainingGraphs(
      {
        name: 'g',
        inputs: new Map([['h', h]]),
        outputs: new Map([['logits', op.MatMul(h, weight)]]),
        parameters: new Map([['W', weight]]),
      },
      { loss: formulas[name]!.loss, trainable: '*' },
    )
    const outputs = await outputsOf(training, {
      h: tensorFrom('float64', [2 * pairs, length, width], reference['features']!),
      W: tensorFrom('float64', [width, classes], reference['weight']!),
      labels: tensorFrom('int64', [pairs, 2, length], reference['labels']!),
      reference: tensorFrom('float64', [pairs, 2], reference['reference']!),
    })
    const { loss, gradient } = reference[name]
    expect(numbersOf(outputs['loss']!)[0]).toBeCloseTo(loss, 12)
    for (const [i, dw] of numbersOf(outputs['grad/W']!).entries()) expect(dw).toBeCloseTo(gradient[i]!, 12)
  })
})

describe('dpo > curvature of IRE', () => {
  it('noise 0 and 1 > the gradients with the chosen and with the rejected answer preferred', async () => {
    const { training, curvature } = build(dpo({ chunk: 5 }), { curvature: 'sampled' })
    const gradientsAt = async (noise: number) => {
      const u = tensorFrom('float64', [pairs], Array(pairs).fill(noise))
      const outputs = await outputsOf(curvature!.spec, { ...feeds, 'noise/labels': u })
      return Object.fromEntries(Object.entries(outputs).filter(([name]) => name.startsWith('grad/')))
    }
    const swap = <T>(values: readonly T[], size: number) =>
      values.map((_, i) => values[Math.floor(i / size) % 2 === 0 ? i + size : i - size]!)
    const swapped = {
      ...feeds,
      x: tensorFrom('float64', feeds['x']!.dims, swap(numbersOf(feeds['x']!), length * width)),
      labels: tensorFrom('int64', feeds['labels']!.dims, swap(labels.flat(2), length)),
      reference: tensorFrom('float64', [pairs, 2], swap(numbersOf(feeds['reference']!), 1)),
    }
    const [chosen, rejected] = [await gradientsAt(0), await gradientsAt(1)]
    expect(distance(await outputsOf(training, feeds), chosen)).toBeLessThan(1e-12)
    expect(distance(await outputsOf(training, swapped), rejected)).toBeLessThan(1e-12)
    expect(distance(chosen, rejected)).toBeGreaterThan(0.01)
  })
})

let chat: LanguageModel
beforeAll(async () => {
  chat = await readLanguageModel(modelFolder(`${golden}/qwen2-genai`))
})
const questions = ['Hello', 'How are you?', 'What is Paris?', 'reset my password']
const rows = Array.from({ length: 16 }, (_, i) => ({
  prompt: [{ role: 'user', content: questions[i % 4] }],
  chosen: [{ role: 'assistant', content: 'I am fine.' }],
  rejected: [{ role: 'assistant', content: i % 2 ? 'Paris.' : 'No, you are not, and so is Paris.' }],
}))

describe('preferenceData', () => {
  it('a batch > both answers after the prompt, which is not counted', async () => {
    const data = preferenceData(rows.slice(0, 2), chat, { batchSize: 2 })
    expect(data.report).toMatchObject({ examples: 2, cut: 0, leftOut: 0, warnings: [] })
    for await (const { tensors, size } of batches(data, { batchSize: 2 })) {
      expect(size).toBe(2)
      const { dims } = tensors['pair_input_ids']!
      expect(dims.slice(0, 2)).toEqual([2, 2])
      expect(dims[2]! % 16).toBe(0)
      const all = numbersOf(tensors['labels']!)
      const texts = [0, 1, 2, 3].map((i) =>
        chat.tokenizer.decode(all.slice(i * dims[2]!, (i + 1) * dims[2]!).filter((label) => label >= 0)),
      )
      expect(texts.filter((text) => text === 'I am fine.<|im_end|>')).toHaveLength(2)
      expect(texts.toSorted()).toContain('Paris.<|im_end|>')
      expect(texts.indexOf('I am fine.<|im_end|>')).toBe(0)
    }
  })

  it('messages beside chosen and rejected, as in UltraFeedback > the pair', () => {
    const messages = [...rows[0]!.prompt, { role: 'assistant', content: 'a' }]
    const [own, plain] = [{ ...rows[0], messages }, rows[0]].map((row) => preferenceData([row], chat).pairs)
    expect(own).toEqual(plain)
  })

  it('conversations with an answer each for chosen and rejected, as of LLaMA-Factory > the pair', () => {
    const turn = (from: string, value: string) => ({ from, value })
    const shared = { system: 's', conversations: [turn('human', 'q')] }
    const row = { ...shared, chosen: turn('gpt', 'good'), rejected: turn('gpt', 'bad') }
    const prompt = [
      { role: 'system', content: 's' },
      { role: 'user', content: 'q' },
    ]
    const plain = { prompt, ...{ chosen: 'good', rejected: 'bad' } }
    const [own, usual] = [row, plain].map((each) => preferenceData([each], chat).pairs)
    expect(own).toEqual(usual)
    expect(thrownMessage('invalid-data', () => preferenceData([{ ...row, conversations: 1 }], chat))).toContain('row 1')
  })

  it('answers after the cut > left out with a warning; all of them > invalid-data', () => {
    const long = { ...rows[0]!, prompt: [{ role: 'user', content: 'Hello '.repeat(50) }] }
    const { report } = preferenceData([long, rows[1]], chat, { length: 80 })
    expect(report).toMatchObject({ examples: 1, leftOut: 1, cut: 2 })
    expect(report.warnings).toHaveLength(2)
    expect(thrownMessage('invalid-data', () => preferenceData([long], chat, { length: 80 }))).toContain('length')
  })

  it('texts longer than the context of the model > invalid-option', () => {
    const small = { ...chat, config: { n_positions: 80 } }
    const long = { ...rows[0]!, chosen: [{ role: 'assistant', content: 'Hello '.repeat(50) }] }
    expect(thrownMessage('invalid-option', () => preferenceData([long], small, { length: 81 }))).toContain('80')
    const limited = preferenceData([long], { ...small, config: { n_positions: 75 } })
    expect(limited.report).toMatchObject({ cut: 1 })
    expect(limited.load([0])['labels']!.dims).toEqual([1, 2, 75])
  })

  it.each([
    ['no rejected answer', { prompt: 'a', completion: 'b' }, 'rejected'],
    ['equal answers', { prompt: 'a', chosen: 'b', rejected: 'b' }, 'the same'],
    ['an answer that is none', { prompt: 'a', chosen: [{ role: 'user', content: 'x' }], rejected: 'b' }, 'chosen'],
  ])('%s > invalid-data with the row', (_, row, text) => {
    const message = thrownMessage('invalid-data', () => preferenceData([rows[0], row], chat))
    expect(message).toContain('row 2')
    expect(message).toContain(text)
  })
})

describe('addReference', () => {
  it('sums > log p of the answers by the model without pairs', async () => {
    const data = await addReference(preferenceData(rows.slice(0, 4), chat), chat.model, { runtime, batchSize: 3 })
    const { name, inputs, outputs } = prepareForTraining(importGraph(trainingModel(chat.model)), {}).graph
    const bytes = encode('ModelProto', exportGraph({ name, inputs, outputs }))
    for (const { chosen, rejected, reference } of data.pairs)
      for (const [i, { tokens, counted }] of [chosen, rejected].entries()) {
        const row = (values: readonly number[]) => tensorFrom('int64', [1, values.length], values)
        const given = {
          input_ids: row(tokens),
          attention_mask: row(tokens.map(() => 1)),
          position_ids: row([...tokens.keys()]),
        }
        const names = [...inputs.keys()] as (keyof typeof given)[]
        const logits = numbersOf(
          (await run(bytes, Object.fromEntries(names.map((each) => [each, given[each]]))))['logits']!,
        )
        const vocabulary = logits.length / tokens.length
        const logP = tokens.map((token, t) => {
          if (!counted[t]) return 0
          const z = logits.slice((t - 1) * vocabulary, t * vocabulary)
          return z[token]! - Math.log(total(z.map(Math.exp)))
        })
        expect(reference![i]).toBeCloseTo(total(logP), 3)
      }
  })
})

describe('checksum of the data', () => {
  it('depends on the reference model, not on how its sums were rounded', async () => {
    const plain = preferenceData(rows.slice(0, 4), chat)
    const sumsOf = async (model: Model, batchSize?: number) =>
      (await addReference(plain, model, { runtime, batchSize })).checksum!()
    const own = await sumsOf(chat.model)
    expect(await sumsOf(chat.model, 1)).toBe(own)
    expect(new Set([await plain.checksum!(), own, await sumsOf(lora(chat.model, { r: 2 }))]).size).toBe(3)
  })

  it('depends on what decides the order of the pairs', async () => {
    const options = [{}, { seed: 1 }, { batchSize: 2 }]
    const sums = options.map((each) => preferenceData(rows.slice(0, 4), chat, each).checksum!())
    expect(new Set(sums).size).toBe(3)
  })

  it('depends on given sums, and on a given text in their place', () => {
    const plain = preferenceData(rows.slice(0, 2), chat)
    const given = (sum: number, source?: string) =>
      plain.withReference(
        [
          [-1, sum],
          [-3, -4],
        ],
        source,
      ).checksum!()
    expect(given(-2)).toBe(given(-2))
    expect(given(-2)).not.toBe(given(-2.5))
    expect(given(-2, 'mine')).toBe(given(-2.5, 'mine'))
    expect(given(-2, 'mine')).not.toBe(given(-2, 'other'))
  })
})

describe('training', () => {
  const train = async (loss: Loss, optimizer: Parameters<typeof Trainer.create>[1]['optimizer']) => {
    const plain = preferenceData(rows, chat, { batchSize: 4 })
    const data = loss.name === 'dpo' ? await addReference(plain, chat.model, { runtime }) : plain
    const trainer = await Trainer.create(trainingModel(lora(chat.model, { r: 4 }), { pairs: true }), {
      ...{
        loss,
        optimizer,
        runtime,
        metrics: [accuracy(), margin()],
        batchSize: 4,
        microBatch: 2,
        recompute: 'blocks',
      },
    })
    const before = await trainer.evaluate(data)
    await trainer.train(data, { totalSteps: 16 })
    const after = await trainer.evaluate(data)
    await trainer.dispose()
    return { before, after }
  }

  it('dpo > starts at log 2, and the chosen answers gain', async () => {
    const { before, after } = await train(dpo(), adamw({ lr: 5e-3 }))
    expect(before.loss).toBeCloseTo(Math.log(2), 6)
    expect(before['margin']).toBeCloseTo(0, 5)
    expect(after.accuracy).toBeGreaterThan(0.9)
    expect(after['margin']).toBeGreaterThan(0.1)
    expect(after.count).toBe(rows.length)
  })

  it('dpo with IRE > the chosen answers gain', async () => {
    const { after } = await train(dpo(), ire(adamw({ lr: 5e-3 }), { kappa: 1, gamma: 0.8, warmup: 4 }))
    expect(after.accuracy).toBeGreaterThan(0.9)
  })

  it('a checkpoint > another trainer of the same run continues to the same adapter', async () => {
    const data = await addReference(preferenceData(rows, chat, { batchSize: 4 }), chat.model, { runtime })
    const create = () =>
      Trainer.create(trainingModel(lora(chat.model, { r: 2, targets: 'q_proj' }), { pairs: true }), {
        ...{ loss: dpo(), optimizer: ire(adamw({ lr: 5e-3 }), { kappa: 1, gamma: 0.8 }), runtime, batchSize: 4 },
      })
    const [one, other] = [await create(), await create()]
    await one.train(data, { totalSteps: 1 })
    other.restore(one.checkpoint())
    for (const trainer of [one, other]) await trainer.train(data, { totalSteps: 3 })
    expect(await other.parameters()).toEqual(await one.parameters())
    await one.dispose()
    await other.dispose()
  })

  it('orpo > the chosen answers gain', async () => {
    const { before, after } = await train(orpo(), adamw({ lr: 5e-3 }))
    expect(before.accuracy).toBeLessThan(0.8)
    expect(after.accuracy).toBeGreaterThan(0.9)
    expect(after.loss).toBeLessThan(before.loss)
  })
})

describe('memory', () => {
  it('32,000 classes, 512 positions > less than the logits of all positions, by the estimate', () => {
    const [vocabulary, features] = [32_000, 64]
    const zeros = (dims: readonly number[]) => tensorFrom('float32', dims, new Float32Array(sizeOf(dims)))
    const v = parameter('V', zeros([features, features]))
    const h = input('x', 'float32', [8, 64, features])
    const wide: Graph = {
      name: 'g',
      inputs: new Map([['x', h]]),
      outputs: new Map([['logits', op.MatMul(op.Tanh(op.MatMul(h, v)), constant(zeros([features, vocabulary])))]]),
      parameters: new Map([['V', v]]),
    }
    for (const loss of [dpo(), orpo()]) {
      const { inputs, outputs } = buildTrainingGraphs(wide, { loss }).training
      const fed = new Set(inputs.values())
      const peak = peakBytes([...outputs.values()], (leaf) => !fed.has(leaf))
      expect(peak).toBeGreaterThan(0)
      expect(peak).toBeLessThan(8 * 64 * vocabulary * 4)
    }
  })
})

describe('rejected', () => {
  const invalid = (action: () => unknown, text: string) =>
    expect(thrownMessage('invalid-option', action)).toContain(text)

  it('options out of range', () => {
    invalid(() => dpo({ beta: 0 }), 'beta')
    invalid(() => dpo({ labelSmoothing: 0.5 }), 'labelSmoothing')
    invalid(() => dpo({ gamma: 1 } as never), 'gamma')
    invalid(() => orpo({ lambda: -1 }), 'lambda')
    invalid(() => orpo({ chunk: 0 }), 'chunk')
  })

  it('logits without rows', () => {
    const flat = {
      ...graph,
      outputs: new Map([['logits', op.MatMul(input('y', 'float64', ['N', width]), weights.get('W')!)]]),
    }
    invalid(() => buildTrainingGraphs(flat, { loss: orpo(), trainable: '*' }), 'rows')
  })
})
