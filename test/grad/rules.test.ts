import { describe, expect, it } from 'vitest'
import { gradientTables } from '../../src/grad/gradient-tables.js'
import { cases } from './cases/index.js'
import { checkCase } from './check.js'

describe('gradient rules', () => {
  it('cases > exist for exactly the operators with a rule or an expansion', () => {
    const { rules, expansions, control } = gradientTables
    const covered = [rules, expansions, control].flatMap(Object.keys)
    expect(Object.keys(cases).toSorted()).toEqual([...new Set(covered)].toSorted())
  })

  describe.each(Object.entries(cases))('%s', (_, ofOperator) => {
    it.each(ofOperator)('$name > static lengths > agrees with directional differences', (case_) =>
      checkCase(case_, { symbolic: false }),
    )
    it.each(ofOperator.filter((case_) => !case_.staticOnly))(
      '$name > symbolic lengths > agrees with directional differences',
      (case_) => checkCase(case_, { symbolic: true }),
    )
  })
})
