import { expect, it } from 'vitest'
import { operatorsDocument } from './operators.js'

it('OPERATORS.md is what the tables say', async () => {
  await expect(operatorsDocument()).toMatchFileSnapshot('../../OPERATORS.md')
})
