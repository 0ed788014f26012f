import { existsSync } from 'node:fs'
import module from 'node:module'
import { basename, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { OnnxIreError } from '../../util/errors.js'
import { codeOf } from '../files/files.js'

/** Address of this module. A bundle of the CommonJS format has none. */
const address = import.meta.url as string | undefined

/**
 * Files from which packages are found: this module (the bundle that contains it, or with webpack the file that was
 * bundled), a bundle of the CommonJS format, and the program that Node started.
 */
const places = [address && fileURLToPath(address), commonJsFile(), process.argv[1] && resolve(process.argv[1])].filter(
  (place) => place !== undefined && place !== '',
) as readonly string[]

function commonJsFile(): string | undefined {
  try {
    // `typeof __filename` is no test: webpack replaces it.
    return __filename
  } catch {
    return undefined
  }
}

/**
 * Loads a package that is installed beside this library. Bundlers do not follow this call: native libraries stay
 * outside of a bundle.
 * @param name name of the package, with the path of a file in it if need be
 * @param need beginning of the message: who needs the package
 * @throws OnnxIreError `runtime` with the command that installs it, or with the reason why it does not load
 */
export function requirePackage<T>(name: string, need: string): T {
  return find(name, need, (load) => load(name))
}

/**
 * Path of a file of a package that is installed beside this library. @throws OnnxIreError `runtime` like
 * `requirePackage`
 */
export const resolvePackage = (name: string, need: string): string => find(name, need, (load) => load.resolve(name))

function find<T>(name: string, need: string, attempt: (load: NodeJS.Require) => T): T {
  const [, owner = name] = /^((?:@[^/]+\/)?[^/]+)/.exec(name) ?? []
  let missing: unknown
  for (const place of places) {
    try {
      return attempt(module.createRequire(place))
    } catch (cause) {
      const { message } = cause as Error
      if (codeOf(cause) !== 'MODULE_NOT_FOUND' || !message.includes(`'${name}'`)) {
        const text = `${need} needs the package ${owner}, which does not load on ${process.platform} ${process.arch}: ${message}`
        throw new OnnxIreError('runtime', text, { cause })
      }
      missing = cause
    }
  }
  throw new OnnxIreError('runtime', `${need} needs the package ${owner}: npm install ${owner}`, { cause: missing })
}

/**
 * The file of a worker thread: next to this module, next to the bundle that contains it, or in the installed package.
 * Undefined if there is none, as in source under test.
 */
export function findWorker(name: 'ort-worker' | 'helper-thread'): string | undefined {
  for (const place of places)
    for (const extension of ['js', 'mjs', 'cjs']) {
      const path = join(dirname(place), `${name}.${extension}`)
      if (existsSync(path)) return path
    }
  // Source would find the compiled library of an earlier build.
  if (places.some((place) => basename(place) === 'packages.ts')) return undefined
  try {
    return join(dirname(resolvePackage('onnx-ire/node', 'the worker')), 'runtime', `${name}.js`)
  } catch {
    return undefined
  }
}
