import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node'
import type { Tensor } from '../../src/ir/tensor.js'
import { firstLine, NotTested } from './issue.js'
import { of, op, type Probe, probe } from './model.js'

export type NodeOrt = typeof import('onnxruntime-node')
export type SessionOptions = InferenceSession.SessionOptions
export type { InferenceSession, OrtTensor }

const require = createRequire(import.meta.url)

/** Loads onnxruntime-node with its telemetry off. */
export function loadNode(): NodeOrt {
  process.env['ORT_DISABLE_TELEMETRY'] ??= '1'
  return require('onnxruntime-node')
}

/** The path of onnxruntime-node, for worker threads that load it themselves. */
export const nodePath = (): string => require.resolve('onnxruntime-node')

/** Options that keep onnxruntime's log off standard error. */
export const quiet: SessionOptions = { logSeverityLevel: 4 }

/** Turns a tensor of this library into one of onnxruntime. */
export const toOrt = (ort: NodeOrt, { dtype, dims, data }: Tensor): OrtTensor =>
  new ort.Tensor(dtype as 'float32', data as Float32Array, dims)

export const toFeeds = (ort: NodeOrt, feeds: Probe['feeds']): Record<string, OrtTensor> =>
  Object.fromEntries(Object.entries(feeds).map(([name, tensor]) => [name, toOrt(ort, tensor)]))

/** Numbers of an output. */
export type Numbers = ArrayLike<number | bigint>

/** Runs a model once and returns its outputs in the order of the model. */
export async function runNode(
  { bytes, feeds }: Probe,
  options: SessionOptions = { executionProviders: ['cpu'] },
): Promise<{ readonly type: string; readonly dims: readonly number[]; readonly data: Numbers }[]> {
  const ort = loadNode()
  const session = await ort.InferenceSession.create(bytes, { ...quiet, ...options })
  const results = await session.run(toFeeds(ort, feeds))
  return session.outputNames.map((name) => {
    const { type, dims, data } = results[name]!
    return { type, dims, data: data as Numbers }
  })
}

const swiftShader = '/usr/lib/chromium/vk_swiftshader_icd.json'

/** Session options of the WebGPU provider. */
export const webgpuOptions: SessionOptions = {
  ...quiet,
  executionProviders: [{ name: 'webgpu', validationMode: 'basic' } as never],
}

/** The same with every node on the device: creating a session fails if one would run on the CPU. */
export const strictWebgpu: SessionOptions = {
  ...webgpuOptions,
  extra: { session: { disable_cpu_ep_fallback: '1' } },
}

/**
 * Selects the software GPU of Debian's Chromium unless a Vulkan driver is named. Without libvulkan the process would
 * crash.
 */
function chooseDriver(): void {
  if (process.env['VK_ICD_FILENAMES'] === undefined && existsSync(swiftShader)) {
    process.env['VK_ICD_FILENAMES'] = swiftShader
    process.env['XDG_RUNTIME_DIR'] ??= tmpdir()
  }
}

/** Starts the WebGPU provider. Throws `NotTested` if it does not start. */
export async function startWebgpu(): Promise<NodeOrt> {
  chooseDriver()
  const ort = loadNode()
  const { bytes } = probe([of('float32', [1], 1)], (x) => op.Add(x, x))
  try {
    const session = await ort.InferenceSession.create(bytes, webgpuOptions)
    await session.release()
  } catch (error) {
    throw new NotTested(`WebGPU does not start: ${firstLine(error, 100)} (apt-get install chromium libvulkan1)`)
  }
  return ort
}
