import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** An option as its interface declares it. */
export interface Option {
  /** `checkpoints.everySteps` for a field inside of another. */
  readonly name: string
  readonly required: boolean
  /** What its comment calls the default, where that is a literal: `32`, `'labels'`, `[0.9, 0.999]`, `false`. */
  readonly defaults: readonly string[]
}

const entries = [
  'src/index.ts',
  'src/graph/index.ts',
  'src/data/index.ts',
  'src/optim/index.ts',
  'src/analysis/flatness/index.ts',
  'src/node/index.ts',
  'src/web/index.ts',
  'models/index.ts',
]
const interfaces = /^export interface (\w+)[^{\n]*\{\n([\s\S]*?)^\}/gm
const holdsOptions = /(Options|Schedule|Settings|Group|^CsvColumns|^JsonField|^LossTask)$/
const field = /(?:\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\s*)?^( {2}| {4})readonly (\w+)(\?)?:/gm

/** The interfaces of options in the sources, by name, each with the fields of its own; `kind` tells schedules apart and is none. */
export function declaredOptions(): ReadonlyMap<string, readonly Option[]> {
  return new Map(
    sources().flatMap((source) =>
      [...source.matchAll(interfaces)].flatMap(([, name, body]) =>
        holdsOptions.test(name!) ? [[name!, fieldsOf(body!)] as const] : [],
      ),
    ),
  )
}

/** The names that `checkNames` lets pass, written out in its call. */
export const checkedNames = (): string[] =>
  sources().flatMap((source) =>
    [...source.matchAll(/\bcheckNames\([^[)]*\[([^\]]*)\]/g)].flatMap(([, list]) =>
      [...list!.matchAll(/'(\w+)'/g)].map(([, name]) => name!),
    ),
  )

const sources = () =>
  ['src', 'models'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts') && !/^(cli|recipe)\//.test(file))
      .map((file) => readFileSync(join(root, folder, file), 'utf8')),
  )

/** Which of them somebody who installs the package can name, or meets in what they can. */
export function publicOptions(): ReadonlySet<string> {
  const exported = entries.map((entry) => readFileSync(join(root, entry), 'utf8')).join('\n')
  const met = ['WarmSchedule', 'TimedSchedule']
  return new Set([
    ...[...exported.matchAll(/\b\w+\b/g)].map(([word]) => word).filter((word) => holdsOptions.test(word)),
    ...met,
  ])
}

function fieldsOf(body: string): Option[] {
  let outer = ''
  return [...body.matchAll(field)].flatMap(([, comment = '', indent, name, optional]) => {
    if (indent === '  ') outer = name!
    const full = indent === '  ' ? name! : `${outer}.${name}`
    return full === 'kind' ? [] : [{ name: full, required: optional !== '?', defaults: defaultsIn(comment) }]
  })
}

const literal = String.raw`'[^']+'|\[[^\]]*\]|\d+(?:[./]\d+)?(?:e-?\d+)?|true|false`
const said = new RegExp(
  String.raw`[Dd]efault:? (${literal})(?![\w'])|\(?(${literal})(?:\)?, the default| \((?:the )?default\)|, default\b)`,
  'g',
)

const defaultsIn = (comment: string): string[] =>
  [...comment.replace(/\s*\n\s*\* ?/g, ' ').matchAll(said)].map(([, first, second]) => (first ?? second)!)
