import { type GradientProgram, gradientsByParameter, isGradient } from '../../backend/backend.js'
import type { Tensor, Tensors } from '../../ir/tensor.js'
import type { GraphSpec } from '../../onnx/export/export-graph.js'
import type { DeviceTensors } from '../../runtime/device.js'
import { shaderProgram } from '../../shader/program.js'
import { OnnxIreError } from '../../util/errors.js'
import { getOwn } from '../../util/record.js'
import type { WebGpuContext } from './context.js'
import type { KernelCache } from './kernel-cache.js'
import { LoadedShaders } from './loaded-shaders.js'

type Program = GradientProgram<DeviceTensors>

/**
 * A graph of a training run as compute shaders, one program for all dims of its inputs. A graph that shaders cannot
 * compute runs in onnxruntime.
 */
export class ShaderGraph implements Program {
  readonly #context: WebGpuContext
  readonly #kernels: KernelCache
  readonly #spec: GraphSpec
  readonly #useOnnxRuntime: (reason: string) => Promise<Program>
  readonly #byDims = new Map<string, Promise<LoadedShaders | null>>()
  #otherwise: Promise<Program> | undefined

  /** @param useOnnxRuntime compiles the graph for onnxruntime, for a reason to tell */
  constructor(
    context: WebGpuContext,
    kernels: KernelCache,
    spec: GraphSpec,
    useOnnxRuntime: (reason: string) => Promise<Program>,
  ) {
    this.#context = context
    this.#kernels = kernels
    this.#spec = spec
    this.#useOnnxRuntime = useOnnxRuntime
  }

  async run(feeds: Tensors, parameters: DeviceTensors): ReturnType<Program['run']> {
    if (this.#otherwise) return (await this.#otherwise).run(feeds, parameters)
    const given: Record<string, Tensor | DeviceTensors[string]> = {}
    for (const [name, { dtype }] of this.#spec.inputs) {
      const feed = getOwn(feeds, name) ?? getOwn(parameters, name)
      if (!feed) throw new OnnxIreError('invalid-data', `input '${name}' is missing`)
      if (feed.dtype !== dtype)
        throw new OnnxIreError('invalid-data', `input '${name}': the model expects ${dtype}, got ${feed.dtype}`)
      given[name] = feed
    }
    const dims = Object.fromEntries(Object.entries(given).map(([name, { dims }]) => [name, dims]))
    const key = JSON.stringify(dims)
    const known = this.#byDims.get(key) ?? this.#load(dims)
    this.#byDims.set(key, known)
    known.catch(() => this.#byDims.delete(key))
    const shaders = await known
    if (!shaders) return (await this.#otherwise!).run(feeds, parameters)
    const { host, device } = await this.#context.run(() => shaders.run(given))
    return { outputs: host, gradients: gradientsByParameter(device) }
  }

  async #load(dims: Readonly<Record<string, readonly number[]>>): Promise<LoadedShaders | null> {
    try {
      const program = shaderProgram(this.#spec, dims)
      return await this.#context.run(() => LoadedShaders.load(this.#context.gpu, this.#kernels, program, isGradient))
    } catch (error) {
      if (!(error instanceof OnnxIreError) || error.code !== 'unsupported-operator') throw error
      this.#otherwise ??= this.#useOnnxRuntime(error.message)
      await this.#otherwise
      return null
    }
  }

  async release(): Promise<void> {
    for (const loading of this.#byDims.values()) (await loading.catch(() => null))?.release()
    await (await this.#otherwise?.catch(() => undefined))?.release()
  }
}
