import { describe, expect, it } from 'vitest'
import { definitions } from '../../src/op/op.js'
import { forms } from '../../tools/kernels/forms.js'
import { cpu } from '../../tools/kernels/runtimes.js'
import { surveyShaders } from '../../tools/kernels/shaders.js'
import { surveyKernel } from '../../tools/kernels/survey.js'
import { kernels } from './kernels.js'

/** `npx tsx tools/kernels/main.ts` measures all operators again; with `--operator Softplus` only this one. */
describe('kernels.json', () => {
  it('has every operator that a graph may have, on the CPU and in wasm', () => {
    expect(Object.keys(kernels.operators).toSorted()).toEqual(Object.keys(definitions).toSorted())
    for (const [operator, byRuntime] of Object.entries(kernels.operators))
      expect(Object.keys(byRuntime), operator).toEqual(expect.arrayContaining(['cpu', 'wasm']))
  })

  it('says what becomes shaders', () => {
    for (const [operator, ofOperator] of forms())
      expect(surveyShaders(ofOperator), operator).toEqual(kernels.operators[operator]!.shaders)
  })

  it('says what the CPU does', async () => {
    const prober = await cpu()
    for (const [operator, ofOperator] of forms())
      expect(await surveyKernel(ofOperator, prober), operator).toEqual(kernels.operators[operator]!.cpu)
  })
})
