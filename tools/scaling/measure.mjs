import { readFileSync } from 'node:fs'
import { adamw, crossEntropy, encodeModel, inspectModel, Trainer } from 'onnx-ire'
import { Random } from 'onnx-ire/data'
import { buildTrainingGraphs, importGraph, input, modelOf, op, parameter, tensor } from 'onnx-ire/graph'
import { llama, mlp, resnet, vit } from 'onnx-ire/models'
import { node } from 'onnx-ire/node'

/**
 * Measures one point in a process of its own: `measure.mjs step|graph|peak JSON`. It is JavaScript, because a
 * loader of TypeScript would be part of the peak of memory.
 */
const architectures = { llama, mlp, resnet, vit }
const [kind, json] = process.argv.slice(2)
const measurements = { step, graph, peak }
process.send(await measurements[kind](JSON.parse(json)))
process.disconnect()

/** Least milliseconds of a step with AdamW, peak memory in bytes, and operations of the gradients of an example. */
async function step({ model: name, options, batch }) {
  const model = modelOf(architectures[name](options))
  const [{ name: inputName, shape }] = inspectModel(model).inputs
  const dims = [batch, ...shape.slice(1)]
  const size = dims.reduce((a, b) => a * b, 1)
  const { cost, training } = inspectModel(model, { shapes: { [inputName]: dims } })
  const random = new Random(1)
  const tokens = name === 'llama'
  const x = tokens
    ? {
        dtype: 'int64',
        dims,
        data: BigInt64Array.from({ length: size }, (_, i) => BigInt((i * 7919) % options.vocabulary)),
      }
    : { dtype: 'float32', dims, data: random.fill(new Float32Array(size), 'normal') }
  const labelDims = tokens ? dims : [batch]
  const labels = {
    dtype: 'int64',
    dims: labelDims,
    data: BigInt64Array.from({ length: tokens ? size : batch }, (_, i) => BigInt(i % 10)),
  }
  const runtime = node()
  const trainer = await Trainer.create(model, {
    loss: crossEntropy(tokens ? { axis: -1 } : {}),
    optimizer: adamw({ lr: 1e-4 }),
    batchSize: batch,
    batchNorm: 'trained',
    runtime,
  })
  const times = []
  let last = performance.now()
  const begun = last
  await trainer.train(
    { length: batch, batch: () => ({ [inputName]: x, labels }) },
    {
      totalSteps: 1000,
      evaluateEvery: 1e9,
      onStep: () => {
        times.push(performance.now() - last)
        last = performance.now()
        return times.length >= 6 && last - begun > 4000 ? 'stop' : undefined
      },
    },
  )
  await trainer.dispose()
  await runtime.dispose()
  return {
    milliseconds: Math.min(...times.slice(2)),
    peak: peakMemory(),
    parameters: training.elements,
    flops: cost.training?.flops ?? null,
  }
}

/** Nodes, and seconds of the processor for building the training graph of a deep perceptron. */
async function graph({ layers }) {
  const build = (count) => {
    const x = input('x', 'float32', ['N', 4])
    let y = x
    const parameters = new Map()
    for (let i = 0; i < count; i++) {
      const weight = parameter(`w${i}`, tensor('float32', [4, 4], new Float32Array(16)))
      parameters.set(`w${i}`, weight)
      y = op.Relu(op.MatMul(y, weight))
    }
    return modelOf({ name: 'deep', inputs: new Map([['x', x]]), parameters, outputs: new Map([['logits', y]]) })
  }
  buildTrainingGraphs(importGraph(build(100)), { loss: crossEntropy() })
  const model = build(layers)
  const start = process.cpuUsage()
  buildTrainingGraphs(importGraph(model), { loss: crossEntropy() })
  const { user, system } = process.cpuUsage(start)
  return { nodes: 2 * layers, seconds: (user + system) / 1e6 }
}

/** Operations per second of the fastest large matrix product, and bytes per second of a large addition: what the machine has. */
async function peak() {
  const runtime = node()
  const rate = async (build, dims, work) => {
    const a = input('a', 'float32', dims)
    const b = input('b', 'float32', dims)
    const y = build(a, b)
    const inputs = new Map([
      ['a', a],
      ['b', b],
    ])
    const spec = { name: 'peak', inputs, parameters: new Map(), outputs: new Map([['y', y]]) }
    const program = await runtime.compile(encodeModel(modelOf(spec)))
    const size = dims[0] * dims[1]
    const feeds = Object.fromEntries(
      ['a', 'b'].map((name) => [name, { dtype: 'float32', dims, data: new Float32Array(size).fill(0.5) }]),
    )
    const times = []
    for (let i = 0; i < 30; i++) {
      const start = performance.now()
      await program.run(feeds)
      times.push((performance.now() - start) / 1000)
    }
    await program.release()
    return work / Math.min(...times)
  }
  // One product reduced to a sum, so that the copy of the result does not count.
  let flops = 0
  for (const n of [512, 1024, 2048])
    flops = Math.max(flops, await rate((a, b) => op.ReduceSum(op.MatMul(a, b)), [n, n], 2 * n ** 3))
  await runtime.dispose()
  const [from, to] = [new Float64Array(2 ** 24), new Float64Array(2 ** 24)]
  const times = Array.from({ length: 12 }, () => {
    const start = performance.now()
    to.set(from)
    return (performance.now() - start) / 1000
  })
  return { flops, bytes: (2 * from.byteLength) / Math.min(...times) }
}

function peakMemory() {
  const [, kilobytes] = /^VmHWM:\s*(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))
  return Number(kilobytes) * 1024
}
