import type { FloatArray } from '../../ir/float-array.js'
import { arrayOf, type ParameterArrays } from '../../optim/arrays.js'
import { notFiniteAt } from '../../optim/gradient-norm.js'
import type { MaskStats } from '../../optim/ire/mask.js'
import type { OptimizerState } from '../../optim/state.js'
import { bytesOf } from '../../util/bytes.js'
import { OnnxIreError } from '../../util/errors.js'
import { emptyRecord, getOwn } from '../../util/record.js'
import { endReportTimeout } from '../runtime/monitored-device.js'
import { bufferUsage, mapModeRead } from './constants.js'
import type { WebGpuContext } from './context.js'
import type { ParameterBuffers } from './parameter-buffers.js'
import type { SharedBuffers } from './shared-buffers.js'
import {
  decodeState,
  encodeState,
  type Fault,
  type MaskCounts,
  type Stage,
  type StepState,
  stateBytes,
} from './step-state.js'

/** Pairs every array of the host, parameters and moments, with its buffer. */
function* pairBuffers(
  tensors: readonly ParameterBuffers[],
  parameters: ParameterArrays,
  { moments }: OptimizerState,
): Generator<readonly [GPUBuffer, FloatArray]> {
  for (const { name, count, theta, moments: own } of tensors) {
    yield [theta.buffer, arrayOf(parameters, name, count, 'value')]
    for (const [moment, buffer] of Object.entries(own))
      yield [buffer, arrayOf((getOwn(moments, moment) ?? {}) as ParameterArrays, name, count, moment)]
  }
}

/**
 * Copies parameters and optimizer state to the device.
 * @param refresh the id of the mask's refresh on the device; 0 for none
 * @throws OnnxIreError `invalid-data` if they belong to another optimizer or other parameters
 */
export function uploadState(
  device: GPUDevice,
  tensors: readonly ParameterBuffers[],
  shared: SharedBuffers,
  parameters: ParameterArrays,
  state: OptimizerState,
  refresh: number,
): void {
  for (const [buffer, array] of [...pairBuffers(tensors, parameters, state)]) uploadArray(device, buffer, array)
  const { mask } = state
  const words = new Uint32Array(shared.words)
  for (const { name, count, word, curvature } of tensors) {
    const flat = getOwn(mask?.flat, name)
    if (flat && shared.words > 0) packBits(flat, words, word)
    if (curvature) uploadArray(device, curvature.current, getOwn(mask?.curvature, name) ?? new Float32Array(count))
  }
  if (shared.words > 0) device.queue.writeBuffer(shared.flat, 0, words)
  device.queue.writeBuffer(shared.state, 0, encodeState(refresh))
}

/**
 * Copies parameters and optimizer state from the device.
 * @param statsOf returns the mask statistics of a refresh by id; null without IRE
 * @throws OnnxIreError `device-lost`; `invalid-data` if the arrays belong to another optimizer or other parameters
 */
export async function downloadState(
  device: GPUDevice,
  tensors: readonly ParameterBuffers[],
  shared: SharedBuffers,
  parameters: ParameterArrays,
  state: OptimizerState,
  statsOf: ((id: number, counts: MaskCounts) => MaskStats | null) | null,
): Promise<void> {
  const pairs = [...pairBuffers(tensors, parameters, state)].map(([buffer, array]) => ({
    buffer,
    array,
    float32: array instanceof Float32Array ? array : new Float32Array(array.length),
  }))
  const copies: BufferCopy[] = pairs.map(({ buffer, float32 }) => ({ buffer, into: bytesOf(float32) }))
  const words = new Uint32Array(shared.words)
  const stateWords = encodeState(0)
  const curvature: Record<string, Float32Array> = emptyRecord()
  if (statsOf) {
    copies.push({ buffer: shared.flat, into: bytesOf(words) }, { buffer: shared.state, into: bytesOf(stateWords) })
    for (const { name, count, curvature: F } of tensors) {
      if (!F) continue
      const estimate = new Float32Array(count)
      curvature[name] = estimate
      copies.push({ buffer: F.current, into: bytesOf(estimate) })
    }
  }
  await downloadBuffers(device, copies)
  for (const { array, float32 } of pairs) if (array !== float32) array.set(float32)
  const { refresh, counts } = decodeState(stateWords.buffer)
  const stats = statsOf?.(refresh, counts)
  if (!stats) {
    state.mask = null
    return
  }
  const flat = Object.fromEntries(tensors.map(({ name, word, count }) => [name, unpackBits(words, word, count)]))
  state.mask = { flat, curvature: Object.keys(curvature).length > 0 ? curvature : null, ...stats }
}

/** Reads the step's state back from the device, 48 bytes at a time, through staging buffers that are reused. */
export class StateReadback {
  readonly #context: WebGpuContext
  readonly #state: GPUBuffer
  readonly #free: GPUBuffer[] = []
  readonly #all: GPUBuffer[] = []

  constructor(context: WebGpuContext, state: GPUBuffer) {
    this.#context = context
    this.#state = state
  }

