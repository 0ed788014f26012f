import { OnnxIreError } from '../../util/errors.js'
import { callLater } from '../native-library.js'
import { library } from './library.js'

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
}

let ready: Ort | undefined

/** Returns onnxruntime's C API in this thread; the first call loads it. Throws `runtime`. */
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
    throw new OnnxIreError(
      'runtime',
      `onnxruntime ${version} has an unexpected function table; use node() with this version`,
    )

  const checked = (slot: Slot) => {
    const native = bind(slot, 'void *')
    return Object.assign((...args: unknown[]) => check(native(...args)), {
      later: (...args: unknown[]) => callLater(native, args, check),
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

/** Types of the arguments of C functions. */
interface Crossing {
  /** An address, or a view whose own bytes C reads or writes. */
  ptr: bigint | ArrayBufferView | null
  /** Zero-terminated UTF-8. */
  str: string
  /** A path: UTF-16 on Windows, UTF-8 elsewhere. */
  path: string
  strs: readonly string[]
  int: number
  /** size_t, and int64_t for lengths. */
  size: number
}

type Kind = keyof Crossing

/** Index of a function in `OrtApi` and the types of its arguments. The table only grows at its end. */
type Slot = readonly [index: number, ...takes: Kind[]]

/** Functions of `OrtApi` that return an `OrtStatus`, null for success. */
const calls = {
  CreateEnv: [3, 'int', 'str', 'ptr'],
  CreateSessionFromArray: [8, 'ptr', 'ptr', 'size', 'ptr', 'ptr'],
  CreateSessionOptions: [10, 'ptr'],
  SetOptimizedModelFilePath: [11, 'ptr', 'path'],
  SetSessionExecutionMode: [13, 'ptr', 'int'],
  EnableProfiling: [14, 'ptr', 'path'],
  EnableMemPattern: [16, 'ptr'],
  DisableMemPattern: [17, 'ptr'],
  EnableCpuMemArena: [18, 'ptr'],
  DisableCpuMemArena: [19, 'ptr'],
  SetSessionLogId: [20, 'ptr', 'str'],
  SetSessionLogVerbosityLevel: [21, 'ptr', 'int'],
  SetSessionLogSeverityLevel: [22, 'ptr', 'int'],
  SetSessionGraphOptimizationLevel: [23, 'ptr', 'int'],
  SetIntraOpNumThreads: [24, 'ptr', 'int'],
  SetInterOpNumThreads: [25, 'ptr', 'int'],
  SessionGetInputCount: [30, 'ptr', 'ptr'],
  SessionGetOutputCount: [31, 'ptr', 'ptr'],
  SessionGetInputTypeInfo: [33, 'ptr', 'size', 'ptr'],
  SessionGetOutputTypeInfo: [34, 'ptr', 'size', 'ptr'],
  SessionGetInputName: [36, 'ptr', 'size', 'ptr', 'ptr'],
  SessionGetOutputName: [37, 'ptr', 'size', 'ptr', 'ptr'],
  CreateTensorAsOrtValue: [48, 'ptr', 'ptr', 'size', 'int', 'ptr'],
  CreateTensorWithDataAsOrtValue: [49, 'ptr', 'ptr', 'size', 'ptr', 'size', 'int', 'ptr'],
  GetTensorMutableData: [51, 'ptr', 'ptr'],
  FillStringTensor: [52, 'ptr', 'strs', 'size'],
  GetStringTensorDataLength: [53, 'ptr', 'ptr'],
  GetStringTensorContent: [54, 'ptr', 'ptr', 'size', 'ptr', 'size'],
  CastTypeInfoToTensorInfo: [55, 'ptr', 'ptr'],
  GetOnnxTypeFromTypeInfo: [56, 'ptr', 'ptr'],
  GetTensorElementType: [60, 'ptr', 'ptr'],
  GetDimensionsCount: [61, 'ptr', 'ptr'],
  GetDimensions: [62, 'ptr', 'ptr', 'size'],
  GetTensorTypeAndShape: [65, 'ptr', 'ptr'],
  CreateMemoryInfo: [68, 'str', 'int', 'int', 'int', 'ptr'],
  AllocatorFree: [76, 'ptr', 'ptr'],
  GetAllocatorWithDefaultOptions: [78, 'ptr'],
  AddFreeDimensionOverrideByName: [124, 'ptr', 'str', 'size'],
  AddSessionConfigEntry: [130, 'ptr', 'str', 'str'],
  RunWithBinding: [133, 'ptr', 'ptr', 'ptr'],
  CreateIoBinding: [134, 'ptr', 'ptr'],
  BindInput: [136, 'ptr', 'str', 'ptr'],
  BindOutput: [137, 'ptr', 'str', 'ptr'],
  BindOutputToDevice: [138, 'ptr', 'str', 'ptr'],
  GetBoundOutputValues: [140, 'ptr', 'ptr', 'ptr', 'ptr'],
  SessionOptionsAppendExecutionProvider_CUDA_V2: [204, 'ptr', 'ptr'],
  CreateCUDAProviderOptions: [205, 'ptr'],
  UpdateCUDAProviderOptions: [206, 'ptr', 'strs', 'strs', 'size'],
} as const satisfies Record<string, Slot>

/** Functions of `OrtApi` that return nothing. */
const procedures = {
  ReleaseEnv: [92, 'ptr'],
  ReleaseStatus: [93, 'ptr'],
  ReleaseMemoryInfo: [94, 'ptr'],
  ReleaseSession: [95, 'ptr'],
  ReleaseValue: [96, 'ptr'],
  ReleaseTypeInfo: [98, 'ptr'],
  ReleaseTensorTypeAndShapeInfo: [99, 'ptr'],
  ReleaseSessionOptions: [100, 'ptr'],
  ReleaseIoBinding: [135, 'ptr'],
  ClearBoundInputs: [141, 'ptr'],
  ClearBoundOutputs: [142, 'ptr'],
  ReleaseCUDAProviderOptions: [208, 'ptr'],
} as const satisfies Record<string, Slot>

/** Functions of `OrtApi` that describe a status or the library. */
const queries = {
  GetErrorCode: [1, 'ptr'],
  GetErrorMessage: [2, 'ptr'],
  GetBuildInfoString: [254],
} as const satisfies Record<string, Slot>

/** Argument types of a function. */
type Takes<S extends Slot> = S extends readonly [number, ...infer K] ? { [I in keyof K]: Crossing[K[I] & Kind] } : never
