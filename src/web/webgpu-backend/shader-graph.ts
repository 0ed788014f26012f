import { type GradientProgram, gradientsByParameter, isGradient } from '../../backend/backend.js'
import type { Tensor, Tensors } from '../../ir/tensor.js'
import type { GraphSpec } from '../../onnx/export/export-graph.js'
import type { DeviceTensors } from '../../runtime/device.js'
import { checkFeed } from '../../runtime/feeds.js'
import { type Division, gpuDivision } from '../../shader/division.js'
import { commonExpansions } from '../../shader/expansions.js'
import { type ShaderProgram, shaderProgram } from '../../shader/program.js'
import { findLargeInteger } from '../../shader/types.js'
import { OnnxIreError } from '../../util/errors.js'
import { emptyRecord, getOwn } from '../../util/record.js'
import type { WebGpuContext } from './context.js'
import type { KernelCache } from './kernel-cache.js'
import { LoadedShaders } from './loaded-shaders.js'

type Program = GradientProgram<DeviceTensors>

/** Programs of one graph that are kept: usually of whole batches, and of the last one of an epoch. */
const maxKeptPrograms = 3

/** The work of an invocation on a software GPU, which has few threads, and whose registers are memory. */
const softwareDivision: Division = { tile: 16, invocations: 128 }

/** Programs that are compiled for one graph before onnxruntime, whose kernels take any length, runs the others. */
const maxCompiledPrograms = 12

/**
 * A graph of a training run as compute shaders, one program for all dims of its inputs. A graph that shaders cannot
 * compute runs in onnxruntime, and so do batches of many different lengths.
 */
export class ShaderGraph implements Program {
  readonly #context: WebGpuContext
  readonly #kernels: KernelCache
  readonly #spec: GraphSpec
  readonly #useOnnxRuntime: (reason: string) => Promise<Program>
  /** Programs by dims, the last used one at the end. */
  readonly #byDims = new Map<string, Promise<LoadedShaders | null>>()
  #compiled = 0
  #otherwise: Promise<Program> | undefined

  /** @param useOnnxRuntime compiles the graph for onnxruntime; `reason` is for `description` */
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
    const given = emptyRecord<Tensor | DeviceTensors[string]>()
    for (const [name, { dtype }] of this.#spec.inputs) {
      const feed = getOwn(feeds, name) ?? getOwn(parameters, name)
      if (!feed) throw new OnnxIreError('invalid-data', `input '${name}' is missing`)
      if ('data' in feed) checkIntegers(name, checkFeed({ name, dtype }, feed))
      else if (feed.dtype !== dtype)
        throw new OnnxIreError('invalid-data', `input '${name}': the model expects ${dtype}, got ${feed.dtype}`)
      given[name] = feed
    }
    const dims = Object.fromEntries(Object.entries(given).map(([name, { dims }]) => [name, dims]))
    const key = JSON.stringify(dims)
    const shaders = await this.#shadersFor(key, dims)
    if (!shaders) return (await this.#otherwise!).run(feeds, parameters)
    const { host, device } = await this.#context.run(() => shaders.run(given))
    return { outputs: host, gradients: gradientsByParameter(device) }
  }

  /** The program for these dims; null if onnxruntime has to run the graph. */
  async #shadersFor(key: string, dims: Readonly<Record<string, readonly number[]>>): Promise<LoadedShaders | null> {
    let known = this.#byDims.get(key)
    if (!known) {
      if (this.#otherwise) return null
      if (this.#compiled >= maxCompiledPrograms) return this.#leave('its inputs have too many different lengths')
      this.#compiled++
      known = this.#load(dims)
    }
    this.#byDims.delete(key)
    this.#byDims.set(key, known)
    known.catch(() => this.#byDims.delete(key))
    for (const [old, program] of this.#byDims) {
      if (this.#byDims.size <= maxKeptPrograms) break
      this.#byDims.delete(old)
      ;(await program.catch(() => null))?.release()
    }
    return known
  }

  /** Compiles the graph for onnxruntime. */
  async #leave(reason: string): Promise<null> {
    this.#otherwise ??= this.#useOnnxRuntime(reason)
    // A failed compilation is repeated at the next call.
    this.#otherwise.catch(() => {
      this.#otherwise = undefined
    })
    await this.#otherwise
    return null
  }

  async #load(dims: Readonly<Record<string, readonly number[]>>): Promise<LoadedShaders | null> {
    try {
      const { gpu } = this.#context
      const division = gpu.adapterInfo.isFallbackAdapter ? softwareDivision : gpuDivision
      const program = await this.#convert(dims, division)
      return await this.#context.run(() => LoadedShaders.load(gpu, this.#kernels, program, isGradient))
    } catch (error) {
      if (!isUnsupported(error)) throw error
      return this.#leave(`shaders cannot compute it: ${error.message}`)
    }
  }

  /** Converts the graph to shaders. Loads the expansions of less common operators if one of them may be needed. */
  async #convert(dims: Readonly<Record<string, readonly number[]>>, division: Division): Promise<ShaderProgram> {
    try {
      return shaderProgram(this.#spec, dims, commonExpansions, division)
    } catch (error) {
      if (!isUnsupported(error)) throw error
      const { allExpansions } = await import('../../shader/all-expansions.js')
      return shaderProgram(this.#spec, dims, allExpansions, division)
    }
  }

  async release(): Promise<void> {
    for (const loading of this.#byDims.values()) (await loading.catch(() => null))?.release()
    await (await this.#otherwise?.catch(() => undefined))?.release()
  }
}

/** Throws `invalid-data` for an integer that shaders cannot represent. */
function checkIntegers(name: string, tensor: Tensor): void {
  const large = findLargeInteger(tensor)
  if (large === undefined) return
  throw new OnnxIreError(
    'invalid-data',
    `input '${name}' has the integer ${large}, and compute shaders have integers of 32 bits: make the numbers smaller, or train with wasm()`,
  )
}

const isUnsupported = (error: unknown): error is OnnxIreError =>
  error instanceof OnnxIreError && error.code === 'unsupported-operator'
