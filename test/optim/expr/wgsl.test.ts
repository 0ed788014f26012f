import { describe, expect, test } from 'vitest'
import { adamw } from '../../../src/optim/adam.js'
import { updateFormula } from '../../../src/optim/base-optimizer.js'
import { array, formula, scalar } from '../../../src/optim/expr/expr.js'
import { formulaToWgsl } from '../../../src/optim/expr/wgsl.js'

describe('expression as a shader', () => {
  test('update of AdamW with a mask > equals the stored shader', async () => {
    const update = updateFormula(adamw().formula, { clipped: true, enhanced: true })
    const { code, arrays, fed, scalars } = formulaToWgsl(update, { width: 4, fed: ['g'], bits: ['n'] })
    await expect(code).toMatchFileSnapshot('adamw.wgsl')
    const written = (of: typeof arrays) => of.map(({ name, written }) => `${name}${written ? ', written' : ''}`)
    expect(written(arrays).sort()).toEqual(['firstMoment, written', 'n', 'secondMoment, written', 'theta, written'])
    expect(written(fed)).toEqual(['g'])
    expect([...scalars].sort()).toEqual([
      'decay',
      'eps',
      'kappa',
      'limit',
      'oneMinusBeta1',
      'oneMinusBeta2',
      'scale',
      'stepSize',
    ])
  })

  test('formulaToWgsl > a scalar that is found on the device > is not an argument of the call', () => {
    const of = formula({ y: array('x').add(scalar('shift')).mul(scalar('scale')) })
    const { code, scalars } = formulaToWgsl(of, {
      width: 1,
      preamble: '// state',
      found: { scale: 'state.scale' },
      unless: 'wrong()',
    })
    expect(scalars).toEqual(['shift'])
    expect(code).toContain('T(state.scale)')
    expect(code).toContain('if (i >= call.count || wrong()) { return; }')
    expect(code).toContain('// state')
  })

  test('shared subexpressions > are computed once', () => {
    const shared = array('x').mul(array('x'))
    const { code } = formulaToWgsl(formula({ y: shared.add(shared), z: shared }), { width: 1 })
    expect(code.match(/\*/g)).toHaveLength(3) // one product, and the two of the index
  })

  test('unsupported expressions > rejects', () => {
    const code = 'invalid-option'
    const large = formula({ y: array('x').mul(1e39) })
    expect(() => formulaToWgsl(large, { width: 1 })).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(/1e\+39.*float32/) }),
    )
    expect(() => formulaToWgsl(formula({ y: array('x') }, { s: array('x') }), { width: 1 })).toThrow(
      /cannot compute sums of squares/,
    )
  })
})
