import { expect, test } from 'vitest'
import { build } from '../../models/index.js'
import { modelOf } from '../../src/graph/index.js'
import { encodeModel } from '../../src/index.js'
import { difference, run } from '../onnx/session.js'
import { preset } from './presets.js'
import { fed, references } from './reference.js'

const all = references()

test.each(Object.keys(all))('%s > outputs equal those of PyTorch', async (name) => {
  const { changes, examples, logits } = all[name]!
  const chosen = { ...preset(name), ...changes }
  const graph = build(chosen)
  // Parameters are inputs, so their initial values are never sampled.
  const inputs = new Map([...graph.inputs, ...graph.parameters])
  const vocabulary = 'vocabulary' in chosen ? chosen.vocabulary! : 0
  const feeds = [...inputs].map(([key, value]) => [key, fed(value, examples, vocabulary)] as const)
  const result = await run(encodeModel(modelOf({ ...graph, inputs })), Object.fromEntries(feeds))
  const expected = { ...result['logits']!, data: Float32Array.from(logits) }
  expect(difference(result['logits']!, expected)).toBeLessThan(2e-5)
})
