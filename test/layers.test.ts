import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
const source = join(root, 'src')

/**
 * Position of each folder of src in the layer order, which ARCHITECTURE.md states; folders of one layer share a
 * position.
 */
const layers = new Map(
  /```layers\n(.*)\n```/
    .exec(readFileSync(join(root, 'ARCHITECTURE.md'), 'utf8'))![1]!
    .split('<')
    .flatMap((layer, position) => layer.split(',').map((folder) => [folder.trim(), position] as const)),
)

/** Modules of src, relative to it, with the modules that each imports: values, types and dynamic imports. */
const imports = new Map(
  readdirSync(source, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => {
      const text = readFileSync(join(source, file), 'utf8')
      const specifiers = [...text.matchAll(/(?:\bfrom|\bimport\()\s*'(\.[^']+)\.js'/g)].map(
        ([, specifier]) => specifier!,
      )
      return [file, specifiers.map((specifier) => normalize(join(dirname(file), `${specifier}.ts`)))] as const
    }),
)

/** Public entry points re-export from any layer; no module imports them. */
const isEntryPoint = (file: string): boolean => /(^|\/)index\.ts$/.test(file)

const folderOf = (file: string): string => file.split('/')[0]!

/** Import cycles: strongly connected components of more than one module (Tarjan 1972). */
function findCycles(): string[][] {
  const index = new Map<string, number>()
  const low = new Map<string, number>()
  const stack: string[] = []
  const cycles: string[][] = []
  const visit = (file: string): void => {
    index.set(file, index.size)
    low.set(file, index.get(file)!)
    stack.push(file)
    for (const imported of imports.get(file) ?? []) {
      if (!index.has(imported)) visit(imported)
      if (stack.includes(imported)) low.set(file, Math.min(low.get(file)!, low.get(imported)!))
    }
    if (low.get(file) !== index.get(file)) return
    const component = stack.splice(stack.indexOf(file))
    if (component.length > 1) cycles.push(component)
  }
  for (const file of imports.keys()) if (!index.has(file)) visit(file)
  return cycles
}

describe('layers of src', () => {
  it('every folder > is in the order of ARCHITECTURE.md', () => {
    const folders = new Set([...imports.keys()].filter((file) => file.includes('/')).map(folderOf))
    expect([...folders].toSorted()).toEqual([...layers.keys()].toSorted())
    expect([...imports.keys()].filter((file) => !file.includes('/'))).toEqual(['index.ts'])
  })

  it('every import > leads to the same folder or to a lower layer', () => {
    const crossings = [...imports]
      .filter(([file]) => !isEntryPoint(file))
      .flatMap(([file, imported]) =>
        imported
          .filter((other) => folderOf(other) !== folderOf(file))
          .filter((other) => !(layers.get(folderOf(other))! < layers.get(folderOf(file))!))
          .map((other) => `${file} imports ${other}`),
      )
    expect(crossings).toEqual([])
  })

  it('every import > leads to a module that exists and is not an entry point', () => {
    const found = [...imports].flatMap(([file, imported]) =>
      imported.filter((other) => !imports.has(other) || isEntryPoint(other)).map((other) => `${file} imports ${other}`),
    )
    expect(found).toEqual([])
  })

  it('modules > have no import cycles', () => {
    expect(findCycles()).toEqual([])
  })
})

describe('paths in the documentation', () => {
  const documents = [
    'ARCHITECTURE.md',
    'CONTRIBUTING.md',
    ...readdirSync(join(root, 'docs/design')).map((file) => `docs/design/${file}`),
  ]
  it.each(documents)('%s > every path of src, test, tools, docs, models and graphs exists', (document) => {
    const text = readFileSync(join(root, document), 'utf8')
    const paths = [...text.matchAll(/`((?:src|test|tools|docs|models|graphs)\/[\w./-]+)`/g)].map(([, path]) => path!)
    expect(paths.filter((path) => !existsSync(join(root, path)))).toEqual([])
  })
})
