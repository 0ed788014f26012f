import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import type { FloatArray } from '../../ir/float-array.js'
import type { ProcessGroup } from '../../train/process-group.js'
import { bytesOf } from '../../util/bytes.js'
import { checkNames, checkNumber } from '../../util/check.js'
import { crc32 } from '../../util/checksum.js'
import { SerialQueue } from '../../util/concurrent.js'
import { OnnxIreError } from '../../util/errors.js'
import { shareCores } from '../runtime/options.js'
import { sendInBuckets } from './bucket.js'
import { findLauncher, loadLibrary, type MpiLibrary } from './library.js'
import { isBalanced, type PartsMessage, sendParts } from './parts.js'

/** Options of `mpi`. */
export interface MpiOptions {
  /**
   * Seconds that a call waits for the other processes before it ends the whole job with exit code 75. It must be longer
   * than the largest difference of time between two processes, such as a slow file system for one of them. Default 600.
   */
  readonly timeout?: number
}

/** Exit code of a job in which a process has waited too long for another (EX_TEMPFAIL). */
const timeoutCode = 75
/** Milliseconds from `abort` to the end of the job. MPICH's launcher drops output that it has not read by then. */
const outputDelay = 500
/** Milliseconds after which a process that could not end the job by MPI kills itself, which ends the job too. */
const killDelay = 5000
/** Largest number of elements, or bytes, of one message: MPI counts them in 32 bits. */
const maxMessageLength = 2 ** 30

let opened: MpiGroup | undefined

/**
 * Joins the processes that mpirun, mpiexec or srun has started together with this one. Returns undefined if this process
 * was started alone. Call it before `node()`, which then takes this process's share of the cores.
 *
 * The library of Open MPI, MPICH or MPI 5 is chosen by the launcher's environment variables; ONNX_IRE_MPI is the path of
 * another one. A process that ends with an error or by a signal ends the job.
 * @throws OnnxIreError `runtime` if no library loads, or if it was made for another launcher
 * @example
 * const processGroup = await mpi()
 * const trainer = await Trainer.create(model, { loss, optimizer, runtime: node(), batchSize: 256, processGroup })
 */
export async function mpi(options: MpiOptions = {}): Promise<MpiGroup | undefined> {
  checkNames('mpi', options, ['timeout'])
  const { timeout = 600 } = options
  checkNumber('mpi', 'timeout', timeout, { min: 0.001, max: 2 ** 21 })
  if (opened) return opened
  const launcher = findLauncher(process.env)
  if (!launcher) return undefined
  const library = loadLibrary(launcher)
  library.init()
  const [rank, size] = library.position()
  if (launcher.size !== undefined && launcher.size !== size)
    throw new OnnxIreError(
      'runtime',
      `${launcher.name} has started ${launcher.size} processes, but ${library.version} sees ${size}: it belongs to another launcher; start with its own mpirun, or set ONNX_IRE_MPI to the path of the library of ${launcher.name}`,
    )
  const group = new MpiGroup(library, rank, size, timeout)
  opened = group
  await group.divideCores()
  return group
}

/** The group of processes of an MPI job. Created by `mpi`. */
export class MpiGroup implements ProcessGroup {
  readonly rank: number
  readonly size: number
  /** The MPI library. */
  readonly description: string
  readonly #library: MpiLibrary
  readonly #timeout: number
  /** MPI matches the calls of processes by their order. */
  readonly #queue = new SerialQueue()
  #buffer = new ArrayBuffer(0)
  #closed = false

  /** @param timeout in seconds */
  constructor(library: MpiLibrary, rank: number, size: number, timeout: number) {
    this.rank = rank
    this.size = size
    this.description = library.version
    this.#library = library
    this.#timeout = timeout
    // Not emitted if the process ends by an error, a signal or `process.exit`: the launcher then ends the job.
    process.once('beforeExit', () => {
      if (process.exitCode && !this.#closed) this.abort(Number(process.exitCode))
      else void this.close()
    })
  }

  /** As `ProcessGroup.allReduce`. Small arrays are sent together, large ones are reduced in place. */
  allReduce(arrays: readonly FloatArray[]): Promise<void> {
    return this.#inTime('a sum over all processes', () =>
      sendInBuckets(arrays, async (array) => {
        for (let at = 0; at < array.length; at += maxMessageLength) {
          const part = array.subarray(at, at + maxMessageLength)
          await this.#library.allReduce(part, part.length)
        }
      }),
    )
  }

  /** As `ProcessGroup.allToAll`. */
  allToAll(sent: Uint8Array, received: Uint8Array): Promise<void> {
    return this.#inTime('parts of an array', () => this.#library.allToAll(sent, received, sent.length / this.size))
  }

