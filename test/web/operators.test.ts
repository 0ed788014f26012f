import { expect, it } from 'vitest'
import { surveyShaders } from '../../tools/kernels/shaders.js'
import { staysOnCpu } from '../generated/kernels.js'
import { cases } from '../grad/cases/index.js'
import { loweredForms, testedForms, withKnownLengths } from '../lowering/lowered-forms.js'
import { describeInBrowser } from './browser.js'
import type { Comparison } from './pages/calls/operators.js'

/** Hundreds of graphs, each of which a software GPU compiles. */
const patience = 900_000

/** onnxruntime's shape inference does not stretch a diagonal of length 1. */
const rejectedOnCpu = ["Einsum, Einsum 'ii,i->i' of [1,1] and [4]"]

/** onnxruntime takes SAME pads of such a stride as negative, and rejects them. */
const rejectedUnlessLowered = [...rejectedOnCpu, 'MaxPool, SAME_UPPER, a stride above the kernel']

describeInBrowser('operators on WebGPU in Chromium > equal the CPU', (browser) => {
  it(
    'lowered, with no CPU nodes except those in OPERATORS.md',
    async () => {
      const { compared, wrong, refused, rejected } = await browser().worker<Comparison>('operators', 'compareLowered')
      expect(wrong).toEqual([])
      expect(rejected).toEqual(rejectedOnCpu)
      const left = loweredForms().filter((form) => withKnownLengths(form) === null && staysOnCpu(form))
      expect(left.map(({ operator, name }) => `${operator}, ${name}`)).toEqual(expect.arrayContaining([...refused]))
      expect(compared).toBe(loweredForms().length - refused.length - rejected.length)
    },
    patience,
  )

  it(
    'in compute shaders',
    async () => {
      const { compared, wrong, rejected } = await browser().worker<Comparison>('operators', 'compareShaders')
      expect(wrong).toEqual([])
      expect(rejected).toEqual(rejectedUnlessLowered)
      const converted = testedForms().filter((form) => Object.values(surveyShaders([form]).types).includes('runs'))
      expect(compared).toBe(converted.length - rejected.length)
    },
    patience,
  )

  it(
    'results and gradients in compute shaders',
    async () => {
      const differences = new Map<string, number | null>()
      for (const operator of Object.keys(cases))
        differences.set(operator, await browser().worker<number | null>('shaders', 'compareOperator', operator))
      const wrong = [...differences].filter(([, difference]) => difference !== null && !(difference < 1e-3))
      expect(wrong).toEqual([])
      const computed = [...differences.values()].filter((difference) => difference !== null)
      expect(computed.length).toBeGreaterThanOrEqual(90)
    },
    patience,
  )
})
