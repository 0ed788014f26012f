import { body } from '../../../src/ir/body.js'
import { constant, input, int64s, scalar, tensorFrom } from '../../../src/ir/leaf.js'
import type { Shape } from '../../../src/ir/shape.js'
import type { Value } from '../../../src/ir/value.js'
import type { control } from '../../../src/op/definitions/control.js'
import { op } from '../../../src/op/op.js'
import { type Cases, type Operand, shape } from './case.js'

const flag = (value: 0 | 1): Operand => ({ shape: [], dtype: 'bool', values: [value] })
const rounds = (count: number): Operand => ({ shape: [], dtype: 'int64', values: [count] })
const like = (x: Value, name: string, shape: Shape | undefined = x.shape) => input(name, x.dtype, shape)
const yes = constant(tensorFrom('bool', [], [1]))

/** A loop whose body maps (round, ...states) to (...states, ...slices). */
const loop = (
  m: Value | null,
  initial: readonly Value[],
  build: (i: Value, ...states: Value[]) => readonly Value[],
  again?: (i: Value, ...results: Value[]) => Value,
) => {
  const states = initial.map((x, i) => like(x, `state${i}`))
  const round = [input('i', 'int64', []), input('again', 'bool', [])]
  return op.Loop(m, again ? yes : null, initial, {
    body: body([...round, ...states], (i, go, ...states) => {
      const results = build(i!, ...states)
      return [again ? again(i!, ...results) : go!, ...results]
    }),
  })
}

const scan = (
  initial: readonly Value[],
  scanned: readonly Value[],
  build: (...x: Value[]) => readonly Value[],
  options: {
    scan_input_axes?: number[]
    scan_input_directions?: number[]
    scan_output_axes?: number[]
    scan_output_directions?: number[]
  } = {},
) => {
  const slices = scanned.map((x, i) => {
    const axis = options.scan_input_axes?.[i] ?? 0
    return like(x, `slice${i}`, x.shape?.toSpliced(axis < 0 ? axis + x.shape.length : axis, 1))
  })
  return op.Scan([...initial, ...scanned], {
    body: body([...initial.map((x, i) => like(x, `state${i}`)), ...slices], build),
    num_scan_inputs: scanned.length,
    ...options,
  })
}

const decay = (s: Value, x: Value, w: Value) => op.Tanh(op.Add(op.Mul(s, w), x))

