import { OnnxIreError } from '../util/errors.js'
import { requirePackage } from './runtime/packages.js'

export type Koffi = typeof import('koffi')

/** Stack size for calls: onnxruntime recurses over graphs, and koffi's default stacks are too small for large ones. */
const stackBytes = 8 * 2 ** 20

/**
 * Loads koffi, with stacks that are large enough for every library.
 * @param need beginning of the message if koffi is missing: who needs the package
 * @throws OnnxIreError `runtime`
 */
export function loadKoffi(need: string): Koffi {
  const koffi = requirePackage<Koffi>('koffi', need)
  const { sync_stack_size: sync = 0, async_stack_size: async = 0 } = koffi.config()
  if (sync >= stackBytes && async >= stackBytes) return koffi
  const sizes = { sync_stack_size: stackBytes, async_stack_size: stackBytes }
  try {
    koffi.config(sizes)
  } catch (cause) {
    const text = `koffi has already loaded a library with stacks too small for onnxruntime; call koffi.config(${JSON.stringify(sizes)}) before that call`
    throw new OnnxIreError('runtime', text, { cause })
  }
  return koffi
}

/**
 * Loads a library and pins it. koffi unloads a library when its handle is collected or the loading thread ends,
 * although functions of it are still referenced; a second handle from the system is never released.
 */
export function loadPinned(koffi: Koffi, path: string): ReturnType<Koffi['load']> {
  const handle = koffi.load(path)
  if (process.platform === 'win32') koffi.load('kernel32.dll').func('LoadLibraryW', 'void *', ['str16'])(path)
  else koffi.load(null).func('dlopen', 'void *', ['str', 'int'])(path, resolveAll)
  return handle
}

/** Flag RTLD_NOW of dlopen. */
const resolveAll = 2

/**
 * Calls a function of a library on a thread of Node's pool.
 * @param check throws if the result of the function is an error
 */
export function callLater<Result>(
  native: { readonly async: (...args: unknown[]) => unknown },
  args: unknown[],
  check: (result: Result) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    native.async(...args, (error: unknown, result: Result) => {
      // koffi does not reference arrays that it passes to C; until here this closure did.
      args.length = 0
      try {
        if (error) throw error
        check(result)
        resolve()
      } catch (failure) {
        reject(failure)
      }
    })
  })
}
