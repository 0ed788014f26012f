import { afterAll, describe, expect, it } from 'vitest'
import { constant, input, modelOf, op } from '../../src/graph/index.js'
import { crossEntropy, evaluateModel, fromArrays, type Tensor } from '../../src/index.js'
import { tensorFrom } from '../../src/ir/leaf.js'
import { node } from '../../src/node/index.js'
import { preferences } from '../../tools/experiments/chat/preferences.js'
import {
  chatRows,
  conversation,
  createChat,
  exactAnswers,
  exchanges,
  ignored,
} from '../../tools/experiments/chat/task.js'

const runtime = node({ threads: 1 })
afterAll(() => runtime.dispose())

const context = 96
const chat = createChat(
  exchanges('train').map(({ question, short }) => `${question} ${short}`),
  300,
)

const int64 = (dims: readonly number[], values: readonly number[]): Tensor => ({
  dtype: 'int64',
  dims,
  data: BigInt64Array.from(values, BigInt),
})

describe('the chat task', () => {
  it('every question has one answer, in all splits, and no form of a question is in two', () => {
    const place = (text: string) => /Open (\w+), then (.*)\./.exec(text)!.slice(1)
    const places = new Map(exchanges('train').map(({ short }) => [place(short)[1], place(short)[0]]))
    expect(places.size).toBe(24)
    const asked = new Set(exchanges('train').map(({ question }) => question))
    for (const { question, short } of [...exchanges('validation'), ...exchanges('test')]) {
      expect(places.get(place(short)[1])).toBe(place(short)[0])
      expect(asked.has(question)).toBe(false)
    }
  })

  it('labels > the tokens of the answer with its end', async () => {
    const data = chatRows([conversation('Where is proxy?', 'Open Sound, then proxy.')], chat, context)
    const { tokens, labels } = await data.batch([0])
    const counted = Array.from(labels!.data as BigInt64Array, Number).filter((label) => label !== ignored)
    expect(chat.tokenizer.decode(counted)).toBe(' Open Sound, then proxy.<|endoftext|>')
    expect(tokens!.dims).toEqual([1, context])
    expect(() => chatRows([conversation('a'.repeat(200), 'b')], chat, context)).toThrow('row 1')
  })

  it('preferences > both answers of a pair, padded to the context', () => {
    const model = modelOf({
      name: 'none',
      inputs: new Map(),
      outputs: new Map([['y', op.Identity(constant(tensorFrom('float32', [1], [0])))]]),
    })
    const { load, length } = preferences('test', chat, model, context, 4)
    expect(length).toBe(48)
    const { labels, pair_input_ids: ids } = load([0, 1])
    expect(ids!.dims).toEqual([2, 2, context])
    const texts = [0, 1].map((answer) =>
      chat.tokenizer.decode(
        Array.from((labels!.data as BigInt64Array).subarray(answer * context, (answer + 1) * context), Number).filter(
          (label) => label !== ignored,
        ),
      ),
    )
    const { short, long } = exchanges('test')[0]!
    expect(texts).toEqual([` ${short}<|endoftext|>`, ` ${long}<|endoftext|>`])
  })

  it('exactAnswers > the share of rows without a wrong token among those that count', async () => {
    const tokens = input('tokens', 'int64', ['N', 3])
    const eye = constant(tensorFrom('float32', [3, 3], [1, 0, 0, 0, 1, 0, 0, 0, 1]))
    const model = modelOf({
      name: 'echo',
      inputs: new Map([['tokens', tokens]]),
      outputs: new Map([['logits', op.Gather(eye, tokens)]]),
    })
    const rows = [
      { given: [0, 1, 2], label: [0, 1, 2] },
      { given: [0, 1, 2], label: [ignored, 1, 2] },
      { given: [0, 1, 2], label: [0, 1, 0] },
      { given: [2, 2, 2], label: [ignored, 0, ignored] },
    ]
    const data = fromArrays({
      tokens: int64(
        [4, 3],
        rows.flatMap(({ given }) => given),
      ),
      labels: int64(
        [4, 3],
        rows.flatMap(({ label }) => label),
      ),
    })
    const loss = crossEntropy({ ignoreIndex: ignored })
    const { exact } = await evaluateModel(model, data, { runtime, loss, metrics: [exactAnswers()], batchSize: 3 })
    expect(exact).toBe(0.5)
  })
})
