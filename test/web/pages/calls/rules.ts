import { gradients } from '../../../../src/grad/gradient.js'
import { type DType, dtypes, isFloat } from '../../../../src/ir/dtype.js'
import { input } from '../../../../src/ir/leaf.js'
import type { Tensor } from '../../../../src/ir/tensor.js'
import type { Value } from '../../../../src/ir/value.js'
import { compileGraph } from '../../../../src/lowering/compile.js'
import type { Program, Runtime } from '../../../../src/runtime/runtime.js'
import { Random } from '../../../../src/util/random.js'
import { wasm, webgpu } from '../../../../src/web/index.js'
import { cases } from '../../../grad/cases/index.js'
import { type Compile, checkCase, graphOf } from '../../../grad/directional.js'
import { type Array64, draw, toFloat64 } from '../../../grad/draw.js'
import { type Cell, lossesOf } from '../../../lowering/recurrent.js'

let cpu: Promise<Runtime> | undefined
const onCpu = () => {
  cpu ??= wasm({ threads: 1 })
  return cpu
}
let gpu: Promise<Runtime> | undefined
const onGpu = () => {
  gpu ??= webgpu()
  return gpu
}

/** Programs of the operator under test. */
const compiled: Program[] = []
const releaseAll = () => Promise.all(compiled.splice(0).map((program) => program.release()))

/** Compiles like a trainer, with operators that the provider supports. */
const compiler =
  (runtime: Runtime): Compile =>
  async (name, x, values) => {
    if (values.length === 0) return async () => []
    const program = await compileGraph(runtime, graphOf(name, x, values))
    compiled.push(program)
    return async (feeds) => {
      const named = Object.fromEntries(x.map((value, i) => [value.name!, feeds[i]!]))
      const results = await program.run(
        Object.fromEntries(program.inputNames.map((name) => [name, tensorOf(named[name]!)])),
      )
      return values.map((_, i) => arrayOf(results[`out${i}`]!))
    }
  }

/**
 * Checks every case of an operator by differences in WebAssembly; says how many checks there were and what failed. Its
 * first case has static and then symbolic lengths, the others have them in turn; in Node, every case is checked with
 * both.
 */
export async function check(operator: string) {
  const compile = compiler(await onCpu())
  const failures: string[] = []
  let count = 0
  for (const [i, case_] of cases[operator]!.entries())
    for (const symbolic of case_.staticOnly ? [false] : i === 0 ? [false, true] : [i % 2 === 1]) {
      count++
      await checkCase(case_, { symbolic, compile }).catch(({ message }) =>
        failures.push(`${case_.name}${symbolic ? ', symbolic lengths' : ''}: ${message}`),
      )
      await releaseAll()
    }
  return { count, failures }
}

/**
 * The gradient of an operator's first case, or one by name, in float32, on WebGPU and in WebAssembly: the largest
 * relative difference.
 */
export async function compare(operator: string, name?: string) {
  const case_ = cases[operator]!.find((one) => name === undefined || one.name === name)
  const random = new Random(7).stream(case_!.name)
  const operands = case_!.operands.map((operand) => draw(operand, 'float32', random))
  const x = operands.map(({ dtype, dims }, i) => input(`x${i}`, dtype, dims))
  const built = case_!.build(...x)
  const y = ((Array.isArray(built) ? built : [built]) as readonly Value[]).filter(({ dtype }) => isFloat(dtype))
  const wrt = x.filter((_, i) => isFloat(operands[i]!.dtype) && !case_!.operands[i]!.fixed)
  const dy = y.map((value, i) => input(`dy${i}`, value.dtype, value.shape))
  const forward = await (await compiler(await onCpu())('forward', x, y))(operands)
  const dyData = forward.map(({ dtype, dims }) => draw({ shape: dims }, dtype, random))
  const dx = gradients(
    y.map((value, i) => [value, dy[i]!] as const),
    wrt,
  ).filter((value) => value !== null)
  const all = [...y, ...dx]
  const inputs = [...x, ...dy]
  const feeds = [...operands, ...dyData]
  const [expected, found] = [await onCpu(), await onGpu()].map(async (runtime) =>
    (await compiler(runtime)('gradient', inputs, all))(feeds),
  )
  const [a, b] = [await expected!, await found!]
  await releaseAll()
  let worst = 0
  for (const [i, { data }] of a.entries()) {
    const scale = Math.max(1e-2, ...data.map(Math.abs))
    for (const [j, value] of data.entries()) worst = Math.max(worst, Math.abs(value - b[i]!.data[j]!) / scale)
  }
  return worst
}

/** Losses of a recurrent model that is trained in WebAssembly, and on WebGPU. */
export const trainedThroughTime = async (cell: Cell) => ({
  wasm: await lossesOf(cell, await onCpu()),
  webgpu: await lossesOf(cell, await onGpu()),
})

function tensorOf({ dtype, dims, data }: Array64): Tensor {
  const array = new dtypes[dtype].array!(data.length)
  if (array instanceof BigInt64Array) array.set(Array.from(data, BigInt))
  else (array as Float64Array).set(data)
  return { dtype, dims, data: array }
}

const arrayOf = ({ dtype, dims, data }: Tensor): Array64 => ({
  dtype: dtype as DType,
  dims,
  data: toFloat64(data as ArrayLike<number | bigint>),
})
