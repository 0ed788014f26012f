import type { Program, Runtime } from '../../../../src/runtime/runtime.js'
import { type WasmOptions, wasm } from '../../../../src/web/index.js'
import { taken } from '../exchange.js'
import { type Plains, plainsOf, tensorsOf } from '../tensors.js'

const runtimes: Runtime[] = []
const programs: Program[] = []

/** Starts a runtime; later calls name it by `id`. */
export async function start(options: WasmOptions = {}) {
  const runtime = await wasm(options)
  return { id: runtimes.push(runtime) - 1, description: runtime.description }
}

export async function compile(id: number, model: string) {
  const program = await runtimes[id]!.compile(await taken(model))
  const { inputNames, outputNames } = program
  return { program: programs.push(program) - 1, inputNames, outputNames }
}

export const run = async (program: number, feeds: Plains) => plainsOf(await programs[program]!.run(tensorsOf(feeds)))

/** Runs that overlap. */
export const runAll = (program: number, feeds: readonly Plains[]) =>
  Promise.all(feeds.map((each) => run(program, each)))

/** Whether what was fed is left as it is, and outputs are memory of their own. */
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
