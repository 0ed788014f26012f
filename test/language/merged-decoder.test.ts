import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  type Adapter,
  adaptableLayers,
  adapterOf,
  applyAdapter,
  lora,
  makeLoraReady,
  mergeAdapter,
  mergeQuantized,
  removeAdapter,
} from '../../src/adapter/index.js'
import { decodeModel, encodeModel, type Model, type Runtime, sgd, type Tensor, Trainer } from '../../src/index.js'
import { dtypes } from '../../src/ir/dtype.js'
import { numbersOf, tensorFrom } from '../../src/ir/leaf.js'
import {
  chatData,
  type LanguageModel,
  nextToken,
  readLanguageModel,
  TextGenerator,
  trainingModel,
} from '../../src/language/index.js'
import { modelFolder, node } from '../../src/node/index.js'
import { createInput, listInputs } from '../../src/onnx/import/declarations.js'
import { runModel } from '../adapter/run.js'
import { thrownMessage } from '../thrown.js'
import { golden, mergeDecoder, toFloatWeights } from './models.js'

const inBlocks = decodeModel(readFileSync(`${golden}/llama-optimum/onnx/model_q4f16.onnx`))
const float = toFloatWeights(inBlocks)

/** An adapter of the linear layers of a model, whose B is not 0. */
function createAdapter(model: Model): Adapter {
  const { config, layers } = adapterOf(lora(model, { r: 4, alpha: 8, seed: 1 }))
  return {
    config,
    layers: layers.map(({ b, ...layer }, i) => ({
      ...layer,
      b: tensorFrom(
        'float32',
        b.dims,
        Float64Array.from({ length: b.data.length }, (_, j) => Math.sin(i + j) / 8),
      ),
    })),
  }
}

/** Logits of three tokens after a past of two, or after none. */
async function logitsOf(model: Model, hasPast: boolean, more: Readonly<Record<string, Tensor>> = {}) {
  const past = hasPast ? 2 : 0
  const int64 = (values: number[]) => tensorFrom('int64', [1, values.length], values)
  const feeds: Record<string, Tensor> = { ...more }
  for (const [name, { dtype, shape }] of listInputs(model.proto).map(
    (info) => [info.name!, createInput(info)] as const,
  )) {
    if (name === 'use_cache_branch') feeds[name] = tensorFrom('bool', [1], [Number(hasPast)])
    else if (name === 'input_ids') feeds[name] = int64([5, 6, 7])
    else if (name === 'attention_mask') feeds[name] = int64(Array(3 + past).fill(1))
    else if (name === 'position_ids') feeds[name] = int64([0, 1, 2].map((i) => i + past))
    else if (name.startsWith('past')) {
      const dims = shape!.map((dim, axis) => (typeof dim === 'number' ? dim : axis === 0 ? 1 : past))
      const size = dims.reduce((product, dim) => product * dim, 1)
      const values = Float64Array.from({ length: size }, (_, i) => Math.cos(i) / 4)
      feeds[name] = size > 0 ? tensorFrom(dtype, dims, values) : { dtype, dims, data: new dtypes[dtype].array!(0) }
    }
  }
  return numbersOf((await runModel(model, feeds))['logits']!)
}

/** Expects that two models compute the same, with a past and without. */
async function expectEqual(actual: Model, expected: Model, more?: Readonly<Record<string, Tensor>>): Promise<void> {
  for (const hasPast of [false, true]) {
    const [a, b] = [await logitsOf(actual, hasPast, more), await logitsOf(expected, hasPast)]
    expect(a.length).toBe(b.length)
    expect(Math.max(...a.map((x, i) => Math.abs(x - b[i]!)))).toBeLessThan(0.02)
  }
}

