import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { needs } from '../requirements.js'
import { program } from './command.js'
import { type Workspace, workspace } from './workspace.js'

let space: Workspace
beforeAll(async () => {
  space = await workspace()
})
afterAll(() => space.remove())

/** Runs Node, and returns its exit code and the Internet addresses that its threads and children sent to. */
function traceNetwork(...args: readonly string[]): { readonly code: number | null; readonly addresses: string[] } {
  const trace = space.path('trace.txt')
  // As on a user's machine: the library itself switches telemetry off.
  const { ORT_DISABLE_TELEMETRY: _, ...env } = process.env
  const calls = 'trace=connect,sendto,sendmsg,sendmmsg'
  const { status } = spawnSync('strace', ['-f', '-e', calls, '-o', trace, process.execPath, ...args], { env })
  const lines = readFileSync(trace, 'utf8').split('\n')
  return { code: status, addresses: lines.filter((line) => line.includes('AF_INET')) }
}

describe('nothing is sent', await needs('strace'), () => {
  it('a program that connects > is noticed', () => {
    const { code, addresses } = traceNetwork('-e', "require('node:net').connect(9, '127.0.0.1').on('error', () => {})")
    expect(code).toBe(0)
    expect(addresses[0]).toMatch(/connect\(.*127\.0\.0\.1/)
  })

  // It reads, inspects, runs, evaluates and writes models.
  it('onnx-ire train > opens no connection', () => {
    const args = ['train', space.path('recipe.json'), '--out', space.path('run'), '--quiet']
    expect(traceNetwork(program, ...args)).toEqual({ code: 0, addresses: [] })
  })
})
