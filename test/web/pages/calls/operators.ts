import type { Tensors } from '../../../../src/ir/tensor.js'
import { allExpansions } from '../../../../src/shader/all-expansions.js'
import { shaderProgram } from '../../../../src/shader/program.js'
import { OnnxIreError } from '../../../../src/util/errors.js'
import { wasm, webgpu } from '../../../../src/web/index.js'
import { KernelCache } from '../../../../src/web/webgpu-backend/kernel-cache.js'
import { LoadedShaders } from '../../../../src/web/webgpu-backend/loaded-shaders.js'
import { feedsOf, loweredForms, specOf, testedForms, withKnownLengths } from '../../../lowering/lowered-forms.js'
import { distance, outputsOf } from '../../../lowering/outputs.js'

/** Comparison of forms of operators with WebAssembly. */
export interface Comparison {
  /** Number of forms that were computed. */
  readonly compared: number
  /** Forms with other results, or none, each with what was found. */
  readonly wrong: readonly string[]
  /** Forms that WebGPU refuses while the CPU is forbidden. */
  readonly refused: readonly string[]
  /** Forms that onnxruntime rejects in WebAssembly. */
  readonly rejected: readonly string[]
}

const largest = 1e-3

/** onnxruntime's messages about nodes without a place on the GPU; the last is about float64 between its nodes. */
const refusal = /cpuNodes is 'forbidden'|fallback to CPU EP|IsNodeCompatibleWithProvider/

/** Computes every form that is lowered with the CPU forbidden. */
export async function compareLowered(): Promise<Comparison> {
  const [cpu, gpu] = [await wasm({ threads: 1 }), await webgpu({ cpuNodes: 'forbidden' })]
  const wrong: string[] = []
  const refused: string[] = []
  const rejected: string[] = []
  let compared = 0
  for (const form of loweredForms()) {
    const name = `${form.operator}, ${form.name}`
    const feeds = feedsOf(form)
    const expected = await outputsOf(cpu, specOf(form), feeds).catch(() => null)
    if (!expected) {
      rejected.push(name)
      continue
    }
    try {
      const found = distance(await outputsOf(gpu, withKnownLengths(form) ?? specOf(form), feeds), expected)
      if (!(found < largest)) wrong.push(`${name}: ${found}`)
      compared++
    } catch (error) {
      const { message } = error as Error
      if (refusal.test(message)) refused.push(name)
      else wrong.push(`${name}: ${message}`)
    }
  }
  await Promise.all([cpu.dispose(), gpu.dispose()])
  return { compared, wrong, refused, rejected }
}

/** Computes every form that becomes compute shaders. */
export async function compareShaders(): Promise<Comparison> {
  const cpu = await wasm({ threads: 1 })
  const device = await (await navigator.gpu.requestAdapter())!.requestDevice()
  const wrong: string[] = []
  const rejected: string[] = []
  let compared = 0
  for (const form of testedForms()) {
    const name = `${form.operator}, ${form.name}`
    const feeds = feedsOf(form)
    const dims = Object.fromEntries(Object.entries(feeds).map(([name, { dims }]) => [name, dims]))
    try {
      const program = shaderProgram(specOf(form), dims, allExpansions)
      const found = await runShaders(device, program, feeds)
      const expected = await outputsOf(cpu, specOf(form), feeds).catch(() => null)
      if (!expected) {
        rejected.push(name)
        continue
      }
      const difference = form.open ? 0 : distance(found, expected)
      if (!(difference < largest)) wrong.push(`${name}: ${difference}`)
      compared++
    } catch (error) {
      if (!(error instanceof OnnxIreError) || error.code !== 'unsupported-operator')
        wrong.push(`${name}: ${(error as Error).message}`)
    }
  }
  await cpu.dispose()
  device.destroy()
  return { compared, wrong, refused: [], rejected }
}

async function runShaders(
  device: GPUDevice,
  program: ReturnType<typeof shaderProgram>,
  feeds: Tensors,
): Promise<Tensors> {
  device.pushErrorScope('validation')
  const shaders = await LoadedShaders.load(device, KernelCache.of(device), program, () => false)
  const { host } = await shaders.run(feeds)
  shaders.release()
  const error = await device.popErrorScope()
  if (error) throw new Error(error.message)
  return host
}