export const controlCases = {
  If: [
    ...([1, 0] as const).map((taken) => ({
      name: `If, ${taken ? 'then' : 'else'}`,
      operands: [shape(2, 3), shape(2, 3), flag(taken)],
      build: (a: Value, b: Value, cond: Value) =>
        op.If(cond, {
          then_branch: body([], () => [op.Mul(a, a), op.Mul(op.Exp(b), a)]),
          else_branch: body([], () => [op.Sin(b), b]),
        }),
    })),
    {
      name: 'If in If, with a value of the outer branch',
      operands: [shape(3), shape(3), flag(1), flag(0)],
      build: (a, b, outer, inner) =>
        op.If(outer, {
          then_branch: body([], () => {
            const c = op.Mul(a, b)
            return [
              op.If(inner, {
                then_branch: body([], () => [op.Exp(c)]),
                else_branch: body([], () => [op.Mul(c, op.Mul(c, a))]),
              })[0]!,
            ]
          }),
          else_branch: body([], () => [op.Neg(a)]),
        }),
    },
    {
      name: 'If that gives results of different lengths',
      operands: [shape(4), flag(1)],
      build: (a, cond) => {
        const [part] = op.If(cond, {
          then_branch: body([], () => [op.Slice(op.Mul(a, a), [1], [3])]),
          else_branch: body([], () => [a]),
        })
        return op.ReduceSum(part!, [0])
      },
    },
  ],
  Loop: [
    {
      name: 'Loop of few rounds, written out',
      operands: [shape(2, 3), shape(3)],
      build: (x, w) => loop(scalar('int64', 3), [x], (_, s) => [decay(s, x, w), op.Mul(s, w)]),
    },
    {
      name: 'Loop whose state grows, written out',
      operands: [shape(1, 2)],
      build: (x) => loop(scalar('int64', 2), [x], (_, s) => [op.Concat([s, op.Mul(s, s)], { axis: 0 })]),
    },
    {
      name: 'Loop of many rounds',
      operands: [
        { shape: [2], range: [0.3, 0.9] },
        { shape: [2], range: [0.3, 0.9] },
      ],
      build: (x, w) => loop(scalar('int64', 6), [x], (_, s) => [decay(s, x, w)]),
    },
    {
      name: 'Loop of as many rounds as the data says',
      operands: [shape(2, 3), shape(3), rounds(4)],
      build: (x, w, m) => loop(m, [x, w], (_, s, v) => [decay(s, x, v), op.Sin(op.Mul(v, w)), op.Mul(s, v)]),
    },
    {
      name: 'Loop of no round',
      operands: [shape(2, 3), shape(3), rounds(0)],
      build: (x, w, m) => loop(m, [x], (_, s) => [decay(s, x, w)]),
    },
    {
      name: 'Loop that its condition ends',
      operands: [{ shape: [2], range: [1, 1.4] }, { shape: [2], range: [0.4, 0.6] }, rounds(30)],
      build: (x, w, m) =>
        loop(
          m,
          [x],
          (_, s) => [op.Mul(op.Add(s, x), w), op.Mul(s, s)],
          (i) => op.Less(i, scalar('int64', 2)),
        ),
    },
    {
      name: 'Loop without a bound',
      operands: [shape(2)],
      build: (x) =>
        loop(
          null,
          [x],
          (_, s) => [op.Mul(op.Sin(s), x)],
          (i) => op.Less(i, scalar('int64', 2)),
        ),
    },
    {
      name: 'Loop that computes with its condition',
      operands: [shape(2), shape(2), rounds(3)],
      build: (x, w, m) => {
        const state = like(x, 'state')
        return op.Loop(m, yes, [x], {
          body: body([input('i', 'int64', []), input('again', 'bool', []), state], (_, again, s) => [
            op.Or(again!, op.Not(again!)),
            op.Where(op.And(again!, op.Greater(s!, 0)), op.Mul(s!, w), op.Sin(s!)),
          ]),
        })
      },
    },
    {
      name: 'Loop over rows of a captured tensor, by number of the round',
      operands: [shape(4, 3), rounds(3)],
      build: (x, m) =>
        loop(m, [op.Gather(x, scalar('int64', 3))], (i, s) => [op.Mul(s, op.Gather(x, i)), op.Exp(op.Gather(x, i))]),
    },
    {
      name: 'Loop that stacks only',
      operands: [shape(4, 3), rounds(3)],
      build: (x, m) => loop(m, [], (i) => [op.Sin(op.Gather(x, i))]),
    },
    {
      name: 'Loop in Loop',
      operands: [shape(2), shape(2), rounds(3), rounds(2)],
      build: (x, w, m, n) => loop(m, [x], (_, s) => [op.Mul(loop(n, [s], (_, r) => [decay(r, s, w)])[0]!, x)]),
    },
    {
      name: 'If in Loop, by the round and by a state that is no number to differentiate',
      operands: [shape(2), shape(2), rounds(4), rounds(0)],
      build: (x, w, m, zero) =>
        loop(m, [x, zero], (i, s, count) => [
          op.If(op.Equal(op.Mod(i, 2), count), {
            then_branch: body([], () => [op.Mul(s, w)]),
            else_branch: body([], () => [op.Sin(s)]),
          })[0]!,
          op.Sub(1, count),
        ]),
    },
  ],
  Scan: [
    {
      name: 'Scan of few slices, written out',
      operands: [shape(2), shape(3, 2), shape(2)],
      build: (s, x, w) => scan([s], [x], (s, x) => [decay(s!, x!, w), op.Mul(s!, x!)]),
    },
    {
      name: 'Scan of one slice',
      operands: [shape(2), shape(1, 2)],
      build: (s, x) => scan([s], [x], (s, x) => [op.Mul(s!, x!), op.Sin(op.Mul(s!, x!))]),
    },
    {
      name: 'Scan of few slices backwards, along other axes',
      operands: [shape(2), shape(2, 3), shape(4, 3)],
      build: (s, x, z) =>
        scan([s], [x, z], (s, x, z) => [op.Mul(op.Sin(s!), x!), op.Mul(s!, x!), op.Mul(z!, z!)], {
          scan_input_axes: [1, -1],
          scan_input_directions: [1, 0],
          scan_output_axes: [1, 0],
          scan_output_directions: [0, 1],
        }),
    },
    {
      name: 'Scan of many slices',
      operands: [
        { shape: [2], range: [0.3, 0.9] },
        { shape: [6, 2], range: [0.3, 0.9] },
        { shape: [2], range: [0.3, 0.9] },
      ],
      build: (s, x, w) => scan([s], [x], (s, x) => [decay(s!, x!, w), op.Mul(s!, x!)]),
    },
    {
      name: 'Scan of many slices backwards, along other axes',
      operands: [
        { shape: [2], range: [0.3, 0.9] },
        { shape: [2, 6], range: [0.3, 0.9] },
        { shape: [3, 6], range: [0.3, 0.9] },
      ],
      build: (s, x, z) =>
        scan([s], [x, z], (s, x, z) => [op.Mul(op.Sin(s!), x!), op.Mul(s!, x!), op.Mul(z!, z!)], {
          scan_input_axes: [1, -1],
          scan_input_directions: [1, 0],
          scan_output_axes: [1, 0],
          scan_output_directions: [0, 1],
        }),
    },
    {
      name: 'Scan without states',
      operands: [shape(6, 2), shape(2)],
      build: (x, w) => scan([], [x], (x) => [op.Mul(op.Exp(x!), w)]),
    },
    {
      name: 'Scan whose last state alone is used, products of matrices in every round',
      operands: [shape(2, 3), { shape: [6, 2, 3], range: [-0.3, 0.3] }, { shape: [3, 3], range: [-0.5, 0.5] }],
      build: (s, x, w) => scan([s], [x], (s, x) => [op.Tanh(op.Add(op.MatMul(s!, w), x!))])[0]!,
    },
    {
      name: 'Scan of a tensor that is captured too',
      operands: [shape(2), { shape: [6, 2], range: [0.3, 0.6] }],
      build: (s, x) =>
        scan([s], [x], (s, z) => [op.Mul(op.Add(s!, z!), op.ReduceMean(x, int64s([0]), { keepdims: 0 }))]),
    },
  ],
} satisfies Cases<typeof control>
