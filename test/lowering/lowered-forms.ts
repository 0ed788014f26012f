import { isStatic } from '../../src/ir/shape.js'
import type { Tensors } from '../../src/ir/tensor.js'
import { lower } from '../../src/lowering/lower.js'
import { webgpu as target } from '../../src/lowering/webgpu/target.js'
import type { GraphSpec } from '../../src/onnx/export/export-graph.js'
import type { Form } from '../../tools/kernels/form.js'
import { forms } from '../../tools/kernels/forms.js'
import { integerForms } from './integer-forms.js'
import { specialize } from './specialize.js'

export const specOf = ({ operator, inputs, outputs }: Form): GraphSpec => ({
  name: operator,
  inputs: new Map(inputs.map((x, i) => [`x${i}`, x])),
  outputs: new Map(outputs.map((y, i) => [`y${i}`, y])),
})

export const feedsOf = ({ feeds }: Form): Tensors => Object.fromEntries(feeds.map((tensor, i) => [`x${i}`, tensor]))

/** Forms of operators that WebGPU computes with: those of float32, or of a type that the operator accepts. */
export const testedForms = (): readonly Form[] =>
  [...[...forms().values()].flat(), ...integerForms()].filter(({ dtype }) => dtype !== 'float64')

/** The forms with an operator that is lowered to others. */
export const loweredForms = (): readonly Form[] =>
  testedForms().filter((form) => {
    const spec = specOf(form)
    const { outputs } = lower(spec, target)
    return [...outputs].some(([name, value]) => value !== spec.outputs.get(name))
  })

/**
 * The graph of a form whose lengths are known only when it runs, for the lengths of its feeds; null if they are known.
 * Shape arithmetic of unknown lengths stays with the host.
 */
export function withKnownLengths(form: Form): GraphSpec | null {
  const { inputs, feeds } = form
  if (inputs.every(({ shape }) => isStatic(shape))) return null
  const lengths = inputs.flatMap(({ shape }, i) =>
    (shape ?? []).map((dim, axis) => [`${dim}`, feeds[i]!.dims[axis]!] as const),
  )
  return specialize(specOf(form), new Map(lengths))
}
