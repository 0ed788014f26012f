import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Names in the declarations of the public API. */
const folder = join(root, 'test/generated/public-api')
const publicNames = new Set(
  readdirSync(folder).flatMap((file) => readFileSync(join(folder, file), 'utf8').match(/[A-Za-z_$][\w$]*/g) ?? []),
)

/** Functions of Node and of browsers, functions that readers write themselves, and keywords before a bracket. */
const otherNames = new Set(
  ['BigInt', 'fetch', 'readFile', 'showDirectoryPicker', 'writeFile']
    .concat('addNoise', 'edit', 'showUnsupported', 'toFloat')
    .concat('async', 'await', 'catch', 'for', 'function', 'if', 'while'),
)

interface Example {
  /** File and line of the doc comment. */
  readonly place: string
  /** Text on the line of the tag. */
  readonly title: string
  readonly code: string
}

/** The sections `@example` and the blocks of TypeScript in the doc comments of a file. */
function examplesOf(file: string): Example[] {
  const text = readFileSync(join(root, file), 'utf8')
  return [...text.matchAll(/\/\*\*.*?\*\//gs)].flatMap(({ 0: comment, index }) => {
    const place = `${file}:${text.slice(0, index).split('\n').length}`
    const [description, ...tags] = comment.replaceAll(/^\s*\* ?|\*\/$/gm, '').split(/^@/m)
    return [
      ...[...description!.matchAll(/^```ts\n(.*?)^```/gms)].map(([, code]) => ({ place, title: '', code: code! })),
      ...tags.flatMap((tag) => {
        const [, title, code] = /^example\b(.*)([\s\S]*)/.exec(tag) ?? []
        return title === undefined ? [] : [{ place, title: title.trim(), code: code! }]
      }),
    ]
  })
}

const examples = ['src', 'models'].flatMap((name) =>
  readdirSync(join(root, name), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .flatMap((file) => examplesOf(join(name, file))),
)

/** Functions that code calls, and classes that it creates, without methods and its own functions. */
function namesCalled(code: string): string[] {
  const plain = code.replaceAll(/^```.*|\/\/.*|'[^'\n]*'|`[^`]*`/gm, '')
  const own = new Set(
    plain
      .match(/(?<=\b(?:const|let|function\*?) )(?:[[{][^=]*|\w+)/g)
      ?.join()
      .match(/\w+/g),
  )
  return [...plain.matchAll(/(?<![.\w$#])([A-Za-z_$][\w$]*)\s*\(/g)].flatMap(([, name]) =>
    own.has(name!) ? [] : name!,
  )
}

it('examples of doc comments > the functions that they call > are public', () => {
  expect(examples.length).toBeGreaterThan(100)
  const unknown = examples.flatMap(({ place, code }) =>
    namesCalled(code).flatMap((name) => (publicNames.has(name) || otherNames.has(name) ? [] : `${place}: ${name}`)),
  )
  expect(unknown).toEqual([])
})

it('examples of doc comments > their code > begins on the line after the tag', () => {
  expect(examples.filter(({ title }) => /\b(?:await|const|let)\b/.test(title)).map(({ place }) => place)).toEqual([])
})
