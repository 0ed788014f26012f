import { afterEach, describe, expect, test, vi } from 'vitest'
import { evaluateOne } from '../../../src/optim/expr/evaluate.js'
import { array, constant, type Expr, type Formula, formula, scalar } from '../../../src/optim/expr/expr.js'
import { interpret } from '../../../src/optim/expr/interpreter.js'
import type { Kernel } from '../../../src/optim/expr/program.js'
import { type ArrayTypes, compileFormula } from '../../../src/optim/expr/wasm/compile.js'
import { countAlone } from '../../../src/optim/ire/counting.js'
import { Random } from '../../../src/util/random.js'
import { expected, randomTerms } from './plain.js'

const random = new Random(11)
const pick = <T>(list: readonly T[]): T => list[random.integer(list.length)]!

/** Many magnitudes; exact zeros of both signs, ties and numbers that single precision only just holds among them. */
const number = () =>
  pick([0, -0, 1, -1, random.normal(), random.normal(), 1e3 * random.normal(), 1e-20 * random.normal(), 1e-42, 1e38])

type Type = Float32ArrayConstructor | Float64ArrayConstructor

/** Views that begin within their buffers, some of which are shared. */
function view<A extends Float32Array | Float64Array | Uint8Array>(
  type: { new (buffer: ArrayBufferLike, at: number, length: number): A; readonly BYTES_PER_ELEMENT: number },
  length: number,
  draw: () => number,
): A {
  const bytes = type.BYTES_PER_ELEMENT
  const Buffer = pick([ArrayBuffer, SharedArrayBuffer])
  const made = new type(new Buffer(bytes * (length + 5)), 3 * bytes, length)
  for (let i = 0; i < length; i++) made[i] = draw()
  return made
}

const arraysOf = (type: Type, length: number) => ({
  a: view<Float32Array | Float64Array>(type, length, number),
  b: view<Float32Array | Float64Array>(type, length, number),
  mask: view(Uint8Array, length, () => random.integer(2)),
  c: view<Float32Array | Float64Array>(type, length, number),
  bits: view(Uint8Array, length, () => 7),
})

/** A formula that replaces `a`, writes `c` and the bytes `bits`, and sums. */
function randomFormula() {
  const leaves: Expr[] = [
    ...['a', 'b', 'mask'].map(array),
    ...['s', 't'].map(scalar),
    ...[pick([0, 1, -2.5, 1e-3]), pick([-0, Infinity, -Infinity])].map(constant),
  ]
  const terms = randomTerms(random, leaves)
  const truth = pick(terms).atMost(scalar('t'))
  return formula({ a: pick(terms), c: terms.at(-1)!, bits: truth }, { sum: pick([...leaves, ...terms]), count: truth })
}

const bytes = new Set(['mask', 'bits'])
const lengths = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 31, 511, 513, 4095, 4096, 4097, 9001]

/** Checks one kernel of a formula to the last bit. */
function check(kernel: Kernel, made: Formula, type: Type, length: number): void {
  const arrays = arraysOf(type, length)
  const scalars = { s: number(), t: number() }
  const store = type === Float32Array ? Math.fround : (x: number) => x
  const wanted = expected(made, structuredClone(arrays), scalars, store)
  const untouched = structuredClone(arrays.b)
  const around = [arrays.a, arrays.c].map((x) => new type(x.buffer as ArrayBuffer))
  const before = around.map((whole) => [...whole.slice(0, 3), ...whole.slice(3 + length)])
  const sums = kernel(arrays, scalars)
  for (const [name, list] of Object.entries(wanted.outputs))
    expect([...arrays[name as keyof typeof arrays]], name).toEqual(list)
  expect(arrays.b).toEqual(untouched)
  for (const [i, whole] of around.entries())
    expect([...whole.slice(0, 3), ...whole.slice(3 + length)]).toEqual(before[i])
  for (const [name, sum] of Object.entries(wanted.squares))
    if (Number.isFinite(sum)) expect(Math.abs(sums[name]! - sum)).toBeLessThanOrEqual(1e-12 * Math.abs(sum))
    else expect(Number.isFinite(sums[name])).toBe(false)
}

