import { dirname, join } from 'node:path'
import { OnnxIreError } from '../../util/errors.js'
import { type Koffi, loadKoffi, loadPinned } from '../native-library.js'
import { requirePackage, resolvePackage } from '../runtime/packages.js'

/** onnxruntime's shared library, loaded in this thread. */
interface Library {
  readonly koffi: Koffi
  /** Folder of the library, which must also contain the libraries of its providers. */
  readonly folder: string
  readonly version: string
  /** Address of its `OrtApi`. */
  readonly api: bigint
  /** C's memcpy. */
  memcpy(to: ArrayBufferView, from: bigint, bytes: number): void
  /** Loads another library and never unloads it. Throws the loader's error. */
  load(path: string): ReturnType<Koffi['load']>
  /**
   * Makes this process exit without the destructors of libraries; does nothing if the C library has no such function.
   */
  skipDestructors(): void
}

/** Release for which the function table in `slots.ts` was verified. */
const release = '1.30'
/** Oldest version of the interface with all of these functions; later versions start with the same table. */
const interfaceVersion = 24

let loaded: Library | undefined

/**
 * Loads the libonnxruntime inside onnxruntime-node, once per thread, and never unloads it. The official binding uses
 * the same file, so both share one copy in memory.
 * @throws OnnxIreError `runtime` if koffi or onnxruntime-node is missing or has an unsupported version
 */
export function library(): Library {
  loaded ??= load()
  return loaded
}

function load(): Library {
  const need = "onnxruntime's C API"
  const koffi = loadKoffi(need)
  const home = dirname(resolvePackage('onnxruntime-node/package.json', need))
  const { version: installed } = requirePackage<{ version: string }>('onnxruntime-node/package.json', need)
  checkRelease(installed, 'onnxruntime-node')
  const folder = join(home, 'bin', 'napi-v6', process.platform, process.arch)
  const names: Partial<Record<string, string>> = { linux: '.so.1', darwin: '.1.dylib' }
  const windows = process.platform === 'win32'
  const path = join(folder, windows ? 'onnxruntime.dll' : `libonnxruntime${names[process.platform] ?? '.so.1'}`)

  let base: bigint
  try {
    base = loadPinned(koffi, path).func('OrtGetApiBase', 'void *', [])()
  } catch (cause) {
    const text = `${path} does not load on ${process.platform} ${process.arch}: ${(cause as Error).message}`
    throw new OnnxIreError('runtime', text, { cause })
  }
  const at = (address: bigint, result: string, takes: string[]) =>
    koffi.decode(koffi.decode(address, 'void *'), koffi.proto(result, takes))
  const version: string = at(base + 8n, 'str', [])()
  checkRelease(version, path)
  const api: bigint | null = at(base, 'void *', ['uint32'])(interfaceVersion)
  if (api === null)
    throw new OnnxIreError(
      'runtime',
      `${path} has no interface of version ${interfaceVersion}; use node() with this version`,
    )
  const c = windows ? koffi.load('msvcrt.dll') : koffi.load(null)
  const memcpy = c.func('memcpy', 'void *', ['void *', 'void *', 'size_t'])
  return {
    koffi,
    folder,
    version,
    api,
    memcpy,
    load: (path) => loadPinned(koffi, path),
    skipDestructors() {
      if (process.platform !== 'linux') return
      try {
        // glibc calls the function registered last first, with the exit code.
        c.func('on_exit', 'int', ['void *', 'void *'])(c.symbol('_exit'), null)
      } catch {
        // musl does not have it.
      }
    },
  }
}

/** Throws `runtime` for another release: its function table may differ, and a wrong call crashes the process. */
function checkRelease(version: string, what: string) {
  if (version.startsWith(`${release}.`)) return
  throw new OnnxIreError(
    'runtime',
    `${what} is version ${version}; onnxruntime's C API is only supported for ${release}; use node() with this version`,
  )
}

/**
 * An onnxruntime object that this library must free. Freeing it twice, while native code uses it, or using it
 * afterwards would crash the process: here a second release does nothing, and the other two throw.
 */
export class Handle {
  readonly #what: string
  readonly #free: (address: bigint) => void
  #address: bigint | null
  #users = 0

  /** @param what name of the object in messages */
  constructor(what: string, address: bigint, free: (address: bigint) => void) {
    this.#what = what
    this.#address = address
    this.#free = free
  }

  get address(): bigint {
    if (this.#address === null) throw new Error(`the ${this.#what} was released`)
    return this.#address
  }

  get released(): boolean {
    return this.#address === null
  }

  /** Marks the object as used by native code until `work` settles. */
  async during<T>(work: () => T | Promise<T>): Promise<T> {
    if (this.#address === null) throw new Error(`the ${this.#what} was released`)
    this.#users++
    try {
      return await work()
    } finally {
      this.#users--
    }
  }

  release(): void {
    if (this.#users > 0) throw new Error(`the ${this.#what} is in use`)
    if (this.#address === null) return
    const address = this.#address
    this.#address = null
    this.#free(address)
  }
}
