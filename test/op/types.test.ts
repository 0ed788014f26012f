import { describe, expect, expectTypeOf, it } from 'vitest'
import type { Rule, Rules, WithoutGradient } from '../../src/grad/rule.js'
import { input } from '../../src/ir/leaf.js'
import type { Value } from '../../src/ir/value.js'
import { define, float, int, ints, string, zero } from '../../src/op/define.js'
import { op } from '../../src/op/op.js'

/*
 * The compiler checks this file (`npm run check`): every `@ts-expect-error` is an error if the line below it compiles.
 * Functions that only show what does not compile are never called.
 */

const x = input('x', 'float32', [2, 3])
const w = input('w', 'float32', [3, 4])
const image = input('image', 'float32', [1, 3, 8, 8])
const kernel = input('kernel', 'float32', [4, 3, 3, 3])

const rejected = (..._: readonly (() => unknown)[]): void => {}

describe('operator functions > operands', () => {
  it('accept values, numbers, lists of numbers, and null or nothing for optional operands', () => {
    expectTypeOf(op.Gemm(x, w)).toEqualTypeOf<Value>()
    expectTypeOf(op.Gemm(x, w, null)).toEqualTypeOf<Value>()
    expectTypeOf(op.Gemm(x, w, null, { transB: 0 })).toEqualTypeOf<Value>()
    expectTypeOf(op.Clip(x, null, 6)).toEqualTypeOf<Value>()
    expectTypeOf(op.Reshape(x, [3, 2])).toEqualTypeOf<Value>()
    expectTypeOf(op.Concat([x, x], { axis: 0 })).toEqualTypeOf<Value>()
    expectTypeOf(op.Conv(image, kernel, null, { pads: [1, 1, 1, 1] })).toEqualTypeOf<Value>()
    expect(op.Gemm(x, w, null).shape).toEqual([2, 4])
  })

  it('reject too few', () => {
    rejected(
      // @ts-expect-error: Gemm requires a and b
      () => op.Gemm(x),
      // @ts-expect-error: Add requires two operands
      () => op.Add(x),
      // @ts-expect-error: an attribute object is not an operand
      () => op.Conv(image, { group: 1 }),
    )
  })

  it('reject too many', () => {
    rejected(
      // @ts-expect-error: Relu has one operand
      () => op.Relu(x, x),
      // @ts-expect-error: Gemm has three operands
      () => op.Gemm(x, w, x, x),
    )
  })

  it('reject null for a required operand', () => {
    rejected(
      // @ts-expect-error: b is required
      () => op.MatMul(x, null),
      // @ts-expect-error: x is required
      () => op.Clip(null, 0, 6),
    )
  })

  it('reject undefined for an optional operand', () => {
    rejected(
      // @ts-expect-error: an absent operand is null
      () => op.Clip(x, undefined, 6),
    )
  })

  it('reject variadic operands outside of an array', () => {
    rejected(
      // @ts-expect-error: Concat takes one array
      () => op.Concat(x, x, { axis: 0 }),
    )
  })

  it('200,000 variadic operands > the result has their shape', () => {
    for (const combine of [op.Sum, op.Mean, op.Max])
      expect(combine(Array<Value>(200_000).fill(x)).shape).toEqual([2, 3])
  })

  it('reject strings and tensors', () => {
    rejected(
      // @ts-expect-error: a name is not an operand
      () => op.Relu('x'),
      // @ts-expect-error: a typed array is not an operand
      () => op.Add(x, { dtype: 'float32', dims: [], data: new Float32Array(1) }),
    )
  })
})

describe('operator functions > attributes', () => {
  it('reject an unknown name', () => {
    rejected(
      // @ts-expect-error: Gather has no attribute axes
      () => op.Gather(x, [0], { axes: 1 }),
      // @ts-expect-error: Relu has no attributes
      () => op.Relu(x, { alpha: 1 }),
      // @ts-expect-error: the attribute is called kernel_shape
      () => op.MaxPool(image, { kernelShape: [2, 2] }),
    )
  })

  it('reject a missing required attribute', () => {
    rejected(
      // @ts-expect-error: Concat requires axis
      () => op.Concat([x, x]),
      // @ts-expect-error: Concat requires axis
      () => op.Concat([x, x], {}),
      // @ts-expect-error: Cast requires to
      () => op.Cast(x),
      // @ts-expect-error: MaxPool requires kernel_shape
      () => op.MaxPool(image, { strides: [2, 2] }),
    )
  })

  it('reject a value of another type', () => {
    rejected(
      // @ts-expect-error: axis is a number
      () => op.Gather(x, [0], { axis: '1' }),
      // @ts-expect-error: pads is a list of numbers
      () => op.Conv(image, kernel, null, { pads: 1 }),
      // @ts-expect-error: equation is a text
      () => op.Einsum([x, w], { equation: ['ij,jk->ik'] }),
      // @ts-expect-error: transB is a number
      () => op.Gemm(x, w, null, { transB: true }),
    )
  })
})

describe('operator functions > results', () => {
  it('is one value for one output, and a tuple for several', () => {
    expectTypeOf(op.MaxPool(image, { kernel_shape: [2, 2] })).toEqualTypeOf<readonly [Value, Value]>()
    rejected(
      // @ts-expect-error: two outputs are not one value
      () => op.Relu(op.MaxPool(image, { kernel_shape: [2, 2] })),
      () => {
        // @ts-expect-error: MaxPool has no third output
        const [, , third] = op.MaxPool(image, { kernel_shape: [2, 2] })
        return third
      },
    )
  })

  it('an unknown operator > does not compile', () => {
    rejected(
      // @ts-expect-error: there is no operator Convolution
      () => op.Convolution(image, kernel),
    )
  })
})

