import { OnnxIreError } from '../../util/errors.js'
import { getOwn } from '../../util/record.js'
import { callLater, type Koffi, loadKoffi, loadPinned } from '../native-library.js'

/** A program that has started this process as one of several. */
interface Launcher {
  readonly name: string
  /** Number of processes; undefined if the launcher does not give it. */
  readonly size: number | undefined
  /** Files of the libraries to try, in this order. */
  readonly libraries: readonly string[]
}

type Environment = Readonly<Record<string, string | undefined>>

const openMpi = ['libmpi.so.40', 'libmpi.so']
const mpich = ['libmpich.so.12', 'libmpi.so.12', 'libmpi.so']
/** The interface of MPI 5, which every implementation of it has. */
const standard = ['libmpi_abi.so.0', 'libmpi_abi.so']

/**
 * Finds the launcher of this process from its environment; null if it was started alone.
 * @throws OnnxIreError `runtime` for several tasks of srun without MPI, each of which would train alone
 */
export function findLauncher(env: Environment): Launcher | null {
  const number = (...names: readonly string[]): number | undefined => {
    const text = names.map((name) => getOwn(env, name)).find((value) => value !== undefined)
    return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined
  }
  const has = (...names: readonly string[]) => names.some((name) => getOwn(env, name) !== undefined)
  const tasks = number('SLURM_STEP_NUM_TASKS')
  const chosen = env['ONNX_IRE_MPI']
  const only = (libraries: readonly string[]) => (chosen ? [chosen] : libraries)
  if (has('OMPI_COMM_WORLD_SIZE'))
    return { name: 'Open MPI', size: number('OMPI_COMM_WORLD_SIZE'), libraries: only([...openMpi, ...standard]) }
  if (has('PMI_SIZE', 'PMI_RANK', 'PMI_FD', 'PMI_PORT'))
    return {
      name: tasks === undefined ? 'MPICH' : 'srun with PMI',
      size: number('PMI_SIZE') ?? tasks,
      libraries: only([...mpich, ...standard, ...openMpi]),
    }
  if (has('PMIX_RANK')) return { name: 'PMIx', size: tasks, libraries: only([...openMpi, ...standard, ...mpich]) }
  if (chosen) return { name: 'ONNX_IRE_MPI', size: tasks, libraries: [chosen] }
  if (tasks === undefined || tasks === 1 || !has('SLURM_PROCID')) return null
  throw new OnnxIreError(
    'runtime',
    `srun has started ${tasks} tasks without MPI, and each would train alone: add --mpi=pmix or --mpi=pmi2, or start one task`,
  )
}

/** Arguments of a function that are handles have this type. */
type HandleType = 'int' | 'void *'
type Handle = number | bigint

/** The functions and constants of an MPI library that this package uses. */
export interface MpiLibrary {
  /** Name and version of the library, from its own description. */
  readonly version: string
  /** Starts MPI for calls of several threads. */
  init(): void
  /** Number of this process and number of all, in this order. */
  position(): readonly [rank: number, size: number]
  /** Sums `count` elements in place, on a thread of Node's pool. */
  allReduce(array: Float32Array | Float64Array, count: number): Promise<void>
  /** Sends `count` bytes to each process and receives as many from each, on a thread of Node's pool. */
  allToAll(sent: Uint8Array, received: Uint8Array, count: number): Promise<void>
  /** Sends the same `count` bytes to each process and receives as many from each, on a thread of Node's pool. */
  allGather(sent: Uint8Array, received: Uint8Array, count: number): Promise<void>
  /**
   * Sums arrays that have the elements of each process one after the other, on a thread of Node's pool. The array then
   * begins with the sums of this process's elements.
   */
  reduceScatter(array: Float32Array | Float64Array, counts: Int32Array): Promise<void>
  /** Gets the bytes at the offset of each process from it, on a thread of Node's pool. */
  allGatherParts(bytes: Uint8Array, counts: Int32Array, offsets: Int32Array): Promise<void>
  /** Copies `count` bytes from rank `root`, on a thread of Node's pool. */
  broadcast(bytes: Uint8Array, count: number, root: number): Promise<void>
  /** Ends all processes, this one included, on a thread of Node's pool. */
  abort(code: number): void
  finalize(): void
}

interface Constants {
  readonly type: HandleType
  readonly world: Handle
  readonly float: Handle
  readonly double: Handle
  readonly byte: Handle
  readonly sum: Handle
  readonly inPlace: number
  readonly multiple: number
}

/** Loads the first of the launcher's libraries that is installed. Throws `runtime`. */
export function loadLibrary(launcher: Launcher): MpiLibrary {
  const koffi = loadKoffi('mpi()')
  // UCX, which carries the messages of MPICH and others, replaces the handler of SIGSEGV, which V8 needs for
  // WebAssembly, and functions of the C library that allocate memory: with the latter some processes of Node crash, at
  // addresses of the heap that were given back to the system.
  process.env['UCX_ERROR_SIGNALS'] ??= 'SIGILL,SIGBUS,SIGFPE'
  process.env['UCX_MEM_EVENTS'] ??= 'no'
  const failures: string[] = []
  for (const path of launcher.libraries) {
    let handle: ReturnType<Koffi['load']>
    try {
      handle = loadPinned(koffi, path)
    } catch (cause) {
      failures.push(`${path}: ${(cause as Error).message}`)
      continue
    }
    return bind(handle, path)
  }
  throw new OnnxIreError(
    'runtime',
    `this process was started by ${launcher.name}, and no MPI library loads: install the one of the launcher, or set ONNX_IRE_MPI to its path (${failures.join('; ')})`,
  )
}

