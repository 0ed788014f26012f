import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const read = (path: string) => readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), 'utf8')

it('every promise in docs/reliability.md > names a test that exists', () => {
  const rows = read('docs/reliability.md').matchAll(/^\|.*\| \[(\S+)\]\(\.\.\/(\S+)\) "(.+)" \|$/gm)
  const found = [...rows].map(([, shown, path, title]) => ({ shown, path: path!, title: title! }))
  const mentioned = read('docs/reliability.md').match(/\]\(\.\.\/(test|tools)\/\S+\.ts\)/g)!
  expect(found.length).toBe(mentioned.length)
  expect(found.length).toBeGreaterThan(20)
  for (const { shown, path, title } of found) {
    expect(shown).toBe(path)
    expect(read(path), `${path} lacks "${title}"`).toContain(title)
  }
})
