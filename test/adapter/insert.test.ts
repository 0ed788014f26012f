import { describe, expect, it } from 'vitest'
import {
  type Adapter,
  type AdapterLayer,
  adapterOf,
  applyAdapter,
  lora,
  mergeAdapter,
  removeAdapter,
} from '../../src/adapter/index.js'
import { decodeModel, encodeModel, namedTensors } from '../../src/index.js'
import { difference, numbers, run } from '../onnx/session.js'
import { thrownMessage } from '../thrown.js'
import { forms, randomAdapter } from './forms.js'

const plain = ({ layers, ...adapter }: Adapter) => ({
  ...adapter,
  layers: layers.map(({ a, b, ...layer }: AdapterLayer) => ({ ...layer, a: numbers(a), b: numbers(b) })),
})

describe.each(forms.map((form) => [form.name, form] as const))('an adapter of %s', (_, form) => {
  const { model, modules, feeds, isFloat } = form
  const adapter = randomAdapter(model, modules)
  const bytes = encodeModel(model)
  const adapted = decodeModel(encodeModel(applyAdapter(model, adapter)))

  it('has one layer per module', () => expect(adapter.layers.map(({ module }) => module)).toEqual(modules))

  it('a new adapter does not change the output', async () => {
    const [base, fresh] = [
      await run(bytes, feeds),
      await run(encodeModel(lora(model, { r: 4, targets: modules })), feeds),
    ]
    expect(numbers(fresh['y']!)).toEqual(numbers(base['y']!))
  })

  it('is read back from the file', () => expect(plain(adapterOf(adapted))).toEqual(plain(adapter)))

  it('removed > leaves the bytes of the base', () => {
    expect(Buffer.compare(encodeModel(removeAdapter(adapted)), bytes)).toBe(0)
  })

  it('changes the output', async () => {
    const [base, changed] = [await run(bytes, feeds), await run(encodeModel(adapted), feeds)]
    expect(difference(changed['y']!, base['y']!)).toBeGreaterThan(0.01)
  })

  it.runIf(isFloat)('merged > computes the same without its nodes', async () => {
    const merged = mergeAdapter(adapted)
    expect(merged.proto.graph!.node.map(({ name }) => name)).toEqual(model.proto.graph!.node.map(({ name }) => name))
    const tensors = [...namedTensors(merged).keys()]
    // A weight of one group replaces that of several.
    if (form.name.includes('groups')) expect(tensors).toEqual(['c', 'layer.merged_weight'])
    else expect(tensors).toEqual([...namedTensors(model).keys()])
    const [beside, inside] = [await run(encodeModel(adapted), feeds), await run(encodeModel(merged), feeds)]
    const isHalf = [...namedTensors(model).values()].some(({ dtype }) => dtype === 'float16')
    expect(difference(inside['y']!, beside['y']!)).toBeLessThan(isHalf ? 1e-3 : 1e-5)
  })

  it.runIf(!isFloat)('merged > is refused for a quantized weight', () => {
    expect(() => mergeAdapter(adapted)).toThrow(expect.objectContaining({ code: 'invalid-option' }))
  })
})

it('merged > an element beyond float16 is refused with the tensor', () => {
  const { model, modules } = forms.find(({ name }) => name.includes('float16'))!
  const { layers, ...adapter } = randomAdapter(model, modules)
  const merge = (scale: number) =>
    mergeAdapter(applyAdapter(model, { ...adapter, layers: layers.map((layer) => ({ ...layer, scale })) }))
  expect(thrownMessage('not-finite', () => merge(1e6))).toMatch(/the tensor 'w' .* float16: /)
  expect(namedTensors(merge(1)).get('w')!.dtype).toBe('float16')
})
