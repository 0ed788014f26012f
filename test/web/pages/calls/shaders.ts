import { gradients } from '../../../../src/grad/gradient.js'
import { isFloat } from '../../../../src/ir/dtype.js'
import { input } from '../../../../src/ir/leaf.js'
import { sizeOf, type Tensors } from '../../../../src/ir/tensor.js'
import type { Value } from '../../../../src/ir/value.js'
import { compileGraph } from '../../../../src/lowering/compile.js'
import type { GraphSpec } from '../../../../src/onnx/export/export-graph.js'
import { op } from '../../../../src/op/op.js'
import { sgd } from '../../../../src/optim/sgd.js'
import type { Runtime } from '../../../../src/runtime/runtime.js'
import { allExpansions } from '../../../../src/shader/all-expansions.js'
import { shaderProgram } from '../../../../src/shader/program.js'
import { OnnxIreError } from '../../../../src/util/errors.js'
import { Random } from '../../../../src/util/random.js'
import { wasm, webgpu } from '../../../../src/web/index.js'
import { KernelCache } from '../../../../src/web/webgpu-backend/kernel-cache.js'
import { LoadedShaders } from '../../../../src/web/webgpu-backend/loaded-shaders.js'
import type { Case } from '../../../grad/cases/case.js'
import { cases } from '../../../grad/cases/index.js'
import { graphOf } from '../../../grad/directional.js'
import { type Array64, draw } from '../../../grad/draw.js'
import { shaderGraphs } from '../../../shader/graphs.js'
import { lossesOf, type ShaderModel } from '../../../shader/models.js'

let gpu: Promise<GPUDevice> | undefined
const onGpu = () => {
  gpu ??= (async () => (await navigator.gpu.requestAdapter())!.requestDevice())()
  return gpu
}
let cpu: Promise<Runtime> | undefined
const onCpu = () => {
  cpu ??= wasm({ threads: 1 })
  return cpu
}

/** The largest difference of shaders to onnxruntime on the CPU, in parts of the largest element of an output. */
async function difference(spec: GraphSpec, feeds: Tensors): Promise<number> {
  const device = await onGpu()
  const dims = Object.fromEntries(Object.entries(feeds).map(([name, tensor]) => [name, tensor.dims]))
  device.pushErrorScope('validation')
  const shaders = await LoadedShaders.load(
    device,
    KernelCache.of(device),
    shaderProgram(spec, dims, allExpansions),
    () => false,
  )
  // Twice: arrays that share memory must not keep anything.
  await shaders.run(feeds)
  const { host } = await shaders.run(feeds)
  shaders.release()
  const error = await device.popErrorScope()
  if (error) throw new Error(error.message)
  const program = await compileGraph(await onCpu(), spec)
  const expected = await program.run(Object.fromEntries(program.inputNames.map((name) => [name, feeds[name]!])))
  await program.release()
  let worst = 0
  for (const [name, { data, dims, dtype }] of Object.entries(expected)) {
    const found = host[name]!
    if (found.dtype !== dtype || `${found.dims}` !== `${dims}`)
      throw new Error(`${name}: ${found.dtype} [${found.dims}]`)
    const scale = (data as Float32Array).reduce((most, x) => Math.max(most, Math.abs(Number(x))), 1e-2)
    for (let i = 0; i < sizeOf(dims); i++) {
      const error = Math.abs(Number(data[i]) - Number(found.data[i])) / scale
      worst = Number.isNaN(error) ? Infinity : Math.max(worst, error)
    }
  }
  return worst
}

const feed = ({ dtype, dims, data }: Array64) => ({
  dtype,
  dims,
  data:
    dtype === 'float32'
      ? Float32Array.from(data)
      : dtype === 'int64'
        ? BigInt64Array.from(data, (x) => BigInt(x))
        : dtype === 'bool'
          ? Uint8Array.from(data)
          : Int32Array.from(data),
})

/** A case's results and gradients; undefined if a shape depends on the data. */
function graphOfCase({ name, operands, build }: Case): { spec: GraphSpec; feeds: Tensors } | undefined {
  const random = new Random(7).stream(name)
  const drawn = operands.map((operand) => draw(operand, 'float32', random))
  const x = drawn.map(({ dtype, dims }, i) => input(`x${i}`, dtype, dims))
  const built = build(...x)
  const y = ((Array.isArray(built) ? built : [built]) as readonly Value[]).filter(({ dtype }) => isFloat(dtype))
  if (y.some(({ shape }) => !shape?.every((dim) => typeof dim === 'number'))) return undefined
  const seeds = y.map(({ dtype, shape }, i) => input(`dy${i}`, dtype, shape))
  const seedData = y.map(({ shape }) => draw({ shape: shape as readonly number[] }, 'float32', random))
  const wrt = x.filter((_, i) => isFloat(drawn[i]!.dtype) && !operands[i]!.fixed)
  const pairs = y.map((value, i) => [value, seeds[i]!] as const)
  const dx = gradients(pairs, wrt).filter((value) => value !== null)
  const spec = graphOf(name, [...x, ...seeds], [...y, ...dx])
  const feeds = [...drawn, ...seedData].map((array, i) => [[...x, ...seeds][i]!.name!, feed(array)] as const)
  return { spec, feeds: Object.fromEntries(feeds) }
}

