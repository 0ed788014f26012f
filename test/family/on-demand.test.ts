import { expect, it } from 'vitest'
import { everyOperator } from '../../src/family/every.js'
import { operatorsNamed } from '../../src/family/on-demand.js'
import type { Operators } from '../../src/onnx/operators.js'

/** Everything that is known of an operator of a model, by the name that a node's domain and operator make. */
function knownOf({ definitions, calculus, upgrades, forms, sequenceForms }: Operators, name: string): unknown[] {
  const at = name.lastIndexOf('.')
  const [domain, operator] = [name.slice(0, Math.max(0, at)), name.slice(at + 1)]
  const ofDomain = definitions[operator]?.domain === domain ? definitions[operator] : undefined
  const standard = domain === '' ? [upgrades[operator], sequenceForms[operator]] : []
  const derivatives = ofDomain ? Object.values(calculus).map((table) => table[operator]) : []
  return [ofDomain, ...derivatives, forms[domain]?.[operator], ...standard]
}

const names = [
  ...Object.entries(everyOperator.definitions).map(([name, { domain }]) => (domain ? `${domain}.${name}` : name)),
  ...Object.keys(everyOperator.upgrades),
  ...Object.entries(everyOperator.forms).flatMap(([domain, table]) =>
    Object.keys(table).map((name) => (domain ? `${domain}.${name}` : name)),
  ),
  ...Object.keys(everyOperator.sequenceForms),
]

it.each([...new Set(names)].filter((name) => name !== 'Identity'))('loads all that is known of %s', async (name) => {
  expect(knownOf(everyOperator, name).some((part) => part !== undefined)).toBe(true)
  expect(knownOf(await operatorsNamed([name]), name)).toEqual(knownOf(everyOperator, name))
})

it('loads no family that a model does without', async () => {
  const { definitions, calculus } = await operatorsNamed(['Gemm', 'Relu', 'com.example.Conv'])
  expect(Object.keys(definitions)).not.toContain('Conv')
  expect(Object.keys(calculus.control)).toEqual([])
})

it('reads Gradient with the operators of training', async () => {
  expect((await operatorsNamed(['ai.onnx.preview.training.Gradient'])).gradientOperator).toBe(
    everyOperator.gradientOperator,
  )
  expect((await operatorsNamed(['Add'])).gradientOperator).toBeUndefined()
})

it('an Identity passes sequences on where there are any', async () => {
  expect((await operatorsNamed(['SequenceAt', 'Identity'])).sequenceForms).toHaveProperty('Identity')
})
