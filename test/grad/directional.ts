import { gradients, type Seed } from '../../src/grad/gradient.js'
import { type DType, isFloat } from '../../src/ir/dtype.js'
import { input } from '../../src/ir/leaf.js'
import type { Value } from '../../src/ir/value.js'
import type { GraphSpec } from '../../src/onnx/export/export-graph.js'
import { Random } from '../../src/util/random.js'
import type { Case } from './cases/case.js'
import { type Array64, draw } from './draw.js'

/** Values as a function of inputs, in some onnxruntime. Only inputs the values need are fed. */
export type Compile = (
  name: string,
  x: readonly Value[],
  values: readonly Value[],
) => Promise<(feeds: readonly Array64[]) => Promise<Array64[]>>

export interface Check {
  readonly symbolic: boolean
  readonly compile: Compile
}

/**
 * Checks one case: inferred types equal computed ones; the vector-Jacobian product agrees with central differences
 * (f(x + hv) - f(x - hv)) / 2h of f(x) = sum <dy, y(x)>, along a direction of all operands and of each alone; and the
 * gradient of the gradient agrees with differences of the gradient in the same way.
 */
export async function checkCase(case_: Case, { symbolic, compile }: Check): Promise<void> {
  const random = new Random(7).stream(case_.name)
  const dtype: DType = case_.float32 ? 'float32' : 'float64'
  const operands = case_.operands.map((operand) => draw(operand, dtype, random))
  const x = operands.map(({ dtype, dims }, i) => input(`x${i}`, dtype, symbolic ? dims.map((dim) => `d${dim}`) : dims))
  const built = case_.build(...x)
  const y = (Array.isArray(built) ? built : [built]) as readonly Value[]
  const forward = await compile('forward', x, y)
  const outputs = await forward(operands)
  const differentiated = case_.unrounded ? await compile('unrounded', x, [case_.unrounded(...x)]) : forward
  for (const [i, value] of y.entries()) expectType(value, outputs[i]!)

  const differentiable = case_.operands.flatMap((operand, i) =>
    isFloat(operands[i]!.dtype) && !operand.fixed ? [i] : [],
  )
  const floating = y.flatMap((value, i) => (isFloat(value.dtype) ? [i] : []))
  const wrt = differentiable.map((i) => x[i]!)
  const dy = floating.map((i) => input(`dy${i}`, y[i]!.dtype, y[i]!.shape))
  const dyData = floating.map((i) => draw({ shape: outputs[i]!.dims }, dtype, random))
  const dx = gradients(
    floating.map((i, k): Seed => [y[i]!, dy[k]!]),
    wrt,
  )
  const tolerance = case_.float32 ? (case_.linear ? 2e-4 : 1e-2) : 1e-6
  const step = case_.float32 ? (case_.linear ? 0.5 : 5e-3) : 1e-5

  const everything = [...operands, ...dyData]
  const first = await compilePresent(compile, [...x, ...dy], dx)
  await compare({
    what: 'gradient',
    operands,
    moving: differentiable,
    gradient: await first(everything),
    scalar: async (at) => weighted(await differentiated(at), floating, dyData),
    random,
    step,
    tolerance,
  })

  const present = dx.flatMap((value, k) => (value ? [k] : []))
  if (case_.firstOrderOnly || present.length === 0) return
  const u = present.map((k) => input(`u${k}`, dx[k]!.dtype, wrt[k]!.shape))
  const uData = present.map((k) => draw({ shape: operands[differentiable[k]!]!.dims }, dtype, random))
  const second = gradients(
    present.map((k, j): Seed => [dx[k]!, u[j]!]),
    [...wrt, ...dy],
  )
  await compare({
    what: 'gradient of the gradient',
    operands: everything,
    moving: [...differentiable, ...dy.map((_, k) => operands.length + k)],
    gradient: await (await compilePresent(compile, [...x, ...dy, ...u], second))([...everything, ...uData]),
    scalar: async (at) => weighted(await first(at), present, uData),
    random,
    step,
    tolerance,
  })
}