  /** Copies the state as of this point of the encoder. */
  copy(encoder: GPUCommandEncoder): PendingRead {
    const staging = this.#free.pop() ?? this.#createBuffer()
    encoder.copyBufferToBuffer(this.#state, 0, staging, 0, stateBytes)
    const discard = () => {
      this.#free.push(staging)
    }
    const finish = async () => {
      await mapForReading(this.#context, staging)
      const state = decodeState(staging.getMappedRange())
      staging.unmap()
      discard()
      return state
    }
    return { finish, discard }
  }

  release(): void {
    for (const staging of this.#all) staging.destroy()
  }

  #createBuffer(): GPUBuffer {
    const usage = bufferUsage.mapRead | bufferUsage.copyTo
    const staging = this.#context.gpu.createBuffer({ label: 'state readback', size: stateBytes, usage })
    this.#all.push(staging)
    return staging
  }
}

/** A copy of the state that is not on the host yet. Call one of the methods, once. */
export interface PendingRead {
  /** @throws OnnxIreError `device-lost` */
  finish(): Promise<StepState>
  discard(): void
}

/** Maps a buffer for reading. Throws `device-lost` if the device is lost, otherwise `runtime`. */
async function mapForReading({ ended }: WebGpuContext, buffer: GPUBuffer): Promise<void> {
  try {
    await buffer.mapAsync(mapModeRead)
  } catch (cause) {
    // The report of the end may come a moment later.
    const end = await Promise.race([ended, new Promise<null>((resolve) => setTimeout(resolve, endReportTimeout, null))])
    if (end) throw end
    throw new OnnxIreError('runtime', `WebGPU could not read a buffer: ${(cause as Error).message}`, { cause })
  }
}

/** The tensors that a stage of a step checked, for messages. */
export interface CheckedStage {
  readonly place: string
  /** 'loss gradient' */
  readonly what: string
  /** In the order of their parts. */
  readonly tensors: readonly ParameterBuffers[]
}

/** Creates the 'not-finite' error of a fault. */
export function createFaultError(fault: Fault, stages: ReadonlyMap<Stage, CheckedStage>): OnnxIreError {
  const { place, what, tensors } = stages.get(fault.stage)!
  let part = fault.part
  let at = 0
  for (; part >= tensors[at]!.parts; at++) part -= tensors[at]!.parts
  const { name, count } = tensors[at]!
  return notFiniteAt(place, `${what} of '${name}'`, fault.value, fault.element, count)
}

/** Largest number of bytes in staging at once. */
const maxStagingBytes = 2 ** 25

/** A copy of the first `into.byteLength` bytes of a buffer. */
interface BufferCopy {
  readonly buffer: GPUBuffer
  readonly into: Uint8Array
}

/**
 * Copies from the device through one staging buffer, in batches of at most its size. Byte lengths are multiples of 4.
 */
export async function downloadBuffers(device: GPUDevice, copies: readonly BufferCopy[]): Promise<void> {
  const total = copies.reduce((sum, { into }) => sum + into.byteLength, 0)
  if (total === 0) return
  const staging = device.createBuffer({
    label: 'staging',
    size: Math.min(total, maxStagingBytes),
    usage: bufferUsage.mapRead | bufferUsage.copyTo,
  })
  try {
    for (const batch of batches(copies, staging.size)) {
      const encoder = device.createCommandEncoder()
      for (const { copy, from, at, bytes } of batch) encoder.copyBufferToBuffer(copy.buffer, from, staging, at, bytes)
      device.queue.submit([encoder.finish()])
      await staging.mapAsync(mapModeRead)
      const mapped = staging.getMappedRange()
      for (const { copy, from, at, bytes } of batch) copy.into.set(new Uint8Array(mapped, at, bytes), from)
      staging.unmap()
    }
  } finally {
    staging.destroy()
  }
}

/** The part of a copy that is in one batch. */
interface CopyPart {
  readonly copy: BufferCopy
  readonly from: number
  readonly at: number
  readonly bytes: number
}

function* batches(copies: readonly BufferCopy[], size: number): Generator<readonly CopyPart[]> {
  let batch: CopyPart[] = []
  let at = 0
  for (const copy of copies)
    for (let from = 0; from < copy.into.byteLength; ) {
      const bytes = Math.min(copy.into.byteLength - from, size - at)
      batch.push({ copy, from, at, bytes })
      from += bytes
      at += bytes
      if (at < size) continue
      yield batch
      batch = []
      at = 0
    }
  if (batch.length > 0) yield batch
}

/** Copies an array to the start of a buffer, as float32. */
function uploadArray(device: GPUDevice, buffer: GPUBuffer, array: Float32Array | Float64Array): void {
  const single = array instanceof Float32Array ? array : Float32Array.from(array)
  const step = maxStagingBytes / 4
  for (let from = 0; from < single.length; from += step)
    device.queue.writeBuffer(
      buffer,
      4 * from,
      single as Float32Array<ArrayBuffer>,
      from,
      Math.min(step, single.length - from),
    )
}

/** Packs elements of 0 and 1 into bits, 32 per word, from word `word` on. */
function packBits(flat: Uint8Array, words: Uint32Array, word: number): void {
  for (let i = 0; i < flat.length; i++) if (flat[i]) words[word + (i >> 5)]! |= 1 << (i & 31)
}

/** Inverts `packBits`. */
function unpackBits(words: Uint32Array, word: number, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (words[word + (i >> 5)]! >> (i & 31)) & 1)
}
