import { describe, expect, it } from 'vitest'
import { gradients, gradientsWithin } from '../../src/grad/gradient.js'
import { loopRule } from '../../src/grad/rules/control/loop.js'
import { body } from '../../src/ir/body.js'
import { constant, input, int64s, parameter, scalar, tensorFrom } from '../../src/ir/leaf.js'
import { bodiesOf, capturesOf, topological } from '../../src/ir/topology.js'
import type { Node, Value } from '../../src/ir/value.js'
import { op } from '../../src/op/op.js'
import { evaluate, vector } from './evaluate.js'

const flag = (value: boolean) => constant(tensorFrom('bool', [], [Number(value)]))
/** A number that inference cannot determine: it is known only when the graph runs. */
const dynamic = (value: number): Value => op.Cast(parameter('count', tensorFrom('float32', [], [value])), { to: 7 })
const round = () => [input('i', 'int64', []), input('again', 'bool', [])]
const seed = (y: Value) => [y, op.Expand(scalar(y.dtype, 1), op.Shape(y))] as const
const nodesOf = (values: readonly (Value | null)[]): Node[] => topological(values.filter((value) => value !== null))

/** s <- s * w, `m` times or until the product exceeds `limit`. */
function powers(s: Value, w: Value, m: Value, limit = Number.POSITIVE_INFINITY): Value {
  const state = input('s', 'float32', s.shape)
  return op.Loop(m, flag(true), [s], {
    body: body([...round(), state], (_, again, state) => {
      const next = op.Mul(state!, w)
      const further = op.Less(op.ReduceMax(next, null, { keepdims: 0 }), limit)
      return [op.And(again!, further), next]
    }),
  })[0]!
}

describe('Loop', () => {
  const [s, w] = [vector('s', 3), vector('w', 2)]

  it('n iterations > gradient is d(s w^n) = w^n ds + n s w^(n-1) dw', async () => {
    const y = powers(s, w, dynamic(5))
    const [ds, dw] = gradients([seed(y)], [s, w])
    expect(await evaluate(ds!, dw!)).toEqual([[32], [5 * 3 * 16]])
  })

  it('condition that ends the loop early > gradient counts the executed iterations', async () => {
    // 3, 6, 12, 24, 48: four rounds.
    const y = powers(s, w, dynamic(100), 30)
    const [ds, dw] = gradients([seed(y)], [s, w])
    expect(await evaluate(y, ds!, dw!)).toEqual([[48], [16], [4 * 3 * 8]])
  })

  it('zero iterations > passes gradients through', async () => {
    const y = powers(s, w, dynamic(0))
    const [ds, dw] = gradients([seed(y)], [s, w])
    expect(await evaluate(ds!, dw!)).toEqual([[1], [0]])
  })

  it('second derivative > is d2(s w^n)/dw2 = n (n-1) s w^(n-2)', async () => {
    const y = powers(s, w, dynamic(4))
    const [dw] = gradients([seed(y)], [w])
    const [second, mixed] = gradients([seed(dw!)], [w, s])
    expect(await evaluate(second!, mixed!)).toEqual([[4 * 3 * 3 * 4], [4 * 8]])
  })

  it('stored states > are only those that the gradient reads', () => {
    const x = input('x', 'float32', ['N'])
    const [a, b] = [input('a', 'float32', ['N']), input('b', 'int64', [])]
    const y = op.Loop(dynamic(7), null, [x, scalar('int64', 0)], {
      body: body([...round(), a, b], (_, again, a, b) => [again!, op.Mul(a!, x), op.Add(b!, 1)]),
    })[0]!
    const loops = nodesOf(gradients([[y, x]], [x])).filter(({ operator }) => operator === 'Loop')
    // Two states, and the first one of every round.
    expect(loops.map(({ outputs }) => outputs.length).toSorted()).toEqual([2, 3])
  })

  it('invariant work > is moved out of the loop', () => {
    const x = input('x', 'float32', [2, 'N'])
    const m = parameter('m', tensorFrom('float32', [2, 2], [1, 2, 3, 4]))
    const state = input('s', 'float32', [2, 'N'])
    const y = op.Loop(dynamic(7), null, [x], {
      body: body([...round(), state], (_, again, s) => [again!, op.MatMul(op.Transpose(m, { perm: [1, 0] }), s!)]),
    })[0]!
    const nodes = nodesOf(gradients([[y, x]], [x]))
    const inside = nodes.flatMap((node) =>
      bodiesOf(node).flatMap(({ outputs, scope }) => topological(outputs, (n) => n.scope === scope)),
    )
    expect(inside.some(({ operator }) => operator === 'Transpose')).toBe(false)
    expect(nodes.some(({ operator }) => operator === 'Transpose')).toBe(true)
  })

  it('state that changes its shape > is rejected with its name and both shapes', () => {
    const x = input('x', 'float32', [1, 3])
    const state = input('grown', 'float32', undefined)
    const y = op.Loop(dynamic(3), null, [x], {
      body: body([...round(), state], (_, again, s) => [again!, op.Concat([s!, x], { axis: 0 })]),
    })[0]!
    expect(() => gradients([seed(y)], [x])).toThrow(
      expect.objectContaining({
        code: 'not-differentiable',
        message: expect.stringMatching(/Loop.*state 0 \('grown'\) goes from \[1, 3\] to \[2, 3\] in one iteration/s),
      }),
    )
  })

  it('random node in the body > is rejected', () => {
    const x = input('x', 'float32', [3])
    const state = input('s', 'float32', [3])
    const y = op.Loop(dynamic(3), null, [x], {
      body: body([...round(), state], (_, again, s) => [again!, op.Mul(s!, op.RandomNormalLike(s!))]),
    })[0]!
    expect(() => gradients([seed(y)], [x])).toThrow(
      expect.objectContaining({ code: 'not-differentiable', message: expect.stringContaining('RandomNormalLike') }),
    )
  })

  it('operators in the body without a gradient > are listed', () => {
    const x = input('x', 'float32', [3])
    const state = input('s', 'float32', [3])
    const y = op.Loop(dynamic(3), null, [x], {
      body: body([...round(), state], (_, again, s) => [again!, op.Einsum([s!], { equation: 'i->i' })]),
    })[0]!
    expect(() =>
      gradientsWithin([seed(y)], [x], () => true, { rules: {}, expansions: {}, control: { Loop: loopRule } }),
    ).toThrow(
      expect.objectContaining({
        message: expect.stringMatching(
          /^an operator between.*Loop.*: composed of\n {4}Einsum \(inputs float32\[3\]\): .*\nTrain only[^\n]*$/s,
        ),
      }),
    )
  })
})

