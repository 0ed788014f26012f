import { expect, it } from 'vitest'
import { cApi } from '../../src/node/c-api/runtime.js'
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

it.each([
  ['cpuNodes', { cpuNodes: 'refused' }],
  ['validation', { validation: 'strict' }],
  ['cpuNode', { cpuNode: 'forbidden' }],
])('the WebGPU option %s with a name or value that does not exist > invalid-option that names it', (name, webgpu) => {
  expect(() => node({ provider: 'webgpu', webgpu: webgpu as object })).toThrow(errorWith('invalid-option', `'${name}'`))
})

it.each([
  ['enableMemPatern', { session: { enableMemPatern: true } }],
  ['intraOpNumThreads', { session: { intraOpNumThreads: 2 } }],
  ['thread', { thread: 2 }],
  ['worker', { worker: false }],
  ['device', { device: 0 }],
  ['cuda', { provider: 'cpu', cuda: { gpu_mem_limit: 2 ** 33 } }],
])('cApi: the option %s, which has no effect > invalid-option that names it', (name, options) => {
  expect(() => cApi(options as object)).toThrow(errorWith('invalid-option', `'${name}'`))
})

it.each([0, 1.5, 1025, 100_000])('%d threads > invalid-option', (threads) => {
  for (const create of [node, cApi])
    expect(() => create({ threads })).toThrow(errorWith('invalid-option', "option 'threads'"))
})
