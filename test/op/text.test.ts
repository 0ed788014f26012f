import * as ort from 'onnxruntime-node'
import { expect, it } from 'vitest'
import { input } from '../../src/ir/leaf.js'
import type { Value } from '../../src/ir/value.js'
import { exportGraph } from '../../src/onnx/export/export-graph.js'
import { encode } from '../../src/onnx/proto/encode.js'
import { op } from '../../src/op/op.js'

const words = input('words', 'string', [3])

async function computed(outputs: readonly Value[]): Promise<ort.Tensor[]> {
  const named = new Map(outputs.map((value, i) => [`y${i}`, value]))
  const model = exportGraph({ name: 'text', inputs: new Map([['words', words]]), outputs: named })
  const session = await ort.InferenceSession.create(encode('ModelProto', model), { logSeverityLevel: 3 })
  const results = await session.run({ words: new ort.Tensor('string', ['a b', 'cat', 'b a c'], [3]) })
  return [...named.keys()].map((name) => results[name]!)
}

it('text operators > inferred types and shapes equal those of onnxruntime', async () => {
  const outputs = [
    op.StringConcat(words, words),
    ...op.StringSplit(words),
    op.RegexFullMatch(words, { pattern: 'c.t' }),
    op.StringNormalizer(words, { case_change_action: 'UPPER', locale: 'C' }),
    op.TfIdfVectorizer(words, {
      max_gram_length: 1,
      max_skip_count: 0,
      min_gram_length: 1,
      mode: 'TF',
      ngram_counts: [0],
      ngram_indexes: [0, 2],
      pool_strings: ['cat', 'b a c'],
    }),
  ]
  const results = await computed(outputs)
  for (const [i, { dtype, shape }] of outputs.entries()) {
    expect(results[i]!.type).toBe(dtype)
    expect(results[i]!.dims.map((dim, axis) => (typeof shape![axis] === 'number' ? dim : shape![axis]))).toEqual(shape)
  }
  expect(results[0]!.data).toEqual(['a ba b', 'catcat', 'b a cb a c'])
  expect([...(results[3]!.data as Uint8Array)]).toEqual([0, 1, 0])
})

it('StringNormalizer with stop words > the length is unknown', () => {
  expect(op.StringNormalizer(words, { stopwords: ['a'] }).shape).toEqual([expect.stringMatching(/^\?/)])
})
