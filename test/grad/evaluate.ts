import * as ort from 'onnxruntime-node'
import { parameter } from '../../src/ir/leaf.js'
import { tensor } from '../../src/ir/tensor.js'
import type { Value } from '../../src/ir/value.js'
import { exportGraph } from '../../src/onnx/export/export-graph.js'
import { encode } from '../../src/onnx/proto/encode.js'

/** A 1-D float32 tensor that may be differentiated and carries its elements. */
export const vector = (name: string, ...elements: readonly number[]): Value =>
  parameter(name, tensor('float32', [elements.length], Float32Array.from(elements)))

/** The elements of values that depend on no input, computed by onnxruntime. */
export async function evaluate(...values: readonly Value[]): Promise<number[][]> {
  const outputs = new Map(values.map((value, i) => [`y${i}`, value]))
  const bytes = encode('ModelProto', exportGraph({ name: 'evaluate', inputs: new Map(), outputs }))
  const session = await ort.InferenceSession.create(bytes, { logSeverityLevel: 3, intraOpNumThreads: 1 })
  const results = await session.run({})
  await session.release()
  return [...outputs.keys()].map((name) => Array.from(results[name]!.data as ArrayLike<number | bigint>, Number))
}
