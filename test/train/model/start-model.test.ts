import { expect, it } from 'vitest'
import { adapterOf } from '../../../src/adapter/index.js'
import { namedTensors, type Trainable } from '../../../src/index.js'
import { createStartModel } from '../../../src/train/model/start-model.js'
import { smallMlp } from '../problem.js'
import { startTrainers } from '../small-trainer.js'

const { create } = startTrainers()
const modules = ({ model }: Awaited<ReturnType<typeof createStartModel>>) =>
  adapterOf(model).layers.map(({ module }) => module)

it('a new head > is trained as a whole, and is no layer of the adapter', async () => {
  const start = await createStartModel(smallMlp(), { head: { classes: 5 }, adapter: { r: 2 } })
  expect(modules(start)).toEqual(['hidden0'])
  expect(namedTensors(start.model).get('head.weight')!.dims).toEqual([5, 8])
  const trained = ['hidden0.lora_A.weight', 'hidden0.lora_B.weight', 'head.weight', 'head.bias']
  expect(start.trainable).toEqual(trained)
  const trainer = await create({ head: { classes: 5 }, adapter: { r: 2 } })
  expect(Object.keys(await trainer.parameters()).toSorted()).toEqual(trained.toSorted())
  await trainer.dispose()
})

it("a new head and an adapter > are the 'default' among the patterns of trainable", async () => {
  const [head, adapter] = [{ classes: 5 }, { r: 2 }]
  const names = async (trainable: Trainable) => {
    const trainer = await create({ head, adapter, trainable })
    const found = Object.keys(await trainer.parameters()).toSorted()
    await trainer.dispose()
    return found
  }
  const both = await names('default')
  expect(both).toEqual(['head.bias', 'head.weight', 'hidden0.lora_A.weight', 'hidden0.lora_B.weight'])
  expect(await names(['default', 'hidden0.bias'])).toEqual([...both, 'hidden0.bias'].toSorted())
  expect(await names({ exclude: 'head.bias' })).toEqual(both.filter((name) => name !== 'head.bias'))
})

it('without a head > the adapter alone is trained, and trainable is as given', async () => {
  const start = await createStartModel(smallMlp(), { adapter: { r: 2, exclude: 'hidden0' } })
  expect([modules(start), start.trainable]).toEqual([['head'], undefined])
  expect((await createStartModel(smallMlp(), { adapter: { r: 2 }, trainable: '*.bias' })).trainable).toBe('*.bias')
  const model = smallMlp()
  expect(await createStartModel(model, {})).toEqual({ model })
})

it('exclude > must name a layer, and leave one', async () => {
  for (const exclude of ['nothing', ['hidden0', 'head']])
    await expect(createStartModel(smallMlp(), { adapter: { exclude } })).rejects.toThrow(
      expect.objectContaining({ code: 'invalid-option', message: expect.stringContaining('exclude') }),
    )
})
