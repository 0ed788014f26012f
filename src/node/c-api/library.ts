import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { OnnxIreError } from '../../util/errors.js'

type Koffi = typeof import('koffi')

/** onnxruntime's shared library in this thread. */
export interface Library {
  readonly koffi: Koffi
  /** The folder it came from, where the libraries of its providers belong. */
  readonly folder: string
  readonly version: string
  /** The address of its `OrtApi`. */
  readonly api: bigint
  /** Copies bytes, C's own way. */
  memcpy(to: ArrayBufferView, from: bigint, bytes: number): void
  /** Loads another library, for good. Throws the loader's error. */
  load(path: string): ReturnType<Koffi['load']>
  /** Ends this process, once it exits, without the destructors of libraries; nothing where C has no such function. */
  skipDestructors(): void
}

/** The release whose table of functions `slots.ts` was checked against. */
const release = '1.30'
/** The oldest version of the interface with all of those functions; later ones begin with the same table. */
const interfaceVersion = 24
/** onnxruntime recurses over graphs: koffi's own stacks are too small for large ones. */
const stackBytes = 8 * 2 ** 20

const require = createRequire(import.meta.url)
let loaded: Library | undefined

/**
 * The libonnxruntime inside onnxruntime-node, loaded once per thread and never unloaded. It is the one that the official
 * binding uses, so both share one copy in memory.
 *
 * Throws 'runtime' where koffi or onnxruntime-node is missing or of another version than this was written for.
 */
export function library(): Library {
  loaded ??= load()
  return loaded
}

function load(): Library {
  const koffi = loadKoffi()
  const home = dirname(require.resolve('onnxruntime-node/package.json'))
  const { version: installed } = require('onnxruntime-node/package.json')
  refuseOther(installed, 'onnxruntime-node')
  const folder = join(home, 'bin', 'napi-v6', process.platform, process.arch)
  const names: Partial<Record<string, string>> = { linux: '.so.1', darwin: '.1.dylib' }
  const windows = process.platform === 'win32'
  const path = join(folder, windows ? 'onnxruntime.dll' : `libonnxruntime${names[process.platform] ?? '.so.1'}`)

  growStacks(koffi)
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
  refuseOther(version, path)
  const api: bigint | null = at(base, 'void *', ['uint32'])(interfaceVersion)
  if (api === null) throw new OnnxIreError('runtime', `${path} has no interface of version ${interfaceVersion}`)
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
        // glibc's: the last function given to it is the first that exit() calls, with the exit code.
        c.func('on_exit', 'int', ['void *', 'void *'])(c.symbol('_exit'), null)
      } catch {
        // musl has none.
      }
    },
  }
}

function loadKoffi(): Koffi {
  try {
    return require('koffi')
  } catch (cause) {
    const text = "onnxruntime's C API is called through the package koffi, which does not load; npm install koffi"
    throw new OnnxIreError('runtime', `${text} (${(cause as Error).message})`, { cause })
  }
}

/** A table of another release may differ, and a wrong call is a crash. */
function refuseOther(version: string, what: string) {
  if (version.startsWith(`${release}.`)) return
  throw new OnnxIreError(
    'runtime',
    `${what} is version ${version}; onnxruntime's C API is only called on ${release}, use node() with this one`,
  )
}

function growStacks(koffi: Koffi) {
  const { sync_stack_size: sync = 0, async_stack_size: async = 0 } = koffi.config()
  if (sync >= stackBytes && async >= stackBytes) return
  const sizes = { sync_stack_size: stackBytes, async_stack_size: stackBytes }
  try {
    koffi.config(sizes)
  } catch (cause) {
    const text = `koffi has loaded a library already, with stacks too small for onnxruntime; call koffi.config(${JSON.stringify(sizes)}) before that`
    throw new OnnxIreError('runtime', text, { cause })
  }
}

/**
 * koffi unloads a library once its handle is collected, or the thread that loaded it ends, while functions read out of
 * it hold nothing. So the system is asked for it once more, and that is never given back.
 */
function loadPinned(koffi: Koffi, path: string) {
  const handle = koffi.load(path)
  if (process.platform === 'win32') koffi.load('kernel32.dll').func('LoadLibraryW', 'void *', ['str16'])(path)
  else koffi.load(null).func('dlopen', 'void *', ['str', 'int'])(path, resolveAll)
  return handle
}

/** RTLD_NOW */
const resolveAll = 2
