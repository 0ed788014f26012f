import { expect, test } from 'vitest'
import { build } from '../../models/index.js'
import { encodeModel, replaceTensors } from '../../src/index.js'
import { difference, run } from '../onnx/session.js'
import { modelFrom } from '../train/problem.js'
import { preset } from './presets.js'
import { elements, fed, references } from './reference.js'

const all = references()

test.each(Object.keys(all))('%s computes what PyTorch computes', async (name) => {
  const { changes, examples, logits } = all[name]!
  const chosen = { ...preset(name), ...changes }
  const graph = build(chosen)
  const weights = [...graph.parameters].map(([key, { shape }]) => [key, elements(key, shape as number[])] as const)
  const bytes = encodeModel(replaceTensors(modelFrom(graph), new Map(weights)))
  const [key, input] = [...graph.inputs][0]!
  const result = await run(bytes, { [key]: fed(input, examples, 'vocabulary' in chosen ? chosen.vocabulary! : 0) })
  const expected = { ...result['logits']!, data: Float32Array.from(logits) }
  expect(difference(result['logits']!, expected)).toBeLessThan(2e-5)
})
