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

const leaves = [
  ...commands.filter((name) => !['data', 'adapter', 'tune'].includes(name)),
  'data prepare text',
  'data prepare images',
  'data prepare cifar',
  'data show',
  'tune chat',
  'tune classify',
  'tune embed',
  'tune image',
  'adapter inspect',
  'adapter convert',
  'adapter apply',
  'adapter merge',
  'adapter base',
  'adapter inline',
]

test.each(leaves)('%s --help > describes usage and --json, with an example', async (command) => {
  const { code, stdout } = await run(...command.split(' '), '--help')
  expect(code).toBe(0)
  expect(stdout).toContain(`Usage: onnx-ire ${command} [options]`)
  expect(stdout).toMatch(/^ {2}--json /m)
  expect(stdout).toContain(`  $ onnx-ire ${command} `)
  expect(stdout.split('\n').filter((line) => /^\S/.test(line) && line.length > 110)).toEqual([])
})

/** The options of a command, as its help lists them. */
async function optionsOf(command: string): Promise<ReadonlySet<string>> {
  const { stdout } = await run(...command.split(' '), '--help')
  const [, section = ''] = /^Options:\n([\s\S]*?)\n\n/m.exec(stdout) ?? []
  return new Set([...section.matchAll(/^ {2}(?:(-\w), )?(--[\w-]+)/gm)].flatMap(([, short, long]) => [short!, long!]))
}

test.each(leaves)('%s --help > the examples have options that the commands have', async (command) => {
  const { stdout } = await run(...command.split(' '), '--help')
  const [, section = ''] = stdout.split(/^Examples:$/m)
  const text = section.replaceAll(/\\\n/g, ' ').replaceAll(/'[^']*'|"[^"]*"/g, 'quoted')
  const examples = [...text.matchAll(/^ {2}.*\bonnx-ire .*$/gm)].flatMap(([line]) => line.split(/&&|;|>/))
  const called = examples.flatMap((each) => /\bonnx-ire (.*)/.exec(each)?.[1] ?? [])
  expect(called).not.toEqual([])
  for (const call of called) {
    const name = leaves.filter((leaf) => `${call} `.startsWith(`${leaf} `)).sort((a, b) => b.length - a.length)[0]
    expect([call, name]).toEqual([call, expect.any(String)])
    const known = await optionsOf(name!)
    expect([call, call.split(' ').filter((word) => /^--?[a-z]/.test(word) && !known.has(word))]).toEqual([call, []])
  }
})

test.each([
  ['plot runs -o report.html --provider cpu', '--provider is for --examples'],
  ['sweep recipe.json --over batchSize=1,2 --seeds 3', '--seeds is for --compare'],
  ['sweep recipe.json --over batchSize=1,2 --seed 3', '--seed is for --trials'],
  ['chat model --top-p 0.5', '--top-p is for sampling: add --temperature'],
  ['chat model --any-base', '--any-base needs --adapter'],
  ['tune classify model rows.jsonl -o tuned --kappa 2', '--kappa is a setting of IRE: add --ire'],
  ['tune image model.onnx images -o tuned --measure-every 2', '--measure-every writes .* --tensorboard'],
  ['data prepare text text.txt -o tokens --tokenizer tokenizer.json --vocabulary 300', '--vocabulary is for a new'],
])('%s > an option without effect is wrong usage', async (args, message) => {
  const { code, stderr } = await run(...args.split(' '))
  expect([code, stderr]).toEqual([2, expect.stringMatching(message)])
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
