import { execFile, execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { sharedBuild } from './shared-build.js'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Path of a program of this repository's dependencies. */
export const binary = (name: string): string => join(root, 'node_modules/.bin', name)

/**
 * An empty project in which this package was installed from its archive, beside exactly the packages that it declares
 * as dependencies, and the given ones.
 */
export interface PackedProject {
  readonly folder: string
  /** The packed package. */
  readonly archive: string
  /** Writes a file of the project. */
  write(path: string, content: string | Uint8Array): void
  /** Runs a program in the project, and returns its output. */
  run(command: string, ...args: string[]): string
  /** Installs a package of this repository. */
  install(...names: string[]): void
  /** Removes an installed package. */
  uninstall(...names: string[]): void
  remove(): void
}

export async function createPackedProject(...packages: readonly string[]): Promise<PackedProject> {
  const archive = await packOnce()
  const folder = mkdtempSync(join(tmpdir(), 'onnx-ire-package-'))
  const run = (command: string, ...args: string[]) =>
    execFileSync(command, args, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
  const install = (...names: string[]) => {
    for (const name of names) {
      const path = join(folder, 'node_modules', name)
      mkdirSync(dirname(path), { recursive: true })
      symlinkSync(join(root, 'node_modules', name), path)
    }
  }
  const write = (path: string, content: string | Uint8Array) => writeFileSync(join(folder, path), content)
  write('package.json', JSON.stringify({ name: 'user', private: true, type: 'module' }))
  const installed = join(folder, 'node_modules/onnx-ire')
  mkdirSync(installed, { recursive: true })
  run('tar', '-xzf', archive, '--strip-components=1', '-C', installed)
  const { dependencies } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'))
  install(...Object.keys(dependencies), ...packages)
  return {
    folder,
    archive,
    write,
    run,
    install,
    uninstall(...names) {
      for (const name of names) rmSync(join(folder, 'node_modules', name))
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  }
}

/** Packs this package, once per run of the tests; returns the path of the archive. */
async function packOnce(): Promise<string> {
  const folder = await sharedBuild('package', async (folder) => {
    mkdirSync(folder, { recursive: true })
    const pack = ['pack', '--ignore-scripts', '--pack-destination', folder]
    await promisify(execFile)('npm', pack, { cwd: root })
  })
  const [name] = readdirSync(folder)
  return join(folder, name!)
}
