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
export type Slot = readonly [index: number, ...takes: Kind[]]

/** Functions of `OrtApi` that return an `OrtStatus`, null for success. */
export const calls = {
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
export const procedures = {
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
export const queries = {
  GetErrorCode: [1, 'ptr'],
  GetErrorMessage: [2, 'ptr'],
  GetBuildInfoString: [254],
} as const satisfies Record<string, Slot>

/** Argument types of a function. */
export type Takes<S extends Slot> = S extends readonly [number, ...infer K]
  ? { [I in keyof K]: Crossing[K[I] & Kind] }
  : never
