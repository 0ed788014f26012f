import type { FloatArray } from '../../ir/float-array.js'
import type { Formula, Op } from './expr.js'
import { type Arrays, type FormulaCall, type FormulaProgram, type Kernel, linearize, type Scalars } from './program.js'

/** Elements per chunk: its registers, 4 KiB each, fit the first-level cache. */
const chunkElements = 512

/**
 * Creates a kernel that interprets a formula in double precision, for hosts without WebAssembly. Each value of the
 * program is one loop over a register of a chunk; results are rounded once, to the precision of their array.
 */
export function interpret(formula: Formula): Kernel {
  const program = linearize(formula)
  const registers = program.values.map(() => new Float64Array(chunkElements))
  const outputs = Object.entries(program.outputs)
  const squares = Object.entries(program.squares)
  const leading = (formula.arrays[0] ?? outputs[0]?.[0])!
  return (arrays, scalars) => {
    const { length } = arrays[leading]!
    const sums: Record<string, number> = {}
    for (const [name] of squares) sums[name] = 0
    prepare(program, registers, scalars, Math.min(chunkElements, length))
    for (let from = 0; from < length; from += chunkElements) {
      const n = Math.min(chunkElements, length - from)
      compute(program, registers, arrays, from, n)
      for (const [name, index] of outputs) store(arrays[name]!, registers[index]!, from, n)
      for (const [name, index] of squares) sums[name]! += sumOfSquares(registers[index]!, n)
    }
    return sums
  }
}

/** Computes the values that are the same for all elements. */
function prepare(
  { values, uniform }: FormulaProgram,
  registers: readonly Float64Array[],
  scalars: Scalars,
  n: number,
): void {
  for (let i = 0; i < values.length; i++) {
    if (!uniform[i]) continue
    const value = values[i]!
    if (value.kind === 'call') call(value, registers[i]!, registers, n)
    else if (value.kind === 'scalar') registers[i]!.fill(scalars[value.name]!, 0, n)
    else if (value.kind === 'constant') registers[i]!.fill(value.value, 0, n)
  }
}

function compute(
  { values, uniform }: FormulaProgram,
  registers: readonly Float64Array[],
  arrays: Arrays,
  from: number,
  n: number,
): void {
  for (let i = 0; i < values.length; i++) {
    if (uniform[i]) continue
    const value = values[i]!
    if (value.kind === 'call') call(value, registers[i]!, registers, n)
    else if (value.kind === 'array') load(registers[i]!, arrays[value.name]!, from, n)
  }
}

const call = ({ op, operands }: FormulaCall, y: Float64Array, registers: readonly Float64Array[], n: number): void =>
  loops[op](y, registers[operands[0]!]!, registers[operands.at(-1)!]!, n)

function load(register: Float64Array, array: FloatArray | Uint8Array, from: number, n: number): void {
  for (let i = 0; i < n; i++) register[i] = array[from + i]!
}

function store(array: FloatArray | Uint8Array, register: Float64Array, from: number, n: number): void {
  for (let i = 0; i < n; i++) array[from + i] = register[i]!
}

/** y = op(a, b) for n elements. A unary operation gets its operand twice. */
type Loop = (y: Float64Array, a: Float64Array, b: Float64Array, n: number) => void

const loops: Readonly<Record<Op, Loop>> = {
  add: (y, a, b, n) => {
    for (let i = 0; i < n; i++) y[i] = a[i]! + b[i]!
  },
  sub: (y, a, b, n) => {
    for (let i = 0; i < n; i++) y[i] = a[i]! - b[i]!
  },
  mul: (y, a, b, n) => {
    for (let i = 0; i < n; i++) y[i] = a[i]! * b[i]!
  },
  div: (y, a, b, n) => {
    for (let i = 0; i < n; i++) y[i] = a[i]! / b[i]!
  },
  min: (y, a, b, n) => {
    for (let i = 0; i < n; i++) y[i] = Math.min(a[i]!, b[i]!)
  },
  max: (y, a, b, n) => {
    for (let i = 0; i < n; i++) y[i] = Math.max(a[i]!, b[i]!)
  },
  atMost: (y, a, b, n) => {
    for (let i = 0; i < n; i++) y[i] = a[i]! <= b[i]! ? 1 : 0
  },
  sqrt: (y, a, _, n) => {
    for (let i = 0; i < n; i++) y[i] = Math.sqrt(a[i]!)
  },
  abs: (y, a, _, n) => {
    for (let i = 0; i < n; i++) y[i] = Math.abs(a[i]!)
  },
  sign: (y, a, _, n) => {
    for (let i = 0; i < n; i++) y[i] = a[i]! > 0 ? 1 : a[i]! < 0 ? -1 : 0
  },
}

/**
 * Sums the squares of the first `n` elements in double precision. Four partial sums hide the latency of the additions;
 * element i is in the partial sum i mod 4, as in the WebAssembly kernels.
 */
export function sumOfSquares(x: FloatArray, n: number): number {
  let [a, b, c, d] = [0, 0, 0, 0]
  const whole = n - (n % 4)
  for (let i = 0; i < whole; i += 4) {
    a += x[i]! * x[i]!
    b += x[i + 1]! * x[i + 1]!
    c += x[i + 2]! * x[i + 2]!
    d += x[i + 3]! * x[i + 3]!
  }
  if (whole < n) a += x[whole]! * x[whole]!
  if (whole + 1 < n) b += x[whole + 1]! * x[whole + 1]!
  if (whole + 2 < n) c += x[whole + 2]! * x[whole + 2]!
  return a + c + (b + d)
}