const type = { dtype: 'float32', shape: [] } as const
const family = {
  Scale: define({
    inputs: ['x', 'by?'],
    attributes: { alpha: float(1), axis: int.required },
    since: 1,
    flops: undefined,
    infer: () => type,
  }),
  Halves: define({ inputs: ['x'], outputs: ['low', 'high'], since: 1, flops: undefined, infer: () => [type, type] }),
  Size: define({ inputs: ['x'], since: 1, gradient: zero('integers'), flops: undefined, infer: () => type }),
}

describe('number of outputs > returns one value for one output, a tuple for several', () => {
  it('receives one entry per input, and the attributes with their defaults filled in', () => {
    define({
      inputs: ['x', 'b?', '...rest'],
      attributes: { alpha: float(1), mode: string.optional, perm: ints.required },
      since: 1,
      flops: ([x, b, ...rest], [y], { alpha }) => {
        expectTypeOf([x, b, rest] as const).toEqualTypeOf<readonly [Value, Value | null, Value[]]>()
        expectTypeOf(y).toEqualTypeOf<Value | undefined>()
        return alpha
      },
      infer: ({ inputs, attributes }) => {
        expectTypeOf(inputs).toEqualTypeOf<readonly [Value, Value | null, ...(readonly Value[])]>()
        expectTypeOf(attributes.alpha).toEqualTypeOf<number>()
        expectTypeOf(attributes.mode).toEqualTypeOf<string | undefined>()
        expectTypeOf(attributes.perm).toEqualTypeOf<readonly number[]>()
        // @ts-expect-error: an attribute that is not declared
        void attributes.beta
        return type
      },
    })
  })

  it('rejects a definition without infer, flops or since', () => {
    rejected(
      // @ts-expect-error: infer is required
      () => define({ inputs: ['x'], flops: undefined, since: 1 }),
      // @ts-expect-error: flops is required
      () => define({ inputs: ['x'], since: 1, infer: () => type }),
      // @ts-expect-error: since is required
      () => define({ inputs: ['x'], flops: undefined, infer: () => type }),
    )
  })
})

describe('define > facts', () => {
  it('name inputs without the suffixes of optional and variadic ones', () => {
    define({
      inputs: ['x', 'b?', '...rest'],
      since: 1,
      weights: ['b'],
      hostInputs: ['rest'],
      filterAxes: { b: () => [0] },
      flops: undefined,
      infer: () => type,
    })
  })

  it('reject an input that the operator lacks', () => {
    rejected(
      // @ts-expect-error: no input w
      () => define({ inputs: ['x', 'b?'], since: 1, weights: ['w'], flops: undefined, infer: () => type }),
      // @ts-expect-error: the input is called b
      () => define({ inputs: ['x', 'b?'], since: 1, hostInputs: ['b?'], flops: undefined, infer: () => type }),
      () =>
        // @ts-expect-error: no input w
        define({ inputs: ['x'], since: 1, filterAxes: { w: () => [0] }, flops: undefined, infer: () => type }),
    )
  })
})

describe('gradient rules > types', () => {
  it('return one gradient per input, null for none', () => {
    const rule: Rule<typeof family.Scale> = ([x, by], dy, { y, attributes }) => {
      expectTypeOf(x).toEqualTypeOf<Value>()
      expectTypeOf(by).toEqualTypeOf<Value | null>()
      expectTypeOf(dy).toEqualTypeOf<Value>()
      expectTypeOf(y).toEqualTypeOf<Value>()
      expectTypeOf(attributes.axis).toEqualTypeOf<number>()
      return [dy, null]
    }
    expect(rule).toBeTypeOf('function')
    // @ts-expect-error: one gradient for two inputs
    const tooFew: Rule<typeof family.Scale> = (_, dy) => [dy]
    // @ts-expect-error: two gradients for one input
    const tooMany: Rule<typeof family.Halves> = (_, [low, high]) => [low, high]
    expect([tooFew, tooMany]).toHaveLength(2)
  })

  it('receive null for an output without a gradient', () => {
    const rule: Rule<typeof family.Halves> = (_, dy) => {
      expectTypeOf(dy).toEqualTypeOf<readonly [Value | null, Value | null]>()
      return [dy[0]]
    }
    expect(rule).toBeTypeOf('function')
    rejected(
      (): Rule<typeof family.Halves> =>
        (_, [low]) => [
          // @ts-expect-error: low may be null
          op.Neg(low),
        ],
    )
  })

  it('reject an operator that the family lacks', () => {
    rejected(
      () =>
        ({
          // @ts-expect-error: no operator Scales
          Scales: () => [null, null],
        }) satisfies Rules<typeof family>,
    )
  })

  it('are required for every operator without a reason for lacking one', () => {
    expectTypeOf<WithoutGradient<typeof family, 'Scale'>>().toEqualTypeOf<'Halves'>()
    expectTypeOf<WithoutGradient<typeof family, 'Scale' | 'Halves'>>().toEqualTypeOf<never>()
  })
})
