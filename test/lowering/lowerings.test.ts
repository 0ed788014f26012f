import { afterAll, describe, expect, it } from 'vitest'
import { webgpu as target } from '../../src/lowering/webgpu/target.js'
import { staysOnCpu } from '../generated/kernels.js'
import { lastingWebgpu } from '../node/webgpu.js'
import { needs } from '../requirements.js'
import { feedsOf, loweredForms, specOf, withKnownLengths } from './lowered-forms.js'
import { distance, outputsOf } from './outputs.js'
import { cpu, cpuAs } from './providers.js'

const changed = loweredForms().map((form) => [form.operator, form.name, form] as const)

const gpuNeeded = await needs('webgpu')
const gpu = gpuNeeded.skip ? undefined : lastingWebgpu({ cpuNodes: 'forbidden' })
const mixed = gpuNeeded.skip ? undefined : lastingWebgpu()
afterAll(() => Promise.all([gpu?.dispose(), mixed?.dispose()]))

describe('operators lowered for WebGPU', () => {
  it('cases > cover the table of lowerings', () => {
    const names = new Set(changed.map(([operator]) => operator))
    expect(Object.keys(target.lowerings).filter((name) => !names.has(name))).toEqual([])
  })

  it.each(changed)('%s, %s > equal results on the CPU', async (_, __, form) => {
    const spec = specOf(form)
    const expected = await outputsOf(cpu, spec, feedsOf(form))
    // Sums of a thousand products round by up to 3e-5 if terms cancel.
    expect(distance(await outputsOf(cpuAs('webgpu'), spec, feedsOf(form)), expected)).toBeLessThan(5e-5)
  })

  it.each(changed)(
    '%s, %s > equal results on the device, with no CPU nodes except those in OPERATORS.md',
    gpuNeeded,
    async (_, __, form) => {
      const spec = specOf(form)
      const expected = await outputsOf(cpu, spec, feedsOf(form))
      const known = withKnownLengths(form)
      const alone = known !== null || !staysOnCpu(form)
      expect(distance(await outputsOf(alone ? gpu! : mixed!, known ?? spec, feedsOf(form)), expected)).toBeLessThan(
        1e-3,
      )
      if (known) expect(distance(await outputsOf(mixed!, spec, feedsOf(form)), expected)).toBeLessThan(1e-3)
    },
  )
})
