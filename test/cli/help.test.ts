import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { run } from './command.js'

const { stdout: help } = await run('--help')
const commands = [...help.matchAll(/^ {2}([a-z]+) (?:\[options\] )?(?:[<[]\S+ ?)* *\S/gm)].flatMap(([, name]) =>
  name === 'help' ? [] : [name!],
)

test('--help > lists every command and the exit codes', async () => {
  expect(commands).toEqual([
    'init',
    'inspect',
    'batch',
    'gradient',
    'build',
    'train',
    'sweep',
    'lr',
    'show',
    'plot',
    'watch',
    'evaluate',
    'predict',
    'snippet',
    'labels',
    'sharpness',
    'export',
    'adapter',
    'data',
    'tune',
    'chat',
  ])
  expect(help).toContain('130 interrupted')
})

test.each([
  ...commands.filter((name) => !['data', 'adapter', 'tune'].includes(name)),
  'data prepare text',
  'data prepare images',
  'data prepare cifar',
  'data show',
  'tune chat',
  'adapter inspect',
  'adapter convert',
  'adapter apply',
  'adapter merge',
  'adapter base',
  'adapter inline',
])('%s --help > describes usage and --json, with an example', async (command) => {
  const { code, stdout } = await run(...command.split(' '), '--help')
  expect(code).toBe(0)
  expect(stdout).toContain(`Usage: onnx-ire ${command} [options]`)
  expect(stdout).toMatch(/^ {2}--json /m)
  expect(stdout).toContain(`  $ onnx-ire ${command} `)
})

test('wrong usage > exits with 2 and explains the usage', async () => {
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

test.each([
  ['serve-snippet runs/a', 'snippet'],
  ['eval runs/a', 'evaluate'],
  ['evalute runs/a', 'evaluate'],
  ['train recipe.json --resum', '--resume'],
  ['tune images a.onnx b', 'image'],
  ['adapter convrt a', 'convert'],
])('%s > names what is probably meant', async (args, meant) => {
  const { code, stderr } = await run(...args.split(' '))
  expect([code, stderr]).toEqual([2, expect.stringContaining(`(Did you mean ${meant}?)`)])
})

test('an unknown command like no other > is refused without a guess', async () => {
  const { code, stderr } = await run('zzzzzz')
  expect([code, stderr]).toEqual([2, expect.stringContaining("unknown command 'zzzzzz'\n(--help")])
  expect(await run('constructor')).toMatchObject({ code: 2 })
})

test('--version > prints the version of the package', async () => {
  const { stdout } = await run('--version')
  const { version } = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8'))
  expect(stdout).toBe(`${version}\n`)
})
