import { allExpansions } from '../../src/shader/all-expansions.js'
import { shaderProgram } from '../../src/shader/program.js'
import { OnnxIreError } from '../../src/util/errors.js'
import type { Form } from './form.js'
import { outcomes } from './outcome.js'
import { type Kernel, resultOf } from './survey.js'

/**
 * Finds the forms of an operator that become compute shaders, by type; there are none of float64. No GPU is needed: a
 * test in the browser runs them.
 */
export function surveyShaders(forms: readonly Form[]): Kernel {
  const types: Record<string, Kernel['types'][string]> = {}
  const tried = forms.filter(({ dtype }) => dtype !== 'float64')
  for (const dtype of new Set(tried.map((form) => form.dtype))) {
    const byOutcome = new Map<string, string[]>()
    for (const form of tried.filter((form) => form.dtype === dtype)) {
      const outcome = hasShaders(form) ? outcomes.runs : outcomes.noKernel
      byOutcome.set(outcome, [...(byOutcome.get(outcome) ?? []), form.name])
    }
    types[dtype] = resultOf(byOutcome)
  }
  return { types }
}

/** Whether shaders compute a form, for the lengths of its feeds. */
function hasShaders({ operator, inputs, outputs, feeds }: Form): boolean {
  const spec = {
    name: operator,
    inputs: new Map(inputs.map((value, i) => [`x${i}`, value])),
    outputs: new Map(outputs.map((value, i) => [`y${i}`, value])),
  }
  try {
    shaderProgram(spec, Object.fromEntries(feeds.map(({ dims }, i) => [`x${i}`, dims])), allExpansions)
    return true
  } catch (error) {
    if (error instanceof OnnxIreError && error.code === 'unsupported-operator') return false
    throw error
  }
}
