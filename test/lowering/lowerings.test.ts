import { afterAll, describe, expect, it } from 'vitest'
import { isStatic } from '../../src/ir/shape.js'
import type { Tensors } from '../../src/ir/tensor.js'
import { lower } from '../../src/lowering/lower.js'
import { webgpu as target } from '../../src/lowering/webgpu/target.js'
import type { GraphSpec } from '../../src/onnx/export/export-graph.js'
import type { Form } from '../../tools/kernels/form.js'
import { forms } from '../../tools/kernels/forms.js'
import { outcomes } from '../../tools/kernels/outcome.js'
import { kernels } from '../generated/kernels.js'
import { lastingWebgpu } from '../node/webgpu.js'
import { needs } from '../requirements.js'
import { integerForms } from './integer-forms.js'
import { cpu, cpuAs, distance, outputsOf } from './providers.js'
import { specialize } from './specialize.js'

const specOf = ({ operator, inputs, outputs }: Form): GraphSpec => ({
  name: operator,
  inputs: new Map(inputs.map((x, i) => [`x${i}`, x])),
  outputs: new Map(outputs.map((y, i) => [`y${i}`, y])),
})
const feedsOf = ({ feeds }: Form): Tensors => Object.fromEntries(feeds.map((tensor, i) => [`x${i}`, tensor]))

/**
 * Forms that are lowered, so that other operators replace theirs: of float32, or of a type that the operator accepts.
 */
const changed = [...[...forms().values()].flat(), ...integerForms()]
  .filter(({ dtype }) => dtype !== 'float64')
  .flatMap((form) => {
    const spec = specOf(form)
    const { outputs } = lower(spec, target)
    const same = [...outputs].every(([name, value]) => value === spec.outputs.get(name))
    return same ? [] : [[form.operator, form.name, form] as const]
  })

/** Whether something of it stays on the CPU when it is lowered, as OPERATORS.md says. */
function staysOnCpu({ operator, name, dtype }: Form): boolean {
  const kernel = kernels.operators[operator]?.webgpu
  const result = kernel?.lowered?.[dtype] ?? kernel?.types[dtype]
  return typeof result === 'object'
    ? (result[outcomes.fallsBack]?.includes(name) ?? false)
    : result === outcomes.fallsBack
}

/** Shape arithmetic stays with the host, and there is some where lengths are known only when the graph runs. */
const isOpen = ({ inputs }: Form): boolean => inputs.some(({ shape }) => !isStatic(shape))
const lengthsOf = ({ inputs, feeds }: Form): ReadonlyMap<string, number> =>
  new Map(
    inputs.flatMap(({ shape }, i) => (shape ?? []).map((dim, axis) => [`${dim}`, feeds[i]!.dims[axis]!] as const)),
  )

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
      const known = isOpen(form) ? specialize(spec, lengthsOf(form)) : spec
      const alone = known !== spec || !staysOnCpu(form)
      expect(distance(await outputsOf(alone ? gpu! : mixed!, known, feedsOf(form)), expected)).toBeLessThan(1e-3)
      if (known !== spec) expect(distance(await outputsOf(mixed!, spec, feedsOf(form)), expected)).toBeLessThan(1e-3)
    },
  )
})