function bind(handle: ReturnType<Koffi['load']>, path: string): MpiLibrary {
  const version = readVersion(handle)
  const constants = constantsOf(handle, version, path)
  const { type, world, float, double, byte, sum, inPlace, multiple } = constants
  const init = handle.func('MPI_Init_thread', 'int', ['void *', 'void *', 'int', 'void *'])
  const rank = handle.func('MPI_Comm_rank', 'int', [type, 'void *'])
  const size = handle.func('MPI_Comm_size', 'int', [type, 'void *'])
  const allReduce = handle.func('MPI_Allreduce', 'int', ['intptr_t', 'void *', 'int', type, type, type])
  const exchange = ['void *', 'int', type, 'void *', 'int', type, type]
  const allToAll = handle.func('MPI_Alltoall', 'int', exchange)
  const allGather = handle.func('MPI_Allgather', 'int', exchange)
  const reduceScatter = handle.func('MPI_Reduce_scatter', 'int', ['intptr_t', 'void *', 'void *', type, type, type])
  const gatherTypes = ['intptr_t', 'int', type, 'void *', 'void *', 'void *', type, type]
  const allGatherParts = handle.func('MPI_Allgatherv', 'int', gatherTypes)
  const broadcast = handle.func('MPI_Bcast', 'int', ['void *', 'int', type, 'int', type])
  const abort = handle.func('MPI_Abort', 'int', [type, 'int'])
  const finalize = handle.func('MPI_Finalize', 'int', [])
  const typeOf = (array: Float32Array | Float64Array) => (array instanceof Float64Array ? double : float)
  const check = (name: string, code: number) => {
    if (code !== 0) throw new OnnxIreError('runtime', `${name} of ${version} failed with code ${code}`)
  }
  const later = (name: string, call: typeof allReduce, ...args: unknown[]) =>
    callLater(call, args, (code: number) => check(name, code))
  const readInteger = (name: string, call: typeof rank) => {
    const out = new Int32Array(1)
    check(name, call(world, out))
    return out[0]!
  }
  return {
    version,
    init() {
      const provided = new Int32Array(1)
      check('MPI_Init_thread', init(null, null, multiple, provided))
      if (provided[0] !== multiple)
        throw new OnnxIreError('runtime', `${version} does not support calls of several threads (MPI_THREAD_MULTIPLE)`)
    },
    position: () => [readInteger('MPI_Comm_rank', rank), readInteger('MPI_Comm_size', size)],
    allReduce: (array, count) => later('MPI_Allreduce', allReduce, inPlace, array, count, typeOf(array), sum, world),
    allToAll: (sent, received, count) =>
      later('MPI_Alltoall', allToAll, sent, count, byte, received, count, byte, world),
    allGather: (sent, received, count) =>
      later('MPI_Allgather', allGather, sent, count, byte, received, count, byte, world),
    reduceScatter: (array, counts) =>
      later('MPI_Reduce_scatter', reduceScatter, inPlace, array, counts, typeOf(array), sum, world),
    allGatherParts: (bytes, counts, offsets) =>
      later('MPI_Allgatherv', allGatherParts, inPlace, 0, byte, bytes, counts, offsets, byte, world),
    broadcast: (bytes, count, root) => later('MPI_Bcast', broadcast, bytes, count, byte, root, world),
    abort: (code) => abort.async(world, code, () => {}),
    finalize: () => check('MPI_Finalize', finalize()),
  }
}

/** Reads the library's own description, which is allowed before MPI starts. */
function readVersion(handle: ReturnType<Koffi['load']>): string {
  const text = Buffer.alloc(8192) // MPI_MAX_LIBRARY_VERSION_STRING is at most 8192
  const length = new Int32Array(1)
  handle.func('MPI_Get_library_version', 'int', ['void *', 'void *'])(text, length)
  const [line = ''] = text.toString('latin1', 0, length[0]).split(/[\0\n,]/)
  return line.replace(/\s*Version:\s*/, ' ').trim()
}

/** Constants of mpi.h, which differ between implementations. */
function constantsOf(handle: ReturnType<Koffi['load']>, version: string, path: string): Constants {
  if (path.includes('libmpi_abi')) {
    const handles = { world: 0x101n, float: 0x210n, double: 0x214n, byte: 0x247n, sum: 0x21n }
    return { type: 'void *', ...handles, inPlace: 1, multiple: 4096 }
  }
  if (version.includes('Open MPI')) {
    const at = (name: string) => handle.symbol(name) as unknown as bigint
    return {
      type: 'void *',
      world: at('ompi_mpi_comm_world'),
      float: at('ompi_mpi_float'),
      double: at('ompi_mpi_double'),
      byte: at('ompi_mpi_byte'),
      sum: at('ompi_mpi_op_sum'),
      inPlace: 1,
      multiple: 3,
    }
  }
  if (/MPICH|Intel|MVAPICH/i.test(version)) {
    const handles = { world: 0x44000000, float: 0x4c00040a, double: 0x4c00080b, byte: 0x4c00010d, sum: 0x58000003 }
    return { type: 'int', ...handles, inPlace: -1, multiple: 3 }
  }
  throw new OnnxIreError(
    'runtime',
    `${path} is '${version}'; supported are Open MPI, MPICH and libraries compatible with it, and libmpi_abi of MPI 5`,
  )
}
