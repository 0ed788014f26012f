import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** Absolute path of a file of the repository. */
export const inRepository = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url))

/** An entry of `packages` in package-lock.json. */
interface LockedPackage {
  readonly version?: string
  readonly license?: string
  readonly integrity?: string
  readonly hasInstallScript?: boolean
  readonly dependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>
}

/** A package that is installed with onnx-ire, on some platform. */
interface Dependency {
  /** Its folder, for instance 'node_modules/ajv'. */
  readonly path: string
  readonly name: string
  readonly license: string
  readonly hasInstallScript: boolean
  /** Whether the lock file has a checksum of it. */
  readonly hasIntegrity: boolean
  /** Direct dependencies that bring it. */
  readonly broughtBy: ReadonlySet<string>
}

/**
 * Lists the production dependencies in package-lock.json, with the optional peers that users install themselves, of all
 * platforms, sorted by name.
 */
export function productionDependencies(): Dependency[] {
  const { packages } = JSON.parse(readFileSync(inRepository('package-lock.json'), 'utf8')) as {
    readonly packages: Readonly<Record<string, LockedPackage>>
  }
  const found = new Map<string, Set<string>>()
  const visit = (path: string, direct: string) => {
    const broughtBy = found.get(path) ?? new Set()
    if (broughtBy.has(direct)) return
    found.set(path, broughtBy.add(direct))
    for (const name of requirements(packages[path]!)) visit(locate(packages, path, name), direct)
  }
  const { dependencies, optionalDependencies, peerDependencies } = packages['']!
  for (const name of Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies }))
    visit(locate(packages, '', name), name)
  return [...found]
    .map(([path, broughtBy]) => {
      const { license = 'none', hasInstallScript = false, integrity } = packages[path]!
      const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length)
      return { path, name, license, hasInstallScript, hasIntegrity: integrity !== undefined, broughtBy }
    })
    .sort((a, b) => (a.name < b.name || (a.name === b.name && a.path < b.path) ? -1 : 1))
}

/** Names of the packages that npm installs for a package; optional peers are left to the user. */
function requirements(entry: LockedPackage): string[] {
  const { dependencies, optionalDependencies, peerDependencies = {}, peerDependenciesMeta = {} } = entry
  const peers = Object.keys(peerDependencies).filter((name) => !peerDependenciesMeta[name]?.optional)
  return [...Object.keys({ ...dependencies, ...optionalDependencies }), ...peers]
}

/** Finds the folder that a package's import of `name` resolves to. */
function locate(packages: Readonly<Record<string, unknown>>, from: string, name: string): string {
  for (let folder = from; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf('/node_modules/')))) {
    const path = folder === '' ? `node_modules/${name}` : `${folder}/node_modules/${name}`
    if (packages[path]) return path
    if (folder === '') throw new Error(`package-lock.json lacks ${name}, which ${from} requires`)
  }
}

const [begin, end] = ['<!-- dependencies: begin (npm run generate) -->', '<!-- dependencies: end -->']

/** SECURITY.md with its table of dependencies replaced by the one of package-lock.json. */
export function securityDocument(): string {
  const text = readFileSync(inRepository('SECURITY.md'), 'utf8')
  const [before, rest] = text.split(begin)
  const after = rest?.split(end)[1]
  if (before === undefined || after === undefined) throw new Error(`SECURITY.md lacks the line ${begin} or ${end}`)
  return `${before}${begin}\n\n${dependencyTables(productionDependencies())}\n\n${end}${after}`
}

function dependencyTables(dependencies: readonly Dependency[]): string {
  const licenses = new Map<string, number>()
  for (const { license } of dependencies) licenses.set(license, (licenses.get(license) ?? 0) + 1)
  const direct = new Set(dependencies.flatMap(({ broughtBy }) => [...broughtBy]))
  const scripts = dependencies.filter(({ hasInstallScript }) => hasInstallScript)
  return [
    `${dependencies.length} packages on all platforms together, ${direct.size} of them direct dependencies; ${scripts.length} with an install script.`,
    '',
    '| license | packages |',
    '|---|---|',
    ...[...licenses]
      .sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1))
      .map(([name, count]) => `| ${name} | ${count} |`),
    '',
    '| package | license | install script | brought by |',
    '|---|---|---|---|',
    ...dependencies.map(
      ({ path, name, license, hasInstallScript, broughtBy }) =>
        `| ${title(path, name)} | ${license} | ${hasInstallScript ? '**yes**' : 'no'} | ${broughtBy.has(name) ? 'direct' : [...broughtBy].sort().join(', ')} |`,
    ),
  ].join('\n')
}

/** The name of a package; a second version is shown with the package that it is installed below. */
const title = (path: string, name: string): string => {
  const parent = path.slice('node_modules/'.length, -`/node_modules/${name}`.length)
  return path === `node_modules/${name}` ? name : `${name} (below ${parent})`
}
