import { describe, expect, test, vi } from 'vitest'
import { allocateIn, createWasmMemory } from '../../../src/ir/wasm-memory.js'
import { evaluate, evaluateOne } from '../../../src/optim/expr/evaluate.js'
import { array, formula, scalar } from '../../../src/optim/expr/expr.js'
import { sumOfSquares } from '../../../src/optim/expr/interpreter.js'
import type { TensorArrays } from '../../../src/optim/expr/pieces.js'
import { squaresFormula } from '../../../src/optim/gradient-norm.js'
import { Random } from '../../../src/util/random.js'

const random = new Random(5)
const draw = (length: number, type: typeof Float32Array | typeof Float64Array) =>
  random.fill(new type(length), 'normal')

/** theta <- theta + k n m / (sqrt(v) + 1e-3), m <- m + g; n is bytes. */
const [theta, g, m, v, n] = [array('theta'), array('g'), array('m'), array('v'), array('n')]
const moved = formula({
  theta: theta.add(n.mul(scalar('k')).mul(m).div(v.mul(v).sqrt().add(1e-3))),
  m: m.add(g),
})

const columnsOf = (lengths: readonly number[], typeAt: (i: number) => typeof Float32Array | typeof Float64Array) => {
  const column = () => lengths.map((length, i) => draw(length, typeAt(i)))
  const bytes = lengths.map((length) => Uint8Array.from({ length }, () => random.integer(2)))
  return { theta: column(), g: column(), m: column(), v: column(), n: bytes }
}

/** Columns with the bytes of each array as text, which is quicker to compare than elements. */
const asText = (columns: Readonly<Record<string, readonly ArrayBufferView[]>>) =>
  Object.entries(columns).map(([name, column]) => [
    name,
    column.map((array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString('latin1')),
  ])

describe('expressions over several tensors at once', () => {
  const sizes: [string, readonly number[]][] = [
    ['of one element', Array.from({ length: 5000 }, () => 1)],
    ['of all small lengths', Array.from({ length: 400 }, (_, i) => i)],
    ['large ones between small ones', Array.from({ length: 40 }, (_, i) => (i % 3 === 0 ? 5000 : i))],
    ['that fill a chunk exactly', Array.from({ length: 64 }, () => 128)],
    ['none', []],
  ]
  const types: [string, (i: number) => typeof Float32Array | typeof Float64Array][] = [
    ['float32', () => Float32Array],
    ['both precisions', (i) => (i % 4 === 1 ? Float64Array : Float32Array)],
  ]
  for (const [size, lengths] of sizes)
    for (const [kind, typeAt] of types)
      test(`${size}, ${kind} > results equal those per tensor bit for bit`, () => {
        const columns = columnsOf(lengths, typeAt)
        const alone = structuredClone(columns)
        evaluate(moved, columns, { k: 0.3 })
        for (const i of lengths.keys())
          evaluateOne(moved, Object.fromEntries(Object.entries(alone).map(([name, column]) => [name, column[i]!])), {
            k: 0.3,
          })
        expect(asText(columns)).toEqual(asText(alone))
      })

  test('counts > are summed over all tensors', () => {
    const lengths = Array.from({ length: 300 }, (_, i) => i)
    const F = lengths.map((length) => draw(length, Float32Array))
    const columns: TensorArrays = { F, n: lengths.map((length) => new Uint8Array(length)) }
    const flat = array('F').atMost(scalar('cut'))
    const counted = evaluate(formula({ n: flat }, { flat }), columns, { cut: 0.25 })
    const wanted = F.flatMap((array) => [...array]).filter((x) => x <= 0.25).length
    expect(counted).toEqual({ flat: wanted })
    expect(columns['n']!.flatMap((array) => [...array]).filter((x) => x === 1).length).toBe(wanted)
  })
})

describe('arrays in the memory of a trainer', () => {
  const memory = createWasmMemory()!
  /** A copy in the memory, in front of bytes of 7. */
  const move = (array: Float32Array | Float64Array | Uint8Array) => {
    const { buffer, offset } = allocateIn(memory, array.byteLength + 64)!
    const bytes = new Uint8Array(buffer, offset, array.byteLength + 64)
    bytes.set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength))
    bytes.fill(7, array.byteLength)
    const create = array.constructor as Float32ArrayConstructor
    return { array: new create(buffer, offset, array.length), behind: bytes.subarray(array.byteLength) }
  }
  const lengths = [193, 8192, 70_001]

  test.each<[string, readonly string[]]>([
    ['all', []],
    ['all but the gradients', ['g']],
    ['all but bytes and a result', ['n', 'm']],
    ['one that is only read', ['theta', 'g', 'm', 'n']],
  ])('%s > results equal those elsewhere bit for bit', (_, outside) => {
    for (const typeAt of [() => Float32Array, (i: number) => (i === 1 ? Float64Array : Float32Array)]) {
      const columns = columnsOf(lengths, typeAt)
      const alone = structuredClone(columns)
      const behind: Uint8Array[] = []
      const moveAll = (column: readonly (Float32Array | Float64Array | Uint8Array)[]) =>
        column.map((array) => {
          const copy = move(array)
          behind.push(copy.behind)
          return copy.array
        })
      const mixed = Object.fromEntries(
        Object.entries(columns).map(([name, column]) => [name, outside.includes(name) ? column : moveAll(column)]),
      )
      evaluate(moved, mixed, { k: 0.3 })
      evaluate(moved, alone, { k: 0.3 })
      expect(asText(mixed)).toEqual(asText(alone))
      expect(behind.length).toBe((5 - outside.length) * lengths.length)
      expect(behind.every((bytes) => bytes.every((byte) => byte === 7))).toBe(true)
    }
  })

  test('only arrays outside of it are copied', () => {
    const g = draw(8192, Float32Array) as Float32Array
    const x = move(draw(8192, Float32Array)).array
    const set = vi.spyOn(Float32Array.prototype, 'set')
    try {
      evaluateOne(formula({ x: array('x').add(array('g')) }), { x, g })
      expect(set.mock.calls.map(([source]) => source.length)).toEqual([4096, 4096])
    } finally {
      set.mockRestore()
    }
  })
})

test('sum of squares > few elements > equals the kernel bit for bit', () => {
  for (let length = 0; length < 300; length++) {
    const x = draw(length, Float32Array) as Float32Array
    expect(sumOfSquares(x, length), `${length}`).toBe(evaluateOne(squaresFormula, { g: x })['squares'])
  }
})
