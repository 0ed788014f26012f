import { expect, test } from 'vitest'
import { run } from './command.js'

const commands = ['init', 'inspect', 'gradient', 'build', 'train', 'evaluate', 'sharpness', 'export']

test('the help lists every command and the exit codes', async () => {
  const { code, stdout } = await run('--help')
  expect(code).toBe(0)
  for (const command of commands) expect(stdout).toContain(`  ${command} `)
  expect(stdout).toContain('130 interrupted')
})

test.each(commands)('%s --help explains its options and gives examples', async (command) => {
  const { code, stdout } = await run(command, '--help')
  expect(code).toBe(0)
  expect(stdout).toContain(`Usage: onnx-ire ${command}`)
  expect(stdout).toContain('--json')
  expect(stdout).toContain(`Examples:\n  $ onnx-ire ${command}`)
})

test('wrong usage exits with 2 and says how it is used', async () => {
  for (const args of [
    ['inspect'],
    ['inspct', 'a'],
    ['gradient', 'a.onnx'],
    ['train'],
    ['inspect', 'a', '--colour'],
    [],
  ]) {
    const { code, stderr } = await run(...args)
    expect([args, code]).toEqual([args, 2])
    expect(stderr).not.toBe('')
  }
  const { code, stdout } = await run('gradient', 'a.onnx', '--json')
  expect(code).toBe(2)
  expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'usage' } })
})

test('--version is that of the package', async () => {
  const { stdout } = await run('--version')
  expect(stdout).toMatch(/^\d+\.\d+\.\d+/)
})