  /** As `ProcessGroup.allGather`. */
  allGather(own: Uint8Array, all: Uint8Array): Promise<void> {
    return this.#inTime('parts of a sum', () => this.#library.allGather(own, all, own.length))
  }

  /** As `ProcessGroup.reduceScatter`. */
  reduceScatter(parts: readonly (readonly FloatArray[])[]): Promise<void> {
    const isOwn = (rank: number) => rank === this.rank
    const send = async (message: PartsMessage<FloatArray>) => {
      const { array, counts, offsets } = message
      if (!isBalanced(message)) return this.#library.allReduce(array, array.length)
      await this.#library.reduceScatter(array, counts)
      array.copyWithin(offsets[this.rank]!, 0, counts[this.rank]!)
    }
    return this.#inTime('sums of parts', async () => {
      for (const type of [Float32Array, Float64Array]) {
        const ofType = parts.map((arrays) => arrays.filter((array) => array instanceof type))
        const create = (length: number) => new type(this.#messageBuffer(length * type.BYTES_PER_ELEMENT), 0, length)
        await sendParts<FloatArray>(ofType, create, { packs: () => true, send, unpacks: isOwn })
      }
    })
  }

  /** As `ProcessGroup.gatherParts`. */
  gatherParts(parts: readonly (readonly FloatArray[])[]): Promise<void> {
    const bytes = parts.map((arrays) => arrays.map(bytesOf))
    const send = async (message: PartsMessage<Uint8Array>) => {
      const { array, counts, offsets } = message
      if (isBalanced(message)) return this.#library.allGatherParts(array, counts, offsets)
      for (const [rank, count] of counts.entries()) {
        const at = offsets[rank]!
        if (count > 0) await this.#library.broadcast(array.subarray(at, at + count), count, rank)
      }
    }
    const isOwn = (rank: number) => rank === this.rank
    const create = (length: number) => new Uint8Array(this.#messageBuffer(length), 0, length)
    return this.#inTime('arrays of all processes', () =>
      sendParts(bytes, create, { packs: isOwn, send, unpacks: (rank) => !isOwn(rank) }),
    )
  }

  /** As `ProcessGroup.broadcast`. */
  broadcast(arrays: readonly (FloatArray | Uint8Array)[], root = 0): Promise<void> {
    return this.#inTime(`arrays of rank ${root}`, () =>
      sendInBuckets(arrays, async ({ buffer, byteOffset, byteLength }) => {
        for (let at = 0; at < byteLength; at += maxMessageLength) {
          const part = new Uint8Array(buffer, byteOffset + at, Math.min(maxMessageLength, byteLength - at))
          await this.#library.broadcast(part, part.length, root)
        }
      }),
    )
  }

  /** Memory for the messages of one call at a time. */
  #messageBuffer(bytes: number): ArrayBuffer {
    if (this.#buffer.byteLength < bytes) this.#buffer = new ArrayBuffer(bytes)
    return this.#buffer
  }

  /** Ends all processes of the job with an exit code, half a second later. */
  abort(code: number): void {
    this.#closed = true
    setTimeout(() => {
      this.#library.abort(code)
      setTimeout(() => process.kill(process.pid, 'SIGKILL'), killDelay)
    }, outputDelay)
  }

  /**
   * Leaves the group after all processes have called this. It is called on its own when a process ends without an error;
   * call it before a regular end with an exit code.
   */
  async close(): Promise<void> {
    if (this.#closed) return
    await this.allReduce([new Float64Array(1)])
    this.#closed = true
    this.#library.finalize()
  }

  /** Divides the cores of this machine among the processes that may use the same ones. */
  async divideCores(): Promise<void> {
    const places = new Float64Array(this.size)
    places[this.rank] = crc32(Buffer.from(`${hostname()} ${allowedCores()}`))
    await this.allReduce([places])
    shareCores(places.filter((place) => place === places[this.rank]).length)
  }

  /** Runs a call after all earlier ones, and ends the job if it takes too long. */
  #inTime(what: string, call: () => Promise<void>): Promise<void> {
    return this.#queue.run(async () => {
      if (this.#closed) throw new OnnxIreError('runtime', 'the group of processes is closed')
      const timer = setTimeout(() => {
        process.stderr.write(
          `error (runtime): rank ${this.rank} has waited ${this.#timeout} s for ${what}: another process hangs, or is slower than the timeout; the job ends\n`,
        )
        this.abort(timeoutCode)
      }, 1000 * this.#timeout)
      try {
        await call()
      } finally {
        clearTimeout(timer)
      }
    })
  }
}

/** The cores on which the launcher lets this process run, as a list; empty if unknown. */
function allowedCores(): string {
  try {
    return /^Cpus_allowed_list:\s*(.*)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? ''
  } catch {
    return ''
  }
}
