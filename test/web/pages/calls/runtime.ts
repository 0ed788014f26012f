import { importGraph } from '../../../../src/graph/index.js'
import { compileModel, decodeModel } from '../../../../src/index.js'
import { compileOnDevice } from '../../../../src/lowering/compile.js'
import type { DeviceProgram, DeviceTensor } from '../../../../src/runtime/device.js'
import type { Program, Runtime } from '../../../../src/runtime/runtime.js'
import { wasm, webgpu } from '../../../../src/web/index.js'
import { taken } from '../exchange.js'
import { type Plain, type Plains, plainOf, plainsOf, tensorOf, tensorsOf } from '../tensors.js'

const runtimes: Runtime[] = []
const programs: Program[] = []
const start = (runtime: Runtime) => ({ id: runtimes.push(runtime) - 1, description: runtime.description })

/** Starts a runtime; later calls name it by `id`. */
export const startWasm = async (options = {}) => start(await wasm(options))
export const startWebGpu = async (options = {}) => start(await webgpu(options))

/** Starts WebGPU, and returns the files of onnxruntime that this loaded, as in a browser with or without JSPI. */
export async function startBuild(hasJspi: boolean, options = {}) {
  const { Suspending } = WebAssembly as unknown as { Suspending: unknown }
  if (!hasJspi) Reflect.deleteProperty(WebAssembly, 'Suspending')
  performance.clearResourceTimings()
  try {
    const { id } = start(await webgpu(options))
    const files = performance.getEntriesByType('resource').map(({ name }) => name.replace(/^.*\//, ''))
    return { id, files: files.filter((file) => file.endsWith('.wasm')) }
  } finally {
    Object.assign(WebAssembly, { Suspending })
  }
}

/** Starts without WebGPU, with and without a fallback. */
export async function startWithout() {
  Object.defineProperty(navigator, 'gpu', { value: undefined, configurable: true })
  const refusal = await webgpu().catch(({ code, message }) => ({ code, message }))
  const { description } = await webgpu({ fallback: wasm })
  return { refusal, description }
}

export async function compile(id: number, model: string) {
  const program = await runtimes[id]!.compile(await taken(model))
  const { inputNames, outputNames } = program
  return { program: programs.push(program) - 1, inputNames, outputNames }
}

/**
 * Compiles a model by `compileModel`; returns also the length of the message that the runtime was given, and that of
 * the weights beside it.
 */
export async function compileApart(id: number, model: string) {
  const runtime = runtimes[id]!
  const sizes: number[] = []
  const compile: Runtime['compile'] = (message, hints) => {
    const beside = [...(hints?.externalData?.values() ?? [])].reduce((sum, { length }) => sum + length, 0)
    sizes.push(message.length, beside)
    return runtime.compile(message, hints)
  }
  const { provider, readsBytes = false, description, allocate } = runtime
  const spy = { provider, readsBytes, description, allocate, compile, dispose: () => runtime.dispose() }
  const program = await compileModel(spy, decodeModel(await taken(model)))
  return { program: programs.push(program) - 1, sizes }
}

/** Runs a model whose output stays on the device, and downloads it. */
export async function runOnDevice(id: number, model: string, feeds: Plains, output: string) {
  const runtime = runtimes[id]!
  const device = runtime.device!
  const program = await compileOnDevice(runtime, device, importGraph(decodeModel(await taken(model))), () => true)
  const { device: outputs } = await program.run(tensorsOf(feeds))
  const result = plainOf(await device.download(outputs[output]!))
  outputs[output]!.release()
  await program.release()
  return result
}

export const run = async (program: number, feeds: Plains) => plainsOf(await programs[program]!.run(tensorsOf(feeds)))

/** Whether feeds are unchanged and outputs own their memory. */
export async function memory(program: number) {
  const x = new Float32Array(4).fill(3).subarray(1, 3)
  const feed = { x: { dtype: 'float32', dims: [2], data: x } } as const
  const [first, second] = [await programs[program]!.run(feed), await programs[program]!.run(feed)]
  const of = (outputs: typeof first) => outputs['y']!.data as Float32Array
  of(first).fill(9)
  return { fed: [...x], first: [...of(first)], second: [...of(second)] }
}

export const allocated = (id: number, dtype: 'float32' | 'int4' | 'string', length: number) => [
  ...(runtimes[id]!.allocate(dtype, length) as Float32Array),
]

export const release = (program: number) => programs[program]!.release()
export const dispose = (id: number) => runtimes[id]!.dispose()

/** A device tensor as JSON carries it; `there` is undefined for one that somebody made up. */
export interface There {
  readonly there: number | undefined
  readonly dtype: DeviceTensor['dtype']
  readonly dims: readonly number[]
}

const devicePrograms: DeviceProgram[] = []
const deviceTensors: DeviceTensor[] = []
const thereOf = (tensor: DeviceTensor): There => ({
  there: deviceTensors.push(tensor) - 1,
  dtype: tensor.dtype,
  dims: tensor.dims,
})
const backOf = ({ there, dtype, dims }: There): DeviceTensor =>
  there === undefined ? { dtype, dims, release() {} } : deviceTensors[there]!

export async function compileThere(id: number, model: string, keeps: readonly string[]) {
  const program = await runtimes[id]!.device!.compile(await taken(model), (name) => keeps.includes(name))
  const { inputNames, outputNames } = program
  return { program: devicePrograms.push(program) - 1, inputNames, outputNames }
}

export async function runThere(program: number, feeds: Readonly<Record<string, Plain | There>>) {
  const fed = Object.entries(feeds).map(
    ([name, feed]) => [name, 'data' in feed ? tensorOf(feed) : backOf(feed)] as const,
  )
  const { host, device } = await devicePrograms[program]!.run(Object.fromEntries(fed))
  const stay = Object.entries(device).map(([name, tensor]) => [name, thereOf(tensor)] as const)
  return { host: plainsOf(host), device: Object.fromEntries(stay) }
}

export const upload = async (id: number, tensor: Plain) => thereOf(await runtimes[id]!.device!.upload(tensorOf(tensor)))
export const download = async (id: number, tensor: There) =>
  plainOf(await runtimes[id]!.device!.download(backOf(tensor)))
export const free = (tensor: There) => backOf(tensor).release()
export const releaseThere = (program: number) => devicePrograms[program]!.release()
