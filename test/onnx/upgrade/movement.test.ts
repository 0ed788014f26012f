import * as ort from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import { exportGraph } from '../../../src/onnx/export/export-graph.js'
import { importGraph } from '../../../src/onnx/import/import-graph.js'
import { decodeModel } from '../../../src/onnx/model.js'
import { encode } from '../../../src/onnx/proto/encode.js'
import { create } from '../../../src/onnx/proto/message.js'
import { type AttributeProto, attributeTypes, type ModelProto } from '../../../src/onnx/proto/schema.js'

interface Old {
  readonly operator: string
  readonly version: number
  readonly dims: readonly number[]
  /** Further inputs: int64 initializers, or floats where marked. */
  readonly tensors?: readonly {
    readonly dims: readonly number[]
    readonly values: readonly number[]
    readonly float?: boolean
  }[]
  readonly attributes?: Readonly<Record<string, number | string | readonly number[]>>
  readonly outputs?: number
}

function attribute(name: string, value: number | string | readonly number[]): AttributeProto {
  if (typeof value === 'string')
    return create('AttributeProto', { name, type: attributeTypes.string, s: new TextEncoder().encode(value) })
  if (typeof value !== 'number')
    return create('AttributeProto', { name, type: attributeTypes.ints, ints: value.map(BigInt) })
  if (Number.isInteger(value)) return create('AttributeProto', { name, type: attributeTypes.int, i: BigInt(value) })
  return create('AttributeProto', { name, type: attributeTypes.float, f: value })
}

/** A model of one node of an old operator set. */
function modelOf({ operator, version, dims, tensors = [], attributes = {}, outputs = 1 }: Old): ModelProto {
  const names = Array.from({ length: outputs }, (_, i) => `y${i}`)
  const info = (name: string, shape?: readonly number[]) =>
    create('ValueInfoProto', {
      name,
      type: create('TypeProto', {
        tensorType: create('TensorType', {
          elemType: 1,
          shape:
            shape &&
            create('TensorShapeProto', { dim: shape.map((dim) => create('Dimension', { dimValue: BigInt(dim) })) }),
        }),
      }),
    })
  return create('ModelProto', {
    irVersion: 4n,
    opsetImport: [create('OperatorSetIdProto', { version: BigInt(version) })],
    graph: create('GraphProto', {
      name: 'old',
      node: [
        create('NodeProto', {
          opType: operator,
          input: ['x', ...tensors.map((_, i) => `t${i}`)],
          output: names,
          attribute: Object.entries(attributes).map(([name, value]) => attribute(name, value)),
        }),
      ],
      initializer: tensors.map(({ dims, values, float }, i) =>
        create('TensorProto', {
          name: `t${i}`,
          dims: dims.map(BigInt),
          dataType: float ? 1 : 7,
          ...(float ? { floatData: Float32Array.from(values) } : { int64Data: BigInt64Array.from(values, BigInt) }),
        }),
      ),
      input: [info('x', dims)],
      output: names.map((name) => info(name)),
    }),
  })
}

async function run(model: ModelProto, dims: readonly number[]): Promise<{ dims: readonly number[]; data: number[] }[]> {
  const session = await ort.InferenceSession.create(encode('ModelProto', model), {
    logSeverityLevel: 4,
    intraOpNumThreads: 1,
  })
  const length = dims.reduce((a, b) => a * b, 1)
  const x = new ort.Tensor(
    'float32',
    Float32Array.from({ length }, (_, i) => i + 1),
    dims,
  )
  const results = await session.run({ x })
  await session.release()
  return session.outputNames.map((name) => ({
    dims: results[name]!.dims,
    data: Array.from(results[name]!.data as Float32Array),
  }))
}

const int64 = (...values: readonly number[]) => ({ dims: [values.length], values })

const olds: readonly Old[] = [
  { operator: 'Reshape', version: 4, dims: [2, 6], attributes: { shape: [0, 3, -1] } },
  { operator: 'Squeeze', version: 11, dims: [1, 3, 1], attributes: { axes: [0, -1] } },
  { operator: 'Squeeze', version: 7, dims: [1, 3, 1] },
  { operator: 'Unsqueeze', version: 11, dims: [3], attributes: { axes: [0, 2] } },
  { operator: 'Slice', version: 9, dims: [4, 5], attributes: { starts: [1, -3], ends: [2147483647, -1] } },
  { operator: 'Slice', version: 7, dims: [4, 5], attributes: { starts: [1], ends: [3], axes: [1] } },
  { operator: 'Pad', version: 10, dims: [2, 3], attributes: { pads: [1, 0, 0, 2], value: 1.5 } },
  { operator: 'Pad', version: 7, dims: [3, 3], attributes: { pads: [1, 2, 2, 1], mode: 'reflect' } },
  { operator: 'Split', version: 12, dims: [2, 6], attributes: { axis: 1, split: [1, 2, 3] }, outputs: 3 },
  { operator: 'Split', version: 11, dims: [6, 2], outputs: 3 },
  { operator: 'Split', version: 13, dims: [2, 6], attributes: { axis: -1 }, outputs: 2 },
  { operator: 'Split', version: 13, dims: [2, 6], attributes: { axis: -1 }, tensors: [int64(2, 4)], outputs: 2 },
  { operator: 'Tile', version: 6, dims: [2, 3], tensors: [int64(2, 1)] },
  {
    operator: 'Scatter',
    version: 9,
    dims: [3, 2],
    attributes: { axis: 1 },
    tensors: [
      { dims: [2, 1], values: [1, 0] },
      { dims: [2, 1], values: [7, 8], float: true },
    ],
  },
]

describe('old forms > imported > compute the same', () => {
  it.each(olds)('$operator of operator set $version $attributes', async (old) => {
    const model = modelOf(old)
    const graph = importGraph(decodeModel(encode('ModelProto', model)))
    const modern = exportGraph({ name: 'modern', inputs: graph.inputs, outputs: graph.outputs })
    expect(modern.opsetImport[0]!.version).toBeGreaterThanOrEqual(13n)
    expect(await run(modern, old.dims)).toEqual(await run(model, old.dims))
  })

  it('Concat of operator set 1 joins along axis 1', () => {
    const graph = importGraph(
      decodeModel(encode('ModelProto', modelOf({ operator: 'Concat', version: 1, dims: [2, 3] }))),
    )
    expect(graph.outputs.get('y0')).toMatchObject({ shape: [2, 3], source: { attributes: { axis: 1 } } })
  })

  it('Pad of operator set 1 calls its pads paddings', () => {
    const old: Old = { operator: 'Pad', version: 1, dims: [2, 3], attributes: { paddings: [0, 1, 0, 1] } }
    expect(importGraph(decodeModel(encode('ModelProto', modelOf(old)))).outputs.get('y0')!.shape).toEqual([2, 5])
  })

  it('Tile of operator set 1 repeats along one axis', async () => {
    const old: Old = {
      operator: 'Tile',
      version: 1,
      dims: [2, 3],
      tensors: [
        { dims: [], values: [2] },
        { dims: [], values: [1] },
      ],
    }
    const graph = importGraph(decodeModel(encode('ModelProto', modelOf(old))))
    const [y] = await run(exportGraph({ name: 'modern', inputs: graph.inputs, outputs: graph.outputs }), old.dims)
    expect(y).toEqual({ dims: [2, 6], data: [1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6] })
  })
})