interface Comparison {
  readonly what: string
  readonly operands: readonly Array64[]
  readonly moving: readonly number[]
  readonly gradient: readonly (Array64 | null)[]
  readonly scalar: (at: readonly Array64[]) => Promise<number>
  readonly random: Random
  readonly step: number
  readonly tolerance: number
}

async function compare({
  what,
  operands,
  moving,
  gradient,
  scalar,
  random,
  step,
  tolerance,
}: Comparison): Promise<void> {
  for (const [k, i] of moving.entries())
    if (gradient[k]) same(gradient[k].dims, operands[i]!.dims, `${what}: shape for operand ${i}`)
  const directions = moving.length > 1 ? [moving, ...moving.map((i) => [i])] : [moving]
  for (const direction of directions) {
    const v = operands.map((operand, i) =>
      direction.includes(i)
        ? Float64Array.from(operand.data, () => (random.uniform() < 0.5 ? -1 : 1) * (0.5 + random.uniform() / 2))
        : null,
    )
    const moved = (h: number) =>
      scalar(
        operands.map((operand, i) =>
          v[i] ? { ...operand, data: operand.data.map((x, j) => x + h * v[i]![j]!) } : operand,
        ),
      )
    const difference = ((await moved(step)) - (await moved(-step))) / (2 * step)
    let product = 0
    let scale = 0
    for (const [k, i] of moving.entries()) {
      gradient[k]?.data.forEach((g, j) => {
        const term = g * (v[i]?.[j] ?? 0)
        product += term
        scale += Math.abs(term)
      })
    }
    const error = Math.abs(product - difference) / Math.max(scale, Math.abs(difference), 1e-2)
    if (!(error < tolerance))
      throw new Error(
        `${what} along operands ${direction.join(', ')}: rule ${product}, difference ${difference}, relative error ${error} of ${tolerance} at most`,
      )
  }
}

const weighted = (
  outputs: readonly (Array64 | null)[],
  which: readonly number[],
  weights: readonly Array64[],
): number => which.reduce((sum, i, k) => outputs[i]!.data.reduce((s, y, j) => s + y * weights[k]!.data[j]!, sum), 0)

function expectType(value: Value, output: Array64): void {
  same(output.dtype, value.dtype, 'dtype')
  if (value.shape === undefined) return
  same(output.dims.length, value.shape.length, `rank of [${value.shape}], computed [${output.dims}]`)
  value.shape.forEach((dim, axis) => {
    const known = typeof dim === 'number' ? dim : /^d\d+$/.test(dim) ? Number(dim.slice(1)) : undefined
    if (known !== undefined) same(output.dims[axis], known, `axis ${axis} of [${value.shape}]`)
  })
}

/** Compiles the gradients that exist; the results have null for the others. */
async function compilePresent(compile: Compile, x: readonly Value[], gradients: readonly (Value | null)[]) {
  const run = await compile(
    'gradient',
    x,
    gradients.filter((value) => value !== null),
  )
  return async (feeds: readonly Array64[]): Promise<(Array64 | null)[]> => {
    const results = (await run(feeds)).values()
    return gradients.map((value) => (value ? results.next().value! : null))
  }
}

/** Runs in pages, too, where there is no test runner. */
function same(is: unknown, wanted: unknown, what: string): void {
  if (JSON.stringify(is) !== JSON.stringify(wanted))
    throw new Error(`${what}: it is ${JSON.stringify(is)}, not ${JSON.stringify(wanted)}`)
}

/** A graph of values, whose outputs are `out0` and so on. */
export const graphOf = (name: string, x: readonly Value[], values: readonly Value[]): GraphSpec => ({
  name,
  inputs: new Map(x.map((value) => [value.name!, value])),
  outputs: new Map(values.map((value, i) => [`out${i}`, value])),
})
