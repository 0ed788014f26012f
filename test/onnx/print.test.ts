import { describe, expect, it } from 'vitest'
import { constant, input, int64s, parameter, scalar, tensorFrom } from '../../src/ir/leaf.js'
import { unknownDim } from '../../src/ir/shape.js'
import type { Body, Graph, Value } from '../../src/ir/value.js'
import { printGraph } from '../../src/onnx/print.js'
import { op } from '../../src/op/op.js'

const graphOf = (
  name: string,
  inputs: readonly Value[],
  outputs: Record<string, Value>,
  parameters: readonly Value[] = [],
): Graph => ({
  name,
  inputs: new Map(inputs.map((value) => [value.name!, value])),
  parameters: new Map(parameters.map((value) => [value.name!, value])),
  outputs: new Map(Object.entries(outputs)),
})

describe('printGraph', () => {
  it('a graph > prints inputs, parameters, nodes and outputs', () => {
    const x = input('x', 'float32', ['N', 3])
    const w = parameter('w', tensorFrom('float32', [2, 3], [1, 2, 3, 4, 5, 6]))
    const b = parameter('b', tensorFrom('float32', [2], [0, 0]))
    const y = op.Tanh(op.Gemm(x, w, b, { transB: 1 }))
    expect(printGraph(graphOf('layer', [x], { y }, [w, b]))).toBe(
      [
        'layer (float32[N, 3] x) => (float32[N, 2] y)',
        '<float32[2, 3] w, float32[2] b>',
        '{',
        '  v1 = Gemm <transB = 1> (x, w, b)',
        '  y = Tanh (v1)',
        '}',
        '',
      ].join('\n'),
    )
  })

  it('constants > prints small ones at their uses, large ones by type', () => {
    const x = input('x', 'float32', [40, 2])
    const large = constant(tensorFrom('float32', [40, 2], Array<number>(80).fill(1)))
    const sliced = op.Slice(op.Add(op.Mul(x, 1e-5), large), [0, 0], [2 ** 63, 1], [0, 1])
    expect(printGraph(graphOf('g', [x], { y: sliced }))).toBe(
      [
        'g (float32[40, 2] x) => (float32[40, 1] y)',
        '<float32[40, 2] c1>',
        '{',
        '  v1 = Mul (x, float32 {0.00001})',
        '  v2 = Add (v1, c1)',
        '  y = Slice (v2, int64[2] {0, 0}, int64[2] {9223372036854775807, 1}, int64[2] {0, 1})',
        '}',
        '',
      ].join('\n'),
    )
  })

  it('unknown lengths > are numbered in order of appearance, so equal graphs have equal text', () => {
    const build = () => {
      const x = input('x', 'float32', [unknownDim(), 3])
      const positions = op.NonZero(x)
      return printGraph(graphOf('g', [x], { positions, n: op.Add(op.Shape(positions, { start: 1 }), int64s([1])) }))
    }
    const text = build()
    expect(text).toMatch(/^g \(float32\[\?1, 3\] x\) => \(int64\[2, \?2\] positions, int64\[1\] n\)$/m)
    expect(build()).toBe(text)
  })

  it('an output that is an input, or is listed twice > is printed as Identity', () => {
    const x = input('x', 'float32', [])
    const y = op.Neg(x)
    expect(printGraph(graphOf('g', [x], { x1: x, a: y, b: y }))).toBe(
      [
        'g (float32 x) => (float32 x1, float32 a, float32 b)',
        '{',
        '  a = Neg (x)',
        '  x1 = Identity (x)',
        '  b = Identity (a)',
        '}',
        '',
      ].join('\n'),
    )
  })

  it('an absent operand or unused result > is printed as _', () => {
    const x = input('x', 'float32', [6])
    const [, second] = op.Split(x, [1, 2, 3])
    const padded = op.Pad(second!, [1, 1], null, [0])
    expect(printGraph(graphOf('g', [x], { padded }))).toContain(
      ['  _, v1 = Split (x, int64[3] {1, 2, 3})', '  padded = Pad (v1, int64[2] {1, 1}, _, int64[1] {0})'].join('\n'),
    )
  })

  it('names with spaces or brackets > are quoted', () => {
    const x = input('my input', 'float32', [])
    expect(printGraph(graphOf('g', [x], { 'a,b': op.Neg(x) }))).toContain('"a,b" = Neg ("my input")')
  })

  it('long lists > have one item per line', () => {
    const xs = Array.from({ length: 12 }, (_, i) => input(`input_number_${i}`, 'float32', [1]))
    const text = printGraph(graphOf('g', xs, { y: op.Concat(xs, { axis: 0 }) }))
    expect(text.startsWith('g (\n  float32[1] input_number_0,\n')).toBe(true)
    expect(text).toContain('\n) => (float32[12] y)\n{\n')
  })

  it('bodies of control flow > are printed in their node', () => {
    const x = input('x', 'float32', [2])
    const branch = (value: (x: Value) => Value): Body => {
      const scope = { outer: undefined }
      const y = value(x)
      if (y.source.kind === 'node') Object.assign(y.source, { scope })
      return { kind: 'body', scope, inputs: [], outputs: [y] }
    }
    const [y] = [
      op.If(scalar('bool', 1), { then_branch: branch((x) => op.Neg(x)), else_branch: branch((x) => op.Add(x, 1)) }),
    ].flat()
    expect(printGraph(graphOf('g', [x], { y: y! }))).toBe(
      [
        'g (float32[2] x) => (float32[2] y)',
        '{',
        '  y = If <then_branch = () => (v1) {',
        '    v1 = Neg (x)',
        '  }, else_branch = () => (v2) {',
        '    v2 = Add (x, float32 {1})',
        '  }> (bool {1})',
        '}',
        '',
      ].join('\n'),
    )
  })
})
