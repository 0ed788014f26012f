import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { DType } from '../../src/ir/dtype.js'
import type { Tensor } from '../../src/ir/tensor.js'
import type { Probe } from './form.js'
import { outcomes, toOutcome } from './outcome.js'

export const runtimes = ['cpu', 'wasm', 'webgpu'] as const
export type RuntimeName = (typeof runtimes)[number]

export interface Trial {
  readonly outcome: string
  readonly outputs: readonly Tensor[]
}

/** Runs one probe in a runtime. */
export type Prober = (probe: Probe) => Promise<Trial>

/** The interface that onnxruntime-node and onnxruntime-web have in common. */
interface Ort {
  readonly InferenceSession: { create(bytes: Uint8Array, options: object): Promise<Session> }
  readonly Tensor: new (dtype: string, data: unknown, dims: readonly number[]) => OrtTensor
}

interface Session {
  readonly outputNames: readonly string[]
  run(feeds: Readonly<Record<string, OrtTensor>>): Promise<Readonly<Record<string, OrtTensor>>>
  release(): Promise<void>
}

interface OrtTensor {
  readonly type: string
  readonly dims: readonly number[]
  readonly data: unknown
}

const common = { logSeverityLevel: 4, intraOpNumThreads: 1 }
const require = createRequire(import.meta.url)

/** The CPU provider of onnxruntime-node. */
export async function cpu(): Promise<Prober> {
  process.env['ORT_DISABLE_TELEMETRY'] ??= '1'
  const ort: Ort = await import('onnxruntime-node')
  return (probe) => trial(ort, probe, { ...common, executionProviders: ['cpu'] })
}

/** onnxruntime-web/wasm, which also runs in Node. */
async function wasm(): Promise<Prober> {
  const ort = await import('onnxruntime-web/wasm')
  ort.env.wasm.numThreads = 1
  ort.env.wasm.wasmBinary = readFileSync(require.resolve('onnxruntime-web/ort-wasm-simd-threaded.wasm'))
  return (probe) => trial(ort, probe, { ...common, executionProviders: ['wasm'] })
}

/** The WebGPU provider of onnxruntime-node: first without, then with fallback to the CPU. */
async function webgpu(): Promise<Prober> {
  process.env['ORT_DISABLE_TELEMETRY'] ??= '1'
  const ort: Ort = await import('onnxruntime-node')
  const options = { ...common, executionProviders: [{ name: 'webgpu', validationMode: 'basic' }] }
  const strictly = { ...options, extra: { session: { disable_cpu_ep_fallback: '1' } } }
  return async (probe) => {
    const strict = await trial(ort, probe, strictly)
    if (strict.outcome !== outcomes.fallsBack) return strict
    const loose = await trial(ort, probe, options)
    return loose.outcome === outcomes.runs ? { ...loose, outcome: outcomes.fallsBack } : loose
  }
}

export const starters: Readonly<Record<RuntimeName, () => Promise<Prober>>> = { cpu, wasm, webgpu }

async function trial(ort: Ort, { bytes, feeds }: Probe, options: object): Promise<Trial> {
  let session: Session | undefined
  try {
    session = await ort.InferenceSession.create(bytes, options)
    const tensors = Object.entries(feeds).map(([name, { dtype, dims, data }]) => [
      name,
      new ort.Tensor(dtype, data, dims),
    ])
    const results = await session.run(Object.fromEntries(tensors))
    const outputs = session.outputNames.map((name) => results[name]!)
    return { outcome: outcomes.runs, outputs: outputs.map(tensorOf) }
  } catch (error) {
    return { outcome: toOutcome(error instanceof Error ? error.message : String(error)), outputs: [] }
  } finally {
    await session?.release()
  }
}

/** Copies results, since some are views of runtime memory. */
const tensorOf = ({ type, dims, data }: OrtTensor): Tensor => ({
  dtype: type as DType,
  dims: [...dims],
  data: (data as Float32Array).slice(),
})