describe.each([
  ['weights in blocks', inBlocks],
  ['float weights', float],
])('a merged decoder, %s', (_, model) => {
  const merged = mergeDecoder(model)
  const adapter = createAdapter(model)
  const expected = applyAdapter(model, adapter)

  it('layers > those of the decoder', () => {
    const describeLayers = (of: Model) => adaptableLayers(of).map(({ module, isDefault }) => [module, isDefault])
    expect(describeLayers(merged)).toEqual(describeLayers(model))
  })

  it('an adapter > is in both branches, and is removed again', async () => {
    const applied = applyAdapter(merged, adapter)
    await expectEqual(applied, expected)
    const [before, after] = [await logitsOf(merged, true), await logitsOf(applied, true)]
    expect(Math.max(...before.map((x, i) => Math.abs(x - after[i]!)))).toBeGreaterThan(0.2)
    expect(adapterOf(applied).layers).toEqual(adapterOf(expected).layers)
    expect(Buffer.compare(encodeModel(removeAdapter(applied)), encodeModel(merged))).toBe(0)
  })
})

describe('a merged decoder', () => {
  it('an adapter as input > the same', async () => {
    const adapter = createAdapter(inBlocks)
    const ready = makeLoraReady(applyAdapter(mergeDecoder(inBlocks), adapter), { optional: false })
    const feeds = Object.fromEntries(
      adapter.layers.flatMap(({ module, a, b, scale }) => {
        const flip = (tensor: Tensor, factor: number) => {
          const [rows, columns] = tensor.dims as [number, number]
          const numbers = numbersOf(tensor)
          const flipped = numbers.map((_, i) => factor * numbers[(i % rows) * columns + Math.floor(i / rows)]!)
          return tensorFrom('float16', [columns, rows], flipped)
        }
        return [
          [`${module}.lora_A.weight`, flip(a, 1)],
          [`${module}.lora_B.weight`, flip(b, scale)],
        ]
      }),
    )
    await expectEqual(ready, applyAdapter(inBlocks, adapter), feeds)
  })

  it('merging > changes the weights of both branches', async () => {
    const adapter = createAdapter(float)
    await expectEqual(mergeAdapter(applyAdapter(mergeDecoder(float), adapter)), applyAdapter(float, adapter))
  })

  it('merging into weights in blocks > invalid-option', () => {
    const applied = applyAdapter(mergeDecoder(inBlocks), createAdapter(inBlocks))
    expect(thrownMessage('invalid-option', () => mergeQuantized(applied))).toContain('branches of an If')
  })

  describe('training and generation', () => {
    let runtime: Runtime
    let chat: LanguageModel
    beforeAll(async () => {
      runtime = node({ threads: 1 })
      chat = await readLanguageModel(modelFolder(`${golden}/llama-optimum`))
    })
    afterAll(() => runtime.dispose())

    it('losses and answers > those of the decoder', async () => {
      const rows = ['Hello', 'Paris'].map((text) => ({
        messages: [
          { role: 'user', content: text },
          { role: 'assistant', content: 'I am fine, thank you.' },
        ],
      }))
      const teach = async (model: Model) => {
        const losses: number[] = []
        const trainer = await Trainer.create(trainingModel(lora(model, { r: 4, taskType: 'CAUSAL_LM' })), {
          loss: nextToken(),
          optimizer: sgd({ lr: 1 }),
          batchSize: 2,
          runtime,
        })
        const data = chatData(rows, chat, { batchSize: 2 })
        await trainer.train(data, { totalSteps: 4, onStep: ({ loss }) => void losses.push(loss) })
        const tuned = applyAdapter(model, adapterOf(trainer.export()))
        await trainer.dispose()
        const generator = await TextGenerator.create({ ...chat, model: tuned }, runtime)
        const { tokens } = await generator.complete('Hello', { maxTokens: 6 })
        await generator.dispose()
        return { losses, tokens }
      }
      const expected = await teach(chat.model)
      expect(expected.losses.at(-1)).toBeLessThan(expected.losses[0]! - 0.01)
      const { losses, tokens } = await teach(mergeDecoder(chat.model))
      for (const [i, loss] of losses.entries()) expect(loss).toBeCloseTo(expected.losses[i]!, 5)
      expect(tokens).toEqual(expected.tokens)
    })
  })
})
