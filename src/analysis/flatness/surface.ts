import { batches } from '../../data/batches.js'
import type { DatasetOrStream } from '../../data/stream.js'
import { gradientsWithin, zerosLike } from '../../grad/gradient.js'
import { gradientTables } from '../../grad/gradient-tables.js'
import { hessianProducts } from '../../grad/hessian.js'
import { type FloatArray, mapArrays } from '../../ir/float-array.js'
import { numbersOf, scalar, tensorFrom } from '../../ir/leaf.js'
import type { Tensor, Tensors } from '../../ir/tensor.js'
import type { Value } from '../../ir/value.js'
import { type Loss, meanTermsOf } from '../../loss/loss.js'
import { scaleTerms } from '../../loss/loss-scales.js'
import { compileGraph } from '../../lowering/compile.js'
import { divisorOf } from '../../metric/accumulator.js'
import type { GraphSpec } from '../../onnx/export/export-graph.js'
import { importGraph } from '../../onnx/import/import-graph.js'
import type { Model } from '../../onnx/model.js'
import type { ParameterArrays } from '../../optim/arrays.js'
import type { Program, Runtime } from '../../runtime/runtime.js'
import type { WeightSelection } from '../../train/checkpoint/model-from-checkpoint.js'
import type { TrainingGraphs } from '../../train/graphs/build.js'
import { buildTrainingGraphs } from '../../train/graphs/build.js'
import { type Divisors, fixedBatchSize, lossScales, sumDivisors } from '../../train/micro-batches.js'
import type { PassOptions } from '../../train/model/repeat-model.js'
import type { Trainable } from '../../train/model/trainable.js'
import { prepareBatch } from '../../train/prepare-batch.js'
import { type Trainer, trainerInternals } from '../../train/trainer.js'
import { checkNumber, positiveCount } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'

import { type FilterAxes, findFilterAxes } from './filters.js'
import type { SymmetricOperator } from './lanczos.js'
import { addScaled, addScaledCopy, norm, ParameterLayout, type ParameterVector, scale } from './vector.js'

/** Options of a `LossSurface`. */
export interface SurfaceOptions {
  /** Examples per run. Results depend on it by rounding only. Default 32. */
  readonly batchSize?: number
  /**
   * Computation of Hessian-vector products: 'exact', as the gradient of <g, v> (Pearlmutter 1994), or from
   * 'differences' of two gradients. Default: exact if the gradient can be differentiated again and the runtime accepts
   * the graph. At kinks (ReLU), differences include the jump of the gradient across a kink; exact products do not.
   */
  readonly method?: 'exact' | 'differences'
}

/** Options of `LossSurface.of`. */
export interface ModelSurfaceOptions extends SurfaceOptions, PassOptions {
  /** Loss whose surface is measured. */
  readonly loss: Loss
  /** Runtime that runs the model. */
  readonly runtime: Runtime
  /** The parameters of the surface. Default: those that are trained by default. */
  readonly trainable?: Trainable
}

/** Options of `LossSurface.under`. */
export interface TrainerSurfaceOptions extends SurfaceOptions {
  /** The weights: of the last step, their moving average, or the best. Default 'last'. */
  readonly weights?: WeightSelection
}

/** Called after every batch with the number of examples processed in this pass. An error it throws ends the pass. */
export type ProgressCallback = (examples: number) => void

/** Model, data and runtime of a surface. */
interface SurfaceSource {
  readonly graphs: TrainingGraphs
  readonly data: DatasetOrStream
  readonly runtime: Runtime
  /** Returns the current parameters and running statistics, which are read again in every pass. */
  readonly weights: () => ParameterArrays
}

/**
 * The mean loss L(theta) of a model over a data set as a function of its parameters theta, in evaluation mode (norms
 * frozen, no dropout), with its gradient and Hessian products. Every value takes one pass over the data. Batches are
 * averaged by weight in double precision.
 */
