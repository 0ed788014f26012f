import type { FloatArray } from '../../ir/float-array.js'
import { arrayOf, type ParameterArrays } from '../../optim/arrays.js'
import type { MaskNumbers } from '../../optim/ire/mask.js'
import type { OptimizerState } from '../../optim/state.js'
import type { Shared } from './fixed.js'
import type { RefreshNumbers } from './refreshed.js'
import type { Slot } from './slots.js'
import { readState, restingState } from './state.js'
import { bytesOf, download, type Piece, pack, unpack, upload } from './transfer.js'

/** Every array of the host beside the buffer that holds it: parameters and moments. */
function* pairs(
  slots: readonly Slot[],
  parameters: ParameterArrays,
  { moments }: OptimizerState,
): Generator<readonly [GPUBuffer, FloatArray]> {
  for (const { name, count, theta, moments: own } of slots) {
    yield [theta.buffer, arrayOf(parameters, name, count, 'value')]
    for (const [moment, buffer] of Object.entries(own))
      yield [buffer, arrayOf(moments[moment] ?? {}, name, count, moment)]
  }
}

/**
 * Copies parameters and state to the device.
 * @param refresh the id that the mask goes by there; 0 for none
 * @throws 'invalid-data' when they are of another optimizer or other parameters
 */
export function sendState(
  device: GPUDevice,
  slots: readonly Slot[],
  shared: Shared,
  parameters: ParameterArrays,
  state: OptimizerState,
  refresh: number,
): void {
  for (const [buffer, array] of [...pairs(slots, parameters, state)]) upload(device, buffer, array)
  const { mask } = state
  const words = new Uint32Array(shared.words)
  for (const { name, count, word, curvature } of slots) {
    const flat = mask?.flat[name]
    if (flat && shared.words > 0) pack(flat, words, word)
    if (curvature) upload(device, curvature.kept, mask?.curvature?.[name] ?? new Float32Array(count))
  }
  if (shared.words > 0) device.queue.writeBuffer(shared.flat, 0, words)
  device.queue.writeBuffer(shared.state, 0, restingState(refresh))
}

/**
 * Copies parameters and state from the device.
 * @param numbersOf the numbers of a refresh, by id; null without IRE
 * @throws 'device-lost'; 'invalid-data' when the arrays are of another optimizer or other parameters
 */
export async function fetchState(
  device: GPUDevice,
  slots: readonly Slot[],
  shared: Shared,
  parameters: ParameterArrays,
  state: OptimizerState,
  numbersOf: ((id: number, counted: RefreshNumbers) => MaskNumbers | null) | null,
): Promise<void> {
  const all = [...pairs(slots, parameters, state)]
  const single = all.map(([buffer, array]) => ({ buffer, array, own: singleOf(array) }))
  const pieces: Piece[] = single.map(({ buffer, own }) => ({ buffer, into: bytesOf(own) }))
  const words = new Uint32Array(shared.words)
  const told = restingState(0)
  const curvature: Record<string, Float32Array> = {}
  if (numbersOf) {
    pieces.push({ buffer: shared.flat, into: bytesOf(words) }, { buffer: shared.state, into: bytesOf(told) })
    for (const { name, count, curvature: F } of slots) {
      if (!F) continue
      curvature[name] = new Float32Array(count)
      pieces.push({ buffer: F.kept, into: bytesOf(curvature[name]) })
    }
  }
  await download(device, pieces)
  for (const { array, own } of single) if (array !== own) array.set(own)
  const { refresh, counts } = readState(told.buffer)
  const numbers = numbersOf?.(refresh, counts)
  if (!numbers) {
    state.mask = null
    return
  }
  const flat = Object.fromEntries(slots.map(({ name, word, count }) => [name, unpack(words, word, count)]))
  state.mask = { flat, curvature: Object.keys(curvature).length > 0 ? curvature : null, ...numbers }
}

const singleOf = (array: FloatArray): Float32Array =>
  array instanceof Float32Array ? array : new Float32Array(array.length)
