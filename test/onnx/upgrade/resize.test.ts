import { onnx } from 'onnx-proto'
import * as ort from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import { exportGraph } from '../../../src/onnx/export/export-graph.js'
import { importGraph } from '../../../src/onnx/import/import-graph.js'
import { decodeModel } from '../../../src/onnx/model.js'
import { encode } from '../../../src/onnx/proto/encode.js'

interface Old {
  readonly operator: 'Resize' | 'Upsample'
  readonly version: number
  readonly mode: 'nearest' | 'linear'
  readonly scales: readonly number[]
  /** The scales are an input of the graph. */
  readonly fed?: boolean
  /** From version 11 on. */
  readonly nearest_mode?: string
  /** The lengths that the scales lead to are given in their place, from version 11 on. */
  readonly sized?: boolean
  /** The graph declares no lengths. */
  readonly symbolic?: boolean
}

const dims = [1, 2, 5, 4]
const float = onnx.TensorProto.DataType.FLOAT

const lengths = (scales: readonly number[]) =>
  dims.map((length, axis) => Math.floor(Math.fround(length * scales[axis]!)))

/** A model of operator set `version` with one node: x resized by `scales`, an attribute until version 9. */
function oldModel({ operator, version, mode, scales, fed, nearest_mode, sized, symbolic }: Old): Uint8Array {
  const asAttribute = version < 9
  const text = (name: string, value: string) => ({
    name,
    type: onnx.AttributeProto.AttributeType.STRING,
    s: new TextEncoder().encode(value),
  })
  const attribute = [
    text('mode', mode),
    ...(nearest_mode === undefined
      ? []
      : [text('coordinate_transformation_mode', 'tf_half_pixel_for_nn'), text('nearest_mode', nearest_mode)]),
    ...(asAttribute ? [{ name: 'scales', type: onnx.AttributeProto.AttributeType.FLOATS, floats: [...scales] }] : []),
  ]
  const info = (name: string, shape: readonly number[], named: boolean | undefined) => ({
    name,
    type: {
      tensorType: {
        elemType: float,
        shape: { dim: shape.map((dimValue, axis) => (named ? { dimParam: `${name}${axis}` } : { dimValue })) },
      },
    },
  })
  const by = sized
    ? {
        name: 'by',
        dataType: onnx.TensorProto.DataType.INT64,
        dims: [4],
        rawData: new Uint8Array(BigInt64Array.from(lengths(scales), BigInt).buffer),
      }
    : { name: 'by', dataType: float, dims: [4], floatData: [...scales] }
  const none = version < 13 ? [{ name: 'none', dataType: float, dims: [0] }] : []
  const absent = version < 13 ? 'none' : ''
  const inputs = asAttribute
    ? ['x']
    : version < 11
      ? ['x', 'by']
      : sized
        ? ['x', absent, absent, 'by']
        : ['x', absent, 'by']
  const graph = {
    name: 'old',
    node: [{ opType: operator, input: inputs, output: ['y'], attribute }],
    initializer: [...(asAttribute || fed ? [] : [by]), ...(version < 11 ? [] : none)],
    input: [info('x', dims, symbolic), ...(fed ? [info('by', [4], false)] : [])],
    output: [info('y', lengths(scales), symbolic || fed)],
  }
  return onnx.ModelProto.encode(
    onnx.ModelProto.create({ irVersion: 4, opsetImport: [{ domain: '', version }], graph }),
  ).finish()
}

async function run(bytes: Uint8Array, scales?: readonly number[]) {
  const session = await ort.InferenceSession.create(bytes, { logSeverityLevel: 3 })
  const x = Float32Array.from({ length: 40 }, (_, i) => Math.sin(3 * i))
  const by = scales ? { by: new ort.Tensor('float32', Float32Array.from(scales), [4]) } : {}
  const { y } = await session.run({ x: new ort.Tensor('float32', x, dims), ...by })
  return { dims: y!.dims, data: Array.from(y!.data as Float32Array) }
}

describe('old forms of Resize compute the same when imported', () => {
  const larger = [1, 1, 2, 3]
  const smaller = [1, 1, 0.4, 0.75]
  const forms = [
    { operator: 'Upsample', version: 7 },
    { operator: 'Upsample', version: 9 },
    { operator: 'Resize', version: 10 },
  ] as const
  const cases: Old[] = forms.flatMap((form) =>
    (['nearest', 'linear'] as const).flatMap((mode) =>
      (form.operator === 'Resize' ? [larger, [1, 1, 1.7, 2.5], smaller] : [larger, [1, 1, 1.7, 2.5]]).map((scales) => ({
        ...form,
        mode,
        scales,
      })),
    ),
  )
  const mixed: Old[] = [
    [1, 1, 0.4, 1.75],
    [1, 1, 2, 0.75],
    [1, 2.5, 0.6, 1.5],
  ].flatMap((scales) => [false, true].map((fed) => ({ operator: 'Resize', version: 10, mode: 'nearest', scales, fed })))
  // 3 samples of 4 elements: one is at 2. 3 samples of 5 elements: one is at 2.5 up to rounding.
  const halfPixel: Old[] = ['floor', 'ceil', 'round_prefer_floor', 'round_prefer_ceil'].flatMap((nearest_mode) =>
    [
      [1, 1, 2, 3],
      [1, 1, 1.2, 0.75],
      [1, 2, 0.6, 2.5],
      [1, 1, 1.1, 0.5],
      [1, 1, 1, 1.2],
    ].flatMap((scales) => [
      { operator: 'Resize' as const, version: 11, mode: 'nearest' as const, scales, nearest_mode },
      { operator: 'Resize' as const, version: 12, mode: 'nearest' as const, scales, nearest_mode, symbolic: true },
      { operator: 'Resize' as const, version: 11, mode: 'nearest' as const, scales, nearest_mode, sized: true },
      {
        operator: 'Resize' as const,
        version: 11,
        mode: 'nearest' as const,
        scales,
        nearest_mode,
        sized: true,
        symbolic: true,
      },
    ]),
  )
  halfPixel.push({ operator: 'Resize', version: 13, mode: 'nearest', scales: smaller, nearest_mode: 'floor' })
  it.each([...cases, ...mixed])('$operator-$version, $mode, $scales, fed: $fed', compareWithImported)
  it.each(halfPixel)(
    '$operator-$version, tf_half_pixel_for_nn, $nearest_mode, $scales, sizes: $sized, symbolic: $symbolic',
    compareWithImported,
  )

  it('tf_half_pixel_for_nn > mode linear > throws unsupported-operator', () => {
    const bytes = oldModel({ operator: 'Resize', version: 11, mode: 'linear', scales: larger, nearest_mode: 'floor' })
    expect(() => importGraph(decodeModel(bytes))).toThrow(
      expect.objectContaining({ code: 'unsupported-operator', message: expect.stringMatching(/tf_half_pixel_for_nn/) }),
    )
  })
})

async function compareWithImported(old: Old): Promise<void> {
  const bytes = oldModel(old)
  const graph = importGraph(decodeModel(bytes))
  const imported = encode('ModelProto', exportGraph({ name: 'new', inputs: graph.inputs, outputs: graph.outputs }))
  const scales = old.fed ? old.scales : undefined
  const [expected, actual] = [await run(bytes, scales), await run(imported, scales)]
  expect(actual.dims).toEqual(expected.dims)
  if (old.mode === 'nearest') expect(actual.data).toEqual(expected.data)
  else for (const [i, value] of actual.data.entries()) expect(value).toBeCloseTo(expected.data[i]!, 5)
}
