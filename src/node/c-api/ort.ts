import { OnnxIreError } from '../../util/errors.js'
import { library } from './library.js'
import { calls, procedures, queries, type Slot, type Takes } from './slots.js'

/** Error with onnxruntime's own message. */
export class OrtFailure extends Error {
  /** Value of `OrtErrorCode`. */
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.name = 'OrtFailure'
    this.status = status
  }
}

/**
 * A function of onnxruntime, called synchronously or, with `later`, on a thread of Node's pool. Throws `OrtFailure`.
 */
export interface Call<A extends unknown[]> {
  (...args: A): void
  later(...args: A): Promise<void>
}

type Api = { readonly [N in keyof typeof calls]: Call<Takes<(typeof calls)[N]>> } & {
  readonly [N in keyof typeof procedures]: (...args: Takes<(typeof procedures)[N]>) => void
}

/** Functions of onnxruntime in this thread. */
export interface Ort extends Api {
  readonly version: string
  /** Folder of the library. */
  readonly folder: string
  /** `OrtEnv` of the process. */
  readonly env: bigint
  /** Allocator of the host memory in which onnxruntime returns results. */
  readonly allocator: bigint
  /** Copies bytes out of native memory. */
  memcpy(to: ArrayBufferView, from: bigint, bytes: number): void
  /** Makes this process exit without destructors; see `Library`. */
  skipDestructors(): void
  /** Reads the zero-terminated text at an address. */
  text(at: bigint): string
  /** Reads `count` addresses at an address. */
  addresses(at: bigint, count: number): bigint[]
}

let ready: Ort | undefined

/** Returns onnxruntime's C API in this thread; the first call loads it. Throws 'runtime'. */
export function ort(): Ort {
  ready ??= open()
  return ready
}

const types = { ptr: 'void *', str: 'str', strs: 'const char **', int: 'int', size: 'int64' }
const typesHere = { ...types, path: process.platform === 'win32' ? 'str16' : 'str' }

function open(): Ort {
  const { koffi, api, folder, version, memcpy, skipDestructors } = library()
  const bind = ([index, ...takes]: Slot, result: string) => {
    const address = koffi.decode(api + BigInt(8 * index), 'void *')
    return koffi.decode(
      address,
      koffi.proto(
        result,
        takes.map((kind) => typesHere[kind]),
      ),
    )
  }
  const code = bind(queries.GetErrorCode, 'int')
  const message = bind(queries.GetErrorMessage, 'str')
  const free = bind(procedures.ReleaseStatus, 'void')
  const check = (status: bigint | null) => {
    if (status === null) return
    const failure = new OrtFailure(code(status), message(status))
    free(status)
    throw failure
  }
  const build: string = bind(queries.GetBuildInfoString, 'str')()
  if (!build.startsWith('ORT Build Info'))
    throw new OnnxIreError('runtime', `onnxruntime ${version} has an unexpected function table`)

  const checked = (slot: Slot) => {
    const native = bind(slot, 'void *')
    return Object.assign((...args: unknown[]) => check(native(...args)), {
      later: (...args: unknown[]) =>
        new Promise<void>((resolve, reject) => {
          native.async(...args, (error: unknown, status: bigint | null) => {
            // koffi does not reference arrays that it passes to C; until here this closure did.
            args.length = 0
            try {
              if (error) throw error
              check(status)
              resolve()
            } catch (failure) {
              reject(failure)
            }
          })
        }),
    })
  }
  const functions = {
    ...Object.fromEntries(Object.entries(calls).map(([name, slot]) => [name, checked(slot)])),
    ...Object.fromEntries(Object.entries(procedures).map(([name, slot]) => [name, bind(slot, 'void')])),
  } as unknown as Api
  const errorsOnly = 3
  return {
    ...functions,
    version,
    folder,
    env: readAddress((out) => functions.CreateEnv(errorsOnly, 'onnx-ire', out)),
    allocator: readAddress((out) => functions.GetAllocatorWithDefaultOptions(out)),
    memcpy,
    skipDestructors,
    text: (at) => koffi.decode.string(at),
    addresses: (at, count) => Array.from({ length: count }, (_, i) => koffi.decode(at + BigInt(8 * i), 'void *')),
  }
}

/** Returns the address that `call` writes to its out parameter. */
export function readAddress(call: (out: BigUint64Array) => void): bigint {
  const out = new BigUint64Array(1)
  call(out)
  return out[0]!
}

/** Returns the 32-bit number that `call` writes to its out parameter. */
export function readInt32(call: (out: Int32Array) => void): number {
  const out = new Int32Array(1)
  call(out)
  return out[0]!
}
