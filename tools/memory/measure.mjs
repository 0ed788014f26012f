import { openSync, readFileSync, readSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { adamw, crossEntropy, ire, sam, sgd, Trainer } from 'onnx-ire'
import { checkpointFolder, node, readModel } from 'onnx-ire/node'
import { inspectModel } from '../../dist/analysis/inspect/inspect.js'
import { estimateRun, totalBytes } from '../../dist/analysis/inspect/run-memory.js'

/**
 * Trains a problem of tools/bench for a few steps and reports the peak of its own process:
 * `measure.mjs FOLDER BATCH VARIANT c-api|worker train|estimate`. It is JavaScript, because a loader of TypeScript
 * would be part of the peak.
 */
const [folder, batch, kind, thread, action] = process.argv.slice(2)
const problem = JSON.parse(readFileSync(join(folder, 'problem.json'), 'utf8'))
const size = Number(batch)
const base = adamw({ lr: 1e-3 })
const flat = { kappa: 2, gamma: 0.8, interval: 2 }
/** What the variants of a run change: the optimizer, and options of the trainer. */
const variants = {
  'adamw-ire': { optimizer: ire(base, flat) },
  sgd: { optimizer: sgd({ lr: 1e-3, momentum: 0.9 }) },
  'sam-ire': { optimizer: ire(sam(base, { rho: 0.05 }), flat) },
  hutchinson: { optimizer: ire(base, { ...flat, curvature: 'hutchinson' }) },
  'hutchinson-quarter': { optimizer: ire(base, { ...flat, curvature: 'hutchinson' }), curvatureShare: 0.25 },
  quarter: { optimizer: ire(base, flat), curvatureShare: 0.25 },
  'averages-best': { optimizer: ire(base, flat), ema: 0.9, best: {} },
}
const options = {
  loss: crossEntropy({ axis: problem.classAxis }),
  ...variants[kind],
  batchNorm: 'trained',
  batchSize: size,
}
const [first, second] = problem.batches.map((tensors) =>
  Object.fromEntries(
    Object.entries(tensors).map(([name, { dtype, dims, offset }]) => [
      name,
      { dtype, dims: [size, ...dims.slice(1)], offset },
    ]),
  ),
)

process.send(action === 'estimate' ? await estimate() : await train())
process.disconnect()

async function estimate() {
  const model = await readModel(join(folder, 'model.onnx'))
  const shapes = Object.fromEntries(Object.entries(first).map(([name, { dims }]) => [name, dims]))
  const inputs = Object.fromEntries(
    inspectModel(model).inputs.flatMap(({ name }) => (shapes[name] ? [[name, shapes[name]]] : [])),
  )
  const { run } = inspectModel(model, { shapes: inputs }).cost.memory
  const memory = estimateRun(model, options, shapes)
  return { total: totalBytes(memory), causes: memory, inspect: run && totalBytes(run) }
}

async function train() {
  const file = openSync(join(folder, 'tensors.bin'))
  const read = ({ dtype, dims, offset }) => {
    const length = dims.reduce((a, b) => a * b, 1)
    const data = dtype === 'int64' ? new BigInt64Array(length) : new Float32Array(length)
    readSync(file, new Uint8Array(data.buffer), 0, data.byteLength, offset)
    return { dtype, dims, data }
  }
  const batches = [first, second].map((tensors) =>
    Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, read(tensor)])),
  )
  let next = 0
  const data = { length: size, batch: () => batches[next++ % 2] }
  const runtime = node(thread === 'c-api' ? {} : { worker: true })
  const trainer = await Trainer.create(await readModel(join(folder, 'model.onnx')), { ...options, runtime })
  await trainer.evaluate(data)
  const checkpoints = join(folder, 'checkpoints')
  const started = performance.now()
  let steps = 0
  await trainer.train(data, {
    totalSteps: 1000,
    // Best weights need evaluations.
    ...(options.best ? { validation: data, evaluateEvery: 2 } : { evaluateEvery: 1e9 }),
    checkpoints: { store: checkpointFolder(checkpoints, { keep: 1 }), everySteps: 2 },
    // Small models leave garbage behind for many steps until it is collected.
    onStep: () => (++steps >= 4 && performance.now() - started > 8000 ? 'stop' : undefined),
  })
  await trainer.dispose()
  await runtime.dispose()
  rmSync(checkpoints, { recursive: true })
  const [, kilobytes] = /^VmHWM:\s*(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))
  return { peak: Number(kilobytes) * 1024, steps }
}
