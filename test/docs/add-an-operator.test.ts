import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Case } from '../grad/cases/case.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const operator = 'CDist'

interface Step {
  readonly file: string
  readonly table: string
  readonly code: string
}

/** The blocks of the guide's walk-through: code that is inserted into a table of a file. */
const steps: readonly Step[] = [
  ...readFileSync(join(root, 'docs/add-an-operator.md'), 'utf8').matchAll(
    /^In `([^`]+)`, in the table `(\w+)`:\n\n```typescript\n([\s\S]*?)^```$/gm,
  ),
].map(([, file, table, code]) => ({ file: file!, table: table!, code: code! }))

/** A copy of the library's source and of the gradient check in a temporary folder. */
class Library {
  readonly folder = mkdtempSync(join(tmpdir(), 'onnx-ire-operator-'))

  constructor() {
    for (const path of ['src', 'test/grad', 'tsconfig.json'])
      cpSync(join(root, path), join(this.folder, path), {
        recursive: true,
        filter: (source) => !/src\/(cli|node|web)$|\.test\.ts$/.test(source.replaceAll('\\', '/')),
      })
    symlinkSync(join(root, 'node_modules'), join(this.folder, 'node_modules'))
    writeFileSync(join(this.folder, 'package.json'), JSON.stringify({ type: 'module' }))
    const compilerOptions = { rootDir: '.', outDir: 'dist', composite: false, incremental: false, types: ['node'] }
    const include = ['src/op', 'src/grad', 'test/grad/check.ts', 'test/grad/cases']
    writeFileSync(
      join(this.folder, 'walk-through.json'),
      JSON.stringify({ extends: './tsconfig.json', compilerOptions, files: null, references: [], include }),
    )
  }

  /** Inserts a block as the first entry of its table. */
  insert({ file, table, code }: Step): void {
    const path = join(this.folder, file)
    const text = readFileSync(path, 'utf8')
    const start = `export const ${table} = {\n`
    expect(text.split(start), `${table} in ${file}`).toHaveLength(2)
    writeFileSync(
      path,
      text.replace(start, () => start + code),
    )
  }

  /** Compiles everything; returns the compiler's messages, '' if there are none. */
  compile(): string {
    try {
      execFileSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', 'walk-through.json'], {
        cwd: this.folder,
        encoding: 'utf8',
      })
      return ''
    } catch (error) {
      return (error as { stdout: string }).stdout
    }
  }

  // biome-ignore lint/suspicious/noExplicitAny: modules of the copy have no types here
  load = (module: string): Promise<any> => import(pathToFileURL(join(this.folder, 'dist', module)).href)

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }
}

describe('docs/add-an-operator.md > walk-through', () => {
  let library: Library
  beforeAll(() => {
    library = new Library()
  })
  afterAll(() => library.remove())

  it('changes the definition, the rule and the cases, and nothing else', () => {
    expect(steps.map(({ file }) => file)).toEqual([
      'src/op/definitions/linalg.ts',
      'src/grad/rules/linalg.ts',
      'test/grad/cases/linalg.ts',
    ])
  })

  it('definition without a rule > does not compile, and the error names the operator', () => {
    library.insert(steps[0]!)
    expect(library.compile()).toMatch(new RegExp(`src/grad/gradient-tables\\.ts.*withoutGradient.*${operator}`, 's'))
  })

  it('definition, rule and cases > compile, and pass the numerical gradient check', async () => {
    for (const step of steps.slice(1)) library.insert(step)
    expect(library.compile()).toBe('')
    const [{ gradientTables }, { cases }, { checkCase }] = await Promise.all(
      ['src/grad/gradient-tables.js', 'test/grad/cases/index.js', 'test/grad/check.js'].map(library.load),
    )
    expect(Object.keys(cases)).toContain(operator)
    expect(Object.keys(gradientTables.rules)).toContain(operator)
    for (const case_ of cases[operator] as readonly Case[])
      for (const symbolic of [false, true]) await checkCase(case_, { symbolic })
  })
})
