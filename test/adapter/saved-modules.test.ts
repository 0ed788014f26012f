import { describe, expect, it } from 'vitest'
import {
  adapterOf,
  applyAdapter,
  decodePeft,
  encodeOnnxAdapter,
  encodePeft,
  lora,
  makeLoraReady,
  mergeAdapter,
  mergeQuantized,
  quantizeModel,
  removeAdapter,
} from '../../src/adapter/index.js'
import { adamw, encodeModel, namedTensors } from '../../src/index.js'
import { numbersOf, tensorFrom } from '../../src/ir/leaf.js'
import { thrownMessage } from '../thrown.js'
import { clusters, smallMlp } from '../train/problem.js'
import { startTrainers, train } from '../train/small-trainer.js'
import { forms } from './forms.js'
import { goldenTensors, readGoldenModel, readGoldenPeft } from './golden.js'
import { differenceOf, runModel } from './run.js'

const { create } = startTrainers()
const mixed = readGoldenModel('mixed')
const feeds = { ids: goldenTensors()['ids']! }
const run = async (model: typeof mixed) => numbersOf((await runModel(model, feeds))['y']!)

describe('modulesToSave', () => {
  // Gemm with a bias, MatMul and Add, Conv, Gather.
  const saved = ['fc2', 'fc1', 'conv', 'embed']

  it.each(saved)('%s > the outputs of the base, and its bytes when removed', async (module) => {
    const adapted = lora(mixed, { r: 2, targets: [module === 'fc1' ? 'fc2' : 'fc1'], modulesToSave: module })
    expect(adapterOf(adapted).saved!.map((each) => each.module.split('.').at(-1))).toEqual([module])
    expect(adapterOf(adapted).saved![0]!.bias === undefined).toBe(module === 'embed')
    expect(await run(adapted)).toEqual(await run(mixed))
    expect(encodeModel(removeAdapter(adapted))).toEqual(encodeModel(mixed))
  })

  it('changed tensors > the same outputs beside the weights, merged, and from a PEFT folder', async () => {
    const { layers, config, saved: initial } = adapterOf(lora(mixed, { targets: 'fc2', modulesToSave: saved.slice(1) }))
    const adapter = {
      ...{ layers, config },
      saved: initial!.map(({ module, weight, bias }) => {
        const change = (tensor: typeof weight, by: number) =>
          tensorFrom(
            'float32',
            tensor.dims,
            numbersOf(tensor).map((x, i) => x + by * Math.sin(i)),
          )
        return { module, weight: change(weight, 0.3), ...(bias && { bias: change(bias, 0.2) }) }
      }),
    }
    const beside = applyAdapter(mixed, adapter)
    const expected = await run(beside)
    expect(differenceOf(await run(mixed), expected)).toBeGreaterThan(0.05)
    expect(differenceOf(await run(mergeAdapter(beside)), expected)).toBeLessThan(1e-6)
    expect(await run(applyAdapter(mixed, decodePeft(encodePeft(adapterOf(beside))).adapter))).toEqual(expected)
    const eight = await run(mergeQuantized(beside, { bits: 8 }))
    expect(differenceOf(eight, expected)).toBeLessThan(0.05)
    expect(differenceOf(eight, await run(mixed))).toBeGreaterThan(0.05)
  })

  it('training > trains the module with its bias, A and B, and nothing else', async () => {
    const base = smallMlp()
    const trainer = await create(
      { optimizer: adamw({ lr: 2e-2 }), batchSize: 8 },
      lora(base, { r: 2, modulesToSave: 'head' }),
    )
    const names = Object.keys(await trainer.parameters())
    const losses = await train(trainer, clusters(40, [6]), { totalSteps: 20, evaluateEvery: 10 })
    const tuned = trainer.export()
    expect(names.sort()).toEqual(
      ['hidden0.lora_A.weight', 'hidden0.lora_B.weight', 'head.lora_saved.weight', 'head.lora_saved.bias'].sort(),
    )
    expect(losses.at(-1)!.loss).toBeLessThan(losses[0]!.loss)
    const [head] = adapterOf(tuned).saved!
    expect(numbersOf(head!.bias!)).not.toEqual(numbersOf(namedTensors(base).get('head.bias')!))
    expect(encodeModel(removeAdapter(tuned))).toEqual(encodeModel(base))
    const merged = namedTensors(mergeAdapter(tuned))
    expect([...merged.keys()]).toEqual([...namedTensors(base).keys()])
    expect(numbersOf(merged.get('head.bias')!)).toEqual(numbersOf(head!.bias!))
  })

  it('what cannot be saved, or does not fit > typed errors', () => {
    const { adapter } = readGoldenPeft('modules-to-save')
    const [fc2] = adapter.saved!
    const quantized = quantizeModel(mixed, { bits: 8 })
    const packed = forms.find(({ name }) => name === 'packed qkv_proj')!.model
    const other = (change: object) => ({ ...adapter, saved: [{ ...fc2!, ...change }] })
    const refused: readonly (readonly ['invalid-option' | 'invalid-data', string, () => unknown])[] = [
      ['invalid-option', 'modulesToSave', () => lora(mixed, { targets: 'fc1', modulesToSave: 'fc1' })],
      ['invalid-option', "'modulesToSave' has 'fc3'", () => lora(mixed, { modulesToSave: 'fc3' })],
      ['invalid-option', "'modulesToSave'", () => lora(quantized, { targets: 'conv', modulesToSave: 'fc1' })],
      ['invalid-option', "'targets'", () => lora(quantized, { targets: 'conv', modulesToSave: 'fc1' })],
      ['invalid-option', "qkv_proj'", () => lora(packed, { targets: 'k_proj', modulesToSave: 'v_proj' })],
      ['invalid-option', '8 bits', () => lora(quantized, { targets: 'conv', modulesToSave: 'fc1' })],
      ['invalid-data', 'weight is', () => applyAdapter(mixed, other({ weight: fc2!.bias }))],
      ['invalid-data', 'a norm', () => applyAdapter(mixed, other({ module: 'block.norm', weight: fc2!.bias }))],
      ['invalid-data', 'no bias', () => applyAdapter(mixed, other({ bias: undefined }))],
      ['invalid-data', 'only one', () => applyAdapter(mixed, other({ module: 'block.fc1' }))],
      ['invalid-data', 'block.fc2', () => encodeOnnxAdapter(adapter)],
      ['invalid-option', 'block.fc2', () => makeLoraReady(applyAdapter(mixed, adapter))],
    ]
    for (const [code, text, action] of refused) expect(thrownMessage(code, action)).toContain(text)
  })
})