describe('random expressions, element by element', () => {
  const wasm = (precision: ArrayTypes['precision'], made: Formula): Kernel => {
    const kernel = compileFormula(made, { precision, bytes })
    expect(kernel).not.toBeNull()
    return kernel!
  }
  const targets: [string, Type, (made: Formula) => Kernel][] = [
    ['WebAssembly in single precision', Float32Array, (made) => wasm('single', made)],
    ['WebAssembly in double precision', Float64Array, (made) => wasm('double', made)],
    ['the interpreter', Float64Array, interpret],
  ]
  for (const [name, type, kernelOf] of targets) {
    test(`${name} > results are exact`, () => {
      for (let i = 0; i < 100; i++) {
        const made = randomFormula()
        check(kernelOf(made), made, type, i < 20 ? pick(lengths) : random.integer(40))
      }
    })
    test(`${name} > lengths around those of a vector and a chunk > results are exact`, () => {
      for (const length of lengths) {
        const made = randomFormula()
        check(kernelOf(made), made, type, length)
      }
    })
  }
})

describe('precision of expressions', () => {
  // (2^24 + x) - 2^24 is 0 in single precision for x = 1, and 1 in double precision.
  const lost = formula({
    y: array('x').add(scalar('big')).sub(scalar('big')),
  })
  const run = (evaluation: typeof evaluateOne, x: Float32Array | Float64Array, y: Float32Array | Float64Array) => {
    evaluation(lost, { x, y }, { big: 2 ** 24 })
    return y[0]
  }
  afterEach(() => vi.unstubAllGlobals())

  test('every array is float32 > single precision; one is float64 > double precision', () => {
    const [single, double] = [Float32Array.of(1), Float64Array.of(1)]
    expect(run(evaluateOne, single, new Float32Array(1))).toBe(0)
    expect(run(evaluateOne, double, new Float64Array(1))).toBe(1)
    expect(run(evaluateOne, single, new Float64Array(1))).toBe(1)
    expect(run(evaluateOne, double, new Float32Array(1))).toBe(1)
    // A float64 input keeps its precision up to the float32 result.
    expect(run(evaluateOne, Float64Array.of(1 + 2 ** -30), new Float32Array(1))).toBe(1)
    const narrow = Float32Array.of(0)
    evaluateOne(formula({ y: array('x').mul(array('x')) }), { x: Float64Array.of(1 + 2 ** -13), y: narrow })
    expect(narrow[0]).toBe(Math.fround((1 + 2 ** -13) ** 2))
  })

  // Vitest can load the sources again; Node loads the compiled modules once.
  const source = (file: string) => new URL(`../../../src/optim/${file}`, import.meta.url).pathname
  const refusals: [string, unknown][] = [
    ['there is no WebAssembly', undefined],
    [
      'a content security policy refuses it',
      {
        Module: class {
          constructor() {
            throw new Error('Refused to compile or instantiate WebAssembly module')
          }
        },
      },
    ],
  ]
  for (const [name, stub] of refusals)
    test(`${name} > double precision`, async () => {
      vi.resetModules()
      vi.stubGlobal('WebAssembly', stub)
      const fresh: typeof import('../../../src/optim/expr/evaluate.js') = await import(source('expr/evaluate.ts'))
      expect(run(fresh.evaluateOne, Float32Array.of(1), new Float32Array(1))).toBe(1)
      const { select }: typeof import('../../../src/optim/ire/radix-select.js') = await import(
        source('ire/radix-select.ts')
      )
      const [values, ranked] = [[Float32Array.of(3, -5, 0, 4)], { total: 4, isSingle: true }]
      expect(countAlone(select(values, 2, 'magnitude', ranked))).toEqual({ cut: 4, flat: 3, zero: 1 })
      expect(countAlone(select(values, 4, 'value', ranked))).toEqual({ cut: -5, flat: 1, zero: 1 })
    })
})

test('expression with more arrays than fit in memory at once > is computed in smaller chunks', () => {
  const names = Array.from({ length: 60 }, (_, i) => `x${i}`)
  const made = formula({ product: names.map(array).reduce((a, b) => a.mul(b)) })
  const arrays = Object.fromEntries([...names, 'product'].map((name) => [name, new Float32Array(5000).fill(1.25)]))
  const wanted = names.slice(1).reduce((product) => Math.fround(product * 1.25), 1.25)
  evaluateOne(made, arrays)
  expect(new Set(arrays['product'])).toEqual(new Set([wanted]))
})