describe('If', () => {
  it('value that the selected branch does not read > gets zeros of its shape', async () => {
    const [a, b] = [vector('a', 1, 2), vector('b', 3, 4, 5)]
    const branch = (cond: boolean) => {
      const y = op.If(op.Less(dynamic(Number(cond)), 1), {
        then_branch: body([], () => [op.ReduceSum(b, int64s([0]), { keepdims: 0 })]),
        else_branch: body([], () => [op.ReduceSum(op.Mul(a, a), int64s([0]), { keepdims: 0 })]),
      })[0]!
      const [da, db] = gradients([seed(y)], [a, b])
      return evaluate(da!, db!)
    }
    expect(await branch(true)).toEqual([
      [2, 4],
      [0, 0, 0],
    ])
    expect(await branch(false)).toEqual([
      [0, 0],
      [1, 1, 1],
    ])
  })

  it('inside a Loop > reads the state of the iteration', async () => {
    // Doubled while below 10, then 1 is taken: 3, 6, 12, 11, 10, 9, 18.
    const s = vector('s', 3)
    const state = input('s', 'float32', [1])
    const y = op.Loop(dynamic(6), null, [s], {
      body: body([...round(), state], (_, again, s) => [
        again!,
        op.If(op.Squeeze(op.Less(s!, 10), [0]), {
          then_branch: body([], () => [op.Mul(s!, 2)]),
          else_branch: body([], () => [op.Sub(s!, 1)]),
        })[0]!,
      ]),
    })[0]!
    const [ds] = gradients([seed(y)], [s])
    expect(await evaluate(y, ds!)).toEqual([[18], [8]])
  })

  it('branches > are differentiated only with respect to the requested values', () => {
    const [a, b] = [input('a', 'float32', [2]), input('b', 'float32', [2])]
    const y = op.If(input('cond', 'bool', []), {
      then_branch: body([], () => [op.Mul(a, b)]),
      else_branch: body([], () => [op.Add(a, b)]),
    })[0]!
    const [da] = gradients([seed(y)], [a])
    const node = da!.source as Node
    expect(node.operator).toBe('If')
    expect(node.outputs.length).toBe(1)
    // The gradient of a b with respect to a needs b alone.
    expect(capturesOf(node)).not.toContain(a)
  })

  it('branch that cannot have been selected > contributes zeros', async () => {
    const x = vector('x', 1, 2)
    const y = op.If(op.Equal(op.Size(op.Shape(x)), dynamic(2)), {
      // Of three axes, whereas the gradient that comes in has one.
      then_branch: body([], () => [op.Unsqueeze(x, [0, 1])]),
      else_branch: body([], () => [op.Mul(x, x)]),
    })[0]!
    const [dx] = gradients([[y, vector('dy', 1, 1)]], [x])
    expect(await evaluate(dx!)).toEqual([[2, 4]])
  })
})