export class LossSurface {
  readonly layout: ParameterLayout
  /** Number of elements of theta. */
  readonly size: number
  /** The axes of each parameter that count its filters. */
  readonly filters: FilterAxes
  readonly #source: SurfaceSource
  readonly #graphs: SurfaceGraphs
  /** The requested method, and the method in use. */
  readonly #requested: SurfaceOptions['method']
  #used: 'exact' | 'differences'
  readonly #batches: BatchCache
  /** The shares of the batches in the means of the loss; see `#sharesOfMeans`. */
  #shares: readonly Tensors[] | undefined
  readonly #compiled = new Map<GraphSpec, Promise<Program>>()
  /** Feeds of theta and of v. */
  readonly #point: Readonly<Record<string, FloatArray>>
  readonly #direction: Readonly<Record<string, FloatArray>>

  private constructor(source: SurfaceSource, { batchSize = 32, method }: SurfaceOptions) {
    const { graphs, data, runtime } = source
    checkNumber('LossSurface', 'batchSize', batchSize, positiveCount)
    this.#source = source
    this.#graphs = buildSurfaceGraphs(graphs)
    if (method === 'exact' && this.#graphs.obstacle) throw this.#graphs.obstacle
    this.#requested = method
    this.#used = method ?? (this.#graphs.product ? 'exact' : 'differences')
    this.layout = new ParameterLayout(graphs.parameters)
    this.size = this.layout.size
    this.filters = findFilterAxes([this.#graphs.loss.outputs.get('loss')!], graphs.parameters)
    this.#batches = new BatchCache(data, graphs, batchSize)
    const allocated = () =>
      Object.fromEntries(
        this.layout.places.map(({ name, dtype, length }) => [name, runtime.allocate(dtype, length) as FloatArray]),
      )
    this.#point = allocated()
    this.#direction = allocated()
  }

  /**
   * Creates the surface of a model at the model's weights.
   * Throws `not-differentiable`, `unsupported-operator`, `invalid-model`, `invalid-option`, `invalid-data`.
   */
  static of(model: Model, data: DatasetOrStream, options: ModelSurfaceOptions): LossSurface {
    const { loss, runtime, trainable, passes, pooling } = options
    const chosen = {
      loss,
      provider: runtime.provider,
      ...(trainable && { trainable }),
      ...(passes && { passes }),
      ...(pooling && { pooling }),
    }
    const graphs = buildTrainingGraphs(importGraph(model), chosen)
    const arrays = mapArrays(Object.fromEntries(graphs.parameters), tensorOf)
    return new LossSurface({ graphs, data, runtime, weights: () => arrays }, options)
  }

  /**
   * Creates the surface of a trainer. Each measurement is at the trainer's current weights, so create the surface once
   * and measure after every evaluation interval.
   */
  static under(trainer: Trainer, data: DatasetOrStream, options: TrainerSurfaceOptions = {}): LossSurface {
    return new LossSurface({ ...trainerInternals(trainer, options.weights), data }, options)
  }

  /**
   * Method of Hessian-vector products. Changes to 'differences' if the runtime rejects the graph of the first product.
   */
  get method(): 'exact' | 'differences' {
    return this.#used
  }

  /** Number of examples; undefined for a stream of unknown length. */
  get examples(): number | undefined {
    return this.#batches.examples
  }

  /** A copy of the current weights theta. */
  here(): ParameterVector {
    return this.layout.gather(this.#source.weights())
  }

  /** L(theta); may be infinite or NaN far away. */
  async loss(theta: ParameterVector = this.here(), onBatch?: ProgressCallback): Promise<number> {
    return (await this.#pass(this.#graphs.loss, theta, '', {}, onBatch)).loss
  }

  /** The gradient and the loss at theta. Throws `not-finite`. */
  async gradient(
    theta: ParameterVector = this.here(),
    onBatch?: ProgressCallback,
  ): Promise<{ readonly loss: number; readonly g: ParameterVector }> {
    const { loss, mean } = await this.#pass(this.#graphs.gradient, theta, 'grad/', {}, onBatch)
    return { loss, g: checkFinite('gradient', mean) }
  }

  /** The Hessian at theta. Its products throw `not-finite`. */
  hessian(theta: ParameterVector = this.here(), onBatch?: ProgressCallback): SymmetricOperator {
    const times = async (v: ParameterVector) => {
      const length = norm(v)
      if (length === 0) return new Float64Array(this.size)
      await this.#selectMethod()
      const unit = scale(1 / length, v)
      const along = this.#used === 'exact' ? this.#exactProduct : this.#difference
      return scale(length, checkFinite('product with the Hessian', await along.call(this, theta, unit, onBatch)))
    }
    return { size: this.size, times }
  }

  /** Releases the compiled graphs. The runtime remains usable. */
  async release(): Promise<void> {
    const programs = await Promise.allSettled(this.#compiled.values())
    for (const program of programs) if (program.status === 'fulfilled') await program.value.release()
    this.#compiled.clear()
  }

  /** Switches to differences if the runtime rejects the graph of exact products, unless 'exact' was requested. */
  async #selectMethod(): Promise<void> {
    if (this.#used === 'differences') return
    try {
      await this.#program(this.#graphs.product!)
    } catch (error) {
      if (this.#requested === 'exact' || !(error instanceof OnnxIreError) || error.code !== 'runtime') throw error
      this.#used = 'differences'
    }
  }

  /** H u for a unit vector u, rounded to the graph's precision. */
  async #exactProduct(
    theta: ParameterVector,
    u: ParameterVector,
    onBatch: ProgressCallback | undefined,
  ): Promise<ParameterVector> {
    this.layout.scatter(u, this.#direction)
    const us = this.#tensors(this.#direction, this.#source.graphs.parameters, 'v/')
    return (await this.#pass(this.#graphs.product!, theta, 'hv/', us, onBatch)).mean
  }

  /**
   * H u = (g(theta + h u) - g(theta - h u)) / 2h with h^3 = eps (1 + ||theta||), which balances the rounding error of
   * theta + h u, eps ||theta|| / h, and the truncation error h^2.
   */
  async #difference(
    theta: ParameterVector,
    u: ParameterVector,
    onBatch: ProgressCallback | undefined,
  ): Promise<ParameterVector> {
    const single = this.layout.places.some(({ dtype }) => dtype === 'float32')
    const h = Math.cbrt((single ? 2 ** -23 : 2 ** -52) * (1 + norm(theta)))
    const { g: after } = await this.gradient(addScaledCopy(theta, h, u), onBatch)
    const { g: before } = await this.gradient(addScaledCopy(theta, -h, u), onBatch)
    return scale(1 / (2 * h), addScaledCopy(after, -1, before))
  }

  /** Means over the data of the loss and of the outputs with a prefix. */
  async #pass(
    spec: GraphSpec,
    theta: ParameterVector,
    prefix: string,
    more: Tensors,
    onBatch: ProgressCallback | undefined,
  ): Promise<{ readonly loss: number; readonly mean: ParameterVector }> {
    const program = await this.#program(spec)
    const { graphs, weights } = this.#source
    this.layout.scatter(theta, this.#point)
    const fixed = {
      ...this.#tensors(this.#point, graphs.parameters),
      ...this.#tensors(weights(), graphs.statistics),
      ...more,
    }
    const mean = new Float64Array(prefix === '' ? 0 : this.size)
    const shares = await this.#sharesOfMeans(fixed)
    let [loss, total, seen, index] = [0, 0, 0, 0]
    for await (const { tensors, size } of this.#batches.read()) {
      const outputs = await program.run({ ...tensors, ...fixed, ...shares?.[index++] })
      const number = (name: string) => numbersOf(outputs[name]!)[0]!
      const weight = number('weight' in outputs ? 'weight' : 'count')
      // Means that are scaled by their shares add up.
      const divisor = shares ? Math.sign(weight) : divisorOf({ loss: number('loss'), count: number('count'), weight })
      if (divisor !== 0) {
        loss += divisor * number('loss')
        total += weight
        if (prefix !== '') this.#accumulate(mean, divisor, prefix, outputs)
      }
      seen += size
      onBatch?.(seen)
    }
    if (total === 0)
      throw new OnnxIreError(
        'invalid-data',
        'the data have no effective example: all labels are ignored, or all weights are 0',
      )
    const whole = shares ? 1 : total
    return { loss: loss / whole, mean: scale(1 / whole, mean) }
  }

  /**
   * Computes the share of every batch in the means of a loss that is a sum of means, as inputs; undefined for a single
   * mean. They depend on the data alone.
   */
  async #sharesOfMeans(fixed: Tensors): Promise<readonly Tensors[] | undefined> {
    const { divisors } = this.#graphs
    if (!divisors || this.#shares) return this.#shares
    const program = await this.#program(divisors)
    const means = [...meanTermsOf(this.#source.graphs.evaluated)!.keys()]
    const found: Divisors[] = []
    for await (const { tensors } of this.#batches.read()) {
      const outputs = await program.run({ ...tensors, ...fixed })
      const number = (name: string) => numbersOf(outputs[name]!)[0]!
      const weights = means.map((name) => [name, number(`weight/${name}`)])
      found.push({ count: number('count'), weights: Object.fromEntries(weights) })
    }
    const { dtype } = divisors.outputs.get('count')!
    const scales = lossScales(found, await sumDivisors(found, undefined), false)
    this.#shares = scales.map((each) =>
      Object.fromEntries(
        Object.entries(each).map(([name, share]) => [`share/${name}`, tensorFrom(dtype, [], [share])]),
      ),
    )
    return this.#shares
  }

  #accumulate(sum: ParameterVector, weight: number, prefix: string, outputs: Tensors): void {
    for (const { name, from, length } of this.layout.places)
      addScaled(sum.subarray(from, from + length), weight, outputs[prefix + name]!.data as FloatArray)
  }

  #tensors(arrays: ParameterArrays, values: ReadonlyMap<string, Value>, prefix = ''): Tensors {
    return Object.fromEntries(
      [...values].map(([name, { dtype, shape }]): [string, Tensor] => [
        prefix + name,
        { dtype, dims: shape as readonly number[], data: arrays[name]! },
      ]),
    )
  }

  #program(spec: GraphSpec): Promise<Program> {
    let program = this.#compiled.get(spec)
    if (!program) {
      program = compileGraph(this.#source.runtime, spec)
      this.#compiled.set(spec, program)
    }
    return program
  }
}

/** The array of a parameter: float32 or float64, because half precision was converted. */
const tensorOf = ({ source }: Value): FloatArray => (source as { tensor: Tensor }).tensor.data as FloatArray

function checkFinite(what: string, vector: ParameterVector): ParameterVector {
  if (vector.every(Number.isFinite)) return vector
  throw new OnnxIreError(
    'not-finite',
    `the ${what} is not finite at this point of the loss surface: the model has diverged, or the data contain NaN or infinity`,
  )
}

/**
 * Graphs of a loss as a function of the parameters, and of its derivatives, in evaluation mode (norms frozen, no
 * dropout). Inputs are the data, the parameters and the running statistics by name. Outputs are `loss`, `count` and, if
 * examples have weights, `weight`.
 */
interface SurfaceGraphs {
  readonly loss: GraphSpec
  /**
   * Graph of the divisors of a loss that is a sum of means; null for a single mean. The other graphs then have an input
   * `share/<mean>` for the weight of the mean of a batch in that of all data.
   */
  readonly divisors: GraphSpec | null
  /** The graph of the loss that also has the outputs `grad/<parameter>`. */
  readonly gradient: GraphSpec
  /** The graph of Hessian products, with inputs `v/<parameter>` and outputs `hv/<parameter>`; null if there is none. */
  readonly product: GraphSpec | null
  /** The reason why `product` is null. */
  readonly obstacle: OnnxIreError | null
}

/**
 * Builds the graphs of L, of g = dL/dtheta, and of H v = d<g, v>/dtheta (Pearlmutter 1994).
 * Throws `not-differentiable`, `invalid-option`.
 */
export function buildSurfaceGraphs(
  { evaluation, evaluated, parameters }: Pick<TrainingGraphs, 'evaluation' | 'evaluated' | 'parameters'>,
  tables = gradientTables,
): SurfaceGraphs {
  const scaled = scaleTerms(evaluated)
  const shares = new Map([...(scaled?.scales.values() ?? [])].map((value) => [value.name!, value]))
  checkInputNames(shares, evaluation)
  const loss = scaled?.loss.loss ?? evaluation.outputs.get('loss')!
  const kept = (['loss', 'count', 'weight'] as const).flatMap((name): [string, Value][] => {
    const value = name === 'loss' ? loss : evaluation.outputs.get(name)
    return value ? [[name, value]] : []
  })
  const wrt = [...parameters.values()]
  const dLoss = gradientsWithin([[loss, scalar(loss.dtype, 1)]], wrt, () => true, tables)
  const spec = (name: string, prefix: string, found: readonly (Value | null)[], v: Leaves = new Map()): GraphSpec => ({
    name: evaluation.name.replace(/evaluation$/, name),
    inputs: new Map([...evaluation.inputs, ...shares, ...v]),
    outputs: new Map([
      ...kept,
      ...[...parameters].map(([key, x], i): [string, Value] => [prefix + key, found[i] ?? zerosLike(x)]),
    ]),
  })
  const second = attempt(() => hessianProducts(dLoss, parameters, 'v/', tables))
  if (!(second instanceof OnnxIreError)) checkInputNames(second.vectors, evaluation)
  return {
    loss: {
      ...evaluation,
      name: evaluation.name.replace(/evaluation$/, 'loss'),
      inputs: new Map([...evaluation.inputs, ...shares]),
      outputs: new Map(kept),
    },
    divisors: scaled
      ? { ...evaluation, name: evaluation.name.replace(/evaluation$/, 'divisors'), outputs: scaled.divisors }
      : null,
    gradient: spec('gradient', 'grad/', dLoss),
    ...(second instanceof OnnxIreError
      ? { product: null, obstacle: second }
      : { product: spec('hessian-product', 'hv/', second.products, second.vectors), obstacle: null }),
  }
}

type Leaves = ReadonlyMap<string, Value>

function attempt<T>(differentiate: () => T): T | OnnxIreError {
  try {
    return differentiate()
  } catch (error) {
    if (error instanceof OnnxIreError && error.code === 'not-differentiable') return error
    throw error
  }
}

function checkInputNames(added: Leaves, { inputs }: GraphSpec): void {
  const clash = [...added.keys()].find((name) => inputs.has(name))
  if (clash !== undefined)
    throw new OnnxIreError(
      'invalid-option',
      `a loss surface adds an input '${clash}', but the model has a tensor of that name: rename the tensor`,
    )
}

/** Maximal number of bytes of data in memory; a larger data set is read again in every pass. */
const maxCacheBytes = 2 ** 28

/** A batch in the types and shapes of the graph's inputs. */
interface PreparedBatch {
  readonly tensors: Tensors
  readonly size: number
}

/** Batches of a data set, prepared for the graphs and read many times in the same order. */
class BatchCache {
  readonly #data: DatasetOrStream
  readonly #graphs: TrainingGraphs
  readonly #batchSize: number
  #cached: readonly PreparedBatch[] | null = null

  /** Throws `invalid-data` if the model's fixed batch size does not divide the number of examples. */
  constructor(data: DatasetOrStream, graphs: TrainingGraphs, batchSize: number) {
    const fixed = fixedBatchSize(graphs.data)
    this.#data = data
    this.#graphs = graphs
    this.#batchSize = fixed ?? batchSize
    if (fixed !== undefined && data.length !== undefined && data.length % fixed !== 0)
      throw new OnnxIreError(
        'invalid-data',
        `the model has the fixed batch size ${fixed}, which does not divide ${data.length} examples: use a number of examples divisible by ${fixed}`,
      )
  }

  get examples(): number | undefined {
    return this.#data.length
  }

  async *read(): AsyncGenerator<PreparedBatch> {
    if (this.#cached) {
      yield* this.#cached
      return
    }
    const read: PreparedBatch[] = []
    let bytes = 0
    for await (const batch of batches(this.#data, { batchSize: this.#batchSize })) {
      const tensors = prepareBatch(batch.tensors, this.#graphs.data, this.#graphs.loss.labels)
      const prepared = { tensors, size: batch.size }
      for (const { data } of Object.values(tensors)) bytes += 'byteLength' in data ? data.byteLength : 16 * data.length
      if (bytes <= maxCacheBytes) read.push(prepared)
      else read.length = 0
      yield prepared
    }
    if (bytes <= maxCacheBytes) this.#cached = read
  }
}
