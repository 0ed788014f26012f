import { expect, it } from 'vitest'
import { node } from '../../src/node/index.js'
import { errorWith } from '../thrown.js'

it.each([
  ['freeDimensionOverrides', { freeDimensionOverrides: { N: 4 } }],
  ['logVerbosityLevel', { logVerbosityLevel: 1 }],
  ['intraOpNumThreads', { intraOpNumThreads: 2 }],
  ['enableMemPatern', { enableMemPatern: true }],
])('the session option %s, which has no effect > invalid-option that names it', (name, session) => {
  expect(() => node({ session: session as object })).toThrow(errorWith('invalid-option', `'${name}'`))
})

it('an unknown option of node() > invalid-option that names it', () => {
  expect(() => node({ thread: 2 } as object)).toThrow(errorWith('invalid-option', "'thread'"))
})
