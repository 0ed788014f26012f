import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Option as its interface declares it. */
export interface DeclaredOption {
  /** Name of the option; `checkpoints.everySteps` for a field of an object. */
  readonly name: string
  readonly required: boolean
  /** Text of the doc comment in one line. */
  readonly comment: string
}

/** Interface of options in the sources. */
interface DeclaredOptions {
  readonly name: string
  /** First sentence of the doc comment. */
  readonly summary: string
  /** Interfaces of options that it extends. */
  readonly parents: readonly string[]
  readonly options: readonly DeclaredOption[]
}

/** Entry point of the package, with the interfaces of options that it exports. */
interface PackageEntry {
  readonly name: string
  readonly interfaces: readonly DeclaredOptions[]
}

const comment = String.raw`(?:\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\n)?`
const interfaces = new RegExp(
  String.raw`${comment}(?:export )?interface (\w+)(?:<[^{\n]*>)?(?:\s+extends ([^{]*?))? \{(?:\}|\n([\s\S]*?)^\})`,
  'gm',
)
const isOptions = (name: string) => /(Options|Schedule|Settings|Group|^CsvColumns|^JsonField|^LossTask)$/.test(name)
const field = /(?:\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\s*)?^( {2}| {4})readonly (\w+)(\?)?:/gm

/** Interfaces of options in the sources, by name. `kind` distinguishes schedules and is not an option. */
export const declaredOptions = (): ReadonlyMap<string, DeclaredOptions> => readInterfaces(sources(), isOptions)

/** All interfaces in the sources, those of recipes included, by name. */
export const declaredInterfaces = (): ReadonlyMap<string, DeclaredOptions> =>
  readInterfaces(sources(/^cli\//), () => true)

const readInterfaces = (files: readonly string[], accept: (name: string) => boolean) =>
  new Map(
    files.flatMap((source) =>
      [...source.matchAll(interfaces)].flatMap(([, text = '', name, extended = '', body = '']) =>
        accept(name!)
          ? [
              [
                name!,
                {
                  name: name!,
                  summary: firstSentence(oneLine(text)),
                  parents: [...extended.matchAll(/\w+/g)].map(([word]) => word).filter(accept),
                  options: fieldsOf(body),
                },
              ] as const,
            ]
          : [],
      ),
    ),
  )

/** Names that `checkNames` accepts, as written in its calls. */
export const checkedNames = (): string[] =>
  sources().flatMap((source) =>
    [...source.matchAll(/\bcheckNames\([^[)]*\[([^\]]*)\]/g)].flatMap(([, list]) =>
      [...list!.matchAll(/'(\w+)'/g)].map(([, name]) => name!),
    ),
  )

/** Entry points of the package with the interfaces they export or extend, each listed once. */
export function packageEntries(): PackageEntry[] {
  const declared = declaredOptions()
  const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    exports: Record<string, { types?: string } | string>
  }
  const listed = new Set<string>()
  return Object.entries(exports).flatMap(([path, target]) => {
    if (typeof target === 'string' || !target.types) return []
    const file = target.types.replace('./dist/', path === './models' ? '' : 'src/').replace('.d.ts', '.ts')
    const exported = [...readFileSync(join(root, file), 'utf8').matchAll(/\b\w+\b/g)].map(([word]) => word)
    const found: DeclaredOptions[] = []
    const add = (name: string) => {
      const options = declared.get(name)
      if (!options || listed.has(name)) return
      listed.add(name)
      for (const parent of options.parents) add(parent)
      found.push(options)
    }
    for (const name of exported) add(name)
    return found.length === 0 ? [] : [{ name: path.replace('.', 'onnx-ire'), interfaces: found }]
  })
}

const sources = (without = /^(cli|recipe)\//) =>
  ['src', 'models'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts') && !without.test(file))
      .map((file) => readFileSync(join(root, folder, file), 'utf8')),
  )

function fieldsOf(body: string): DeclaredOption[] {
  let outer = ''
  return [...body.matchAll(field)].flatMap(([, text = '', indent, name, optional]) => {
    if (indent === '  ') outer = name!
    const full = indent === '  ' ? name! : `${outer}.${name}`
    return full === 'kind' ? [] : [{ name: full, required: optional !== '?', comment: oneLine(text) }]
  })
}

const oneLine = (text: string): string =>
  text
    .replace(/\s*\n\s*\* ?/g, ' ')
    .replace(/ @[\s\S]*$/, '')
    .trim()

const firstSentence = (text: string): string => /^.*?(?<!\bal)\.(?= |$)/.exec(text)?.[0] ?? text
