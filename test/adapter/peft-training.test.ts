import { describe, expect, it } from 'vitest'
import { adapterOf, applyAdapter } from '../../src/adapter/index.js'
import { suffixes } from '../../src/adapter/names.js'
import { buildTrainingGraphs, importGraph, modelOf } from '../../src/graph/index.js'
import { adamw, crossEntropy, encodeModel, fromArrays, replaceTensors, type Tensor } from '../../src/index.js'
import { decodeSafetensors } from '../../src/ir/safetensors.js'
import { difference, numbers, run } from '../onnx/session.js'
import { startTrainers, train } from '../train/small-trainer.js'
import { goldenTensors, readGolden, readGoldenModel, readGoldenPeft } from './golden.js'

const { create } = startTrainers()
const { tensors } = decodeSafetensors(readGolden('training.safetensors'), { checksum: false })
const { ids, tokens } = goldenTensors()
const loss = crossEntropy({ logits: 'y' })

/** tools/adapters/training.py has trained the same adapters with PyTorch and PEFT. */
describe.each([
  ['mixed', 'linear'],
  ['mixed', 'kinds'],
  ['mixed', 'rslora'],
  ['mixed', 'dora'],
  ['llama', 'llama'],
] as const)('training %s with the adapter of %s as PEFT does', (base, name) => {
  const adapted = applyAdapter(readGoldenModel(base), readGoldenPeft(name).adapter)
  const feeds = { ...(base === 'llama' ? { input_ids: tokens! } : { ids: ids! }), labels: tensors[`${base}/labels`]! }

  it('has the loss and every gradient', async () => {
    const { training, parameters } = buildTrainingGraphs(importGraph(adapted), { loss })
    const inputs = new Map([...training.inputs].filter(([key]) => !parameters.has(key)))
    const results = await run(encodeModel(modelOf({ ...training, inputs })), feeds)
    expect(numbers(results['loss']!)[0]! / numbers(tensors[`${name}/losses`]!)[0]!).toBeCloseTo(1, 5)
    // The tensors of the adapter, replaced by their gradients, in PEFT's layout.
    const gradients = new Map([...parameters.keys()].map((key) => [key, results[`grad/${key}`]!]))
    const found = new Map<string, Tensor>()
    for (const { module, kind, a, b, magnitude } of adapterOf(replaceTensors(adapted, gradients)).layers) {
      const { a: down, b: up } = suffixes(kind)
      found
        .set(`${name}/grad/base_model.model.${module}${down}`, a)
        .set(`${name}/grad/base_model.model.${module}${up}`, b)
      if (magnitude) found.set(`${name}/grad/base_model.model.${module}.lora_magnitude_vector`, magnitude)
    }
    const expected = Object.keys(tensors).filter((key) => key.startsWith(`${name}/grad/`))
    expect([...found.keys()].toSorted()).toEqual(expected.toSorted())
    for (const [key, gradient] of found) expect(difference(gradient, tensors[key]!), key).toBeLessThan(1e-4)
  })

  it('has the losses of twenty steps', async () => {
    const trainer = await create({ loss, optimizer: adamw({ lr: 1e-2, weightDecay: 0.1 }), batchSize: 2 }, adapted)
    const intervals = await train(trainer, fromArrays(feeds), { totalSteps: 20, evaluateEvery: 1 })
    await trainer.dispose()
    const expected = numbers(tensors[`${name}/losses`]!)
    expect(expected.at(-1)).toBeLessThan(0.9 * expected[0]!)
    for (const [step, { loss }] of intervals.entries()) expect(loss / expected[step]!, `step ${step}`).toBeCloseTo(1, 3)
  })
})
