import { onnx } from 'onnx-proto'
import * as ort from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import { encode } from '../../../src/onnx/encode.js'
import { exportGraph } from '../../../src/onnx/export.js'
import { importGraph } from '../../../src/onnx/import.js'
import { decodeModel } from '../../../src/onnx/model.js'

interface Old {
  readonly operator: 'Resize' | 'Upsample'
  readonly version: number
  readonly mode: 'nearest' | 'linear'
  readonly scales: readonly number[]
}

const dims = [1, 2, 5, 4]
const float = onnx.TensorProto.DataType.FLOAT

/** A model of operator set `version` with one node: x resized by `scales`, an attribute until version 9. */
function oldModel({ operator, version, mode, scales }: Old): Uint8Array {
  const asAttribute = version < 9
  const attribute = [
    { name: 'mode', type: onnx.AttributeProto.AttributeType.STRING, s: new TextEncoder().encode(mode) },
    ...(asAttribute ? [{ name: 'scales', type: onnx.AttributeProto.AttributeType.FLOATS, floats: [...scales] }] : []),
  ]
  const info = (name: string, shape: readonly number[]) => ({
    name,
    type: { tensorType: { elemType: float, shape: { dim: shape.map((dimValue) => ({ dimValue })) } } },
  })
  const graph = {
    name: 'old',
    node: [{ opType: operator, input: asAttribute ? ['x'] : ['x', 'scales'], output: ['y'], attribute }],
    initializer: asAttribute
      ? []
      : [{ name: 'scales', dataType: float, dims: [scales.length], floatData: [...scales] }],
    input: [info('x', dims)],
    output: [
      info(
        'y',
        dims.map((length, axis) => Math.floor(length * scales[axis]!)),
      ),
    ],
  }
  return onnx.ModelProto.encode(
    onnx.ModelProto.create({ irVersion: 4, opsetImport: [{ domain: '', version }], graph }),
  ).finish()
}

async function run(bytes: Uint8Array) {
  const session = await ort.InferenceSession.create(bytes, { logSeverityLevel: 3 })
  const x = Float32Array.from({ length: 40 }, (_, i) => Math.sin(3 * i))
  const { y } = await session.run({ x: new ort.Tensor('float32', x, dims) })
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
  it.each(cases)('$operator-$version, $mode, $scales', async (old) => {
    const bytes = oldModel(old)
    const graph = importGraph(decodeModel(bytes))
    const imported = encode('ModelProto', exportGraph({ name: 'new', inputs: graph.inputs, outputs: graph.outputs }))
    const [expected, actual] = [await run(bytes), await run(imported)]
    expect(actual.dims).toEqual(expected.dims)
    for (const [i, value] of actual.data.entries()) expect(value).toBeCloseTo(expected.data[i]!, 5)
  })
})