/** The difference of an operator's first case that shaders compute; null if they compute none. */
export async function compareOperator(operator: string): Promise<number | null> {
  for (const case_ of cases[operator]!) {
    const built = graphOfCase(case_)
    if (!built) continue
    try {
      return await difference(built.spec, built.feeds)
    } catch (error) {
      if (!(error instanceof OnnxIreError) || error.code !== 'unsupported-operator') throw error
    }
  }
  return null
}

/** The difference of one of `shaderGraphs`. */
export function compareGraph(name: string): Promise<number> {
  const { inputs, outputs, feeds } = shaderGraphs[name]!()
  return difference(graphOf(name, inputs, outputs), feeds)
}

/** Numbers that shaders sample in two runs of a program, by output. */
export async function sampled(): Promise<Readonly<Record<string, readonly (readonly number[])[]>>> {
  const device = await onGpu()
  const x = input('x', 'float32', [64, 64])
  const logits = input('logits', 'float32', [2, 3])
  const uniform = op.RandomUniform({ shape: [64, 64], low: -1, high: 3 })
  const seeded = () => op.RandomUniform({ shape: [100], seed: 7 })
  const outputs = new Map([
    ['uniform', uniform],
    ['other', op.RandomUniformLike(x)],
    ['twice', op.Sub(op.Transpose(uniform, { perm: [1, 0] }), uniform)],
    ['normal', op.RandomNormalLike(x, { mean: 1, scale: 2 })],
    ['truth', op.Bernoulli(x)],
    ['classes', op.Multinomial(logits, { sample_size: 2000 })],
    ['seeded', seeded()],
    ['seeded again', seeded()],
  ])
  const spec: GraphSpec = {
    name: 'samples',
    inputs: new Map([['x', x] as const, ['logits', logits] as const]),
    outputs,
  }
  const feeds: Tensors = {
    x: { dtype: 'float32', dims: [64, 64], data: new Float32Array(64 * 64).fill(0.25) },
    logits: { dtype: 'float32', dims: [2, 3], data: Float32Array.from([0.2, 0.3, 0.5, 0.01, 0.01, 0.98], Math.log) },
  }
  const program = shaderProgram(spec, { x: [64, 64], logits: [2, 3] }, allExpansions)
  const shaders = await LoadedShaders.load(device, KernelCache.of(device), program, () => false)
  const runs = [await shaders.run(feeds), await shaders.run(feeds)]
  shaders.release()
  const numbers = (name: string) => runs.map(({ host }) => Array.from(host[name]!.data as Float32Array, Number))
  return Object.fromEntries([...outputs.keys()].map((name) => [name, numbers(name)]))
}

/** Losses of a training run whose gradients shaders compute, and the runtime's description behind it. */
export async function train(model: ShaderModel, steps: number) {
  const runtime = await webgpu()
  const losses = await lossesOf(model, runtime, steps)
  const { description } = runtime
  await runtime.dispose()
  return { losses, description }
}

/** Sums of x w for x of each of these numbers of rows, and the runtime's description at the end. */
export async function sumsOf(rows: readonly number[], operator: 'MatMul' | 'Einsum' = 'MatMul') {
  const runtime = await webgpu()
  const w = input('w', 'float32', [3])
  const x = input('x', 'float32', ['N', 3])
  const parameters = new Map([['w', w]])
  const backend = runtime.device.createBackend(runtime, { optimizer: sgd({ lr: 1 }), parameters })
  const product = operator === 'MatMul' ? op.MatMul(x, w) : op.Einsum([x, w], { equation: 'nk,k->n' })
  const outputs = new Map([
    ['sum', op.ReduceSum(product, null, { keepdims: 0 })],
    ['grad/w', op.ReduceSum(x, [0], { keepdims: 0 })],
  ])
  const program = await backend.compile({ name: 'sums', inputs: new Map([['x', x], ...parameters]), outputs })
  const uploaded = await backend.upload({ w: Float32Array.of(1, 2, 3) })
  const sums: number[] = []
  for (const n of rows) {
    const data = Float32Array.from({ length: 3 * n }, (_, i) => (i % 3 === 0 ? 1 : 0.5))
    const { outputs, gradients } = await program.run({ x: { dtype: 'float32', dims: [n, 3], data } }, uploaded)
    const { data: gradient } = await runtime.device.download(gradients['w']!)
    sums.push((outputs['sum']!.data as Float32Array)[0]! + (gradient as Float32Array)[0]!)
    backend.release(gradients)
  }
  backend.release(uploaded)
  await program.release()
  const { description } = runtime
  await runtime.dispose()
  return { sums, description }
}
