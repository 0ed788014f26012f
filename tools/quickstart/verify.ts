import type { TypedArray } from 'onnx-ire/graph'
import { readHeldOutDigits } from './digits.js'

/**
 * Counts the digits that a model classifies correctly, in plain onnxruntime: `verify.ts MODEL COUNT`, JSON on stdout.
 */
process.env['ORT_DISABLE_TELEMETRY'] ??= '1'
const { InferenceSession, Tensor } = await import('onnxruntime-node')
const [file, count] = [process.argv[2]!, Number(process.argv[3])]
const data = await readHeldOutDigits(count)
const session = await InferenceSession.create(file)
let correct = 0
for (let from = 0; from < count; from += 100) {
  const indices = Array.from({ length: Math.min(100, count - from) }, (_, i) => from + i)
  const { x, labels } = await data.batch(indices)
  const results = await session.run({
    [session.inputNames[0]!]: new Tensor('float32', x!.data as Float32Array, x!.dims),
  })
  const scores = results[session.outputNames[0]!]!
  const classes = scores.dims[1]!
  for (const [i, label] of (labels!.data as BigInt64Array).entries()) {
    const row = Array.from((scores.data as TypedArray).slice(i * classes, (i + 1) * classes), Number)
    if (row.indexOf(Math.max(...row)) === Number(label)) correct++
  }
}
console.log(JSON.stringify({ correct, accuracy: correct / count }))
