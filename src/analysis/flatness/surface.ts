import type { DatasetOrStream } from '../../data/stream.js'
import { type FloatArray, mapArrays } from '../../ir/float-array.js'
import { numbersOf } from '../../ir/leaf.js'
import type { Tensor, Tensors } from '../../ir/tensor.js'
import type { Value } from '../../ir/value.js'
import type { Loss } from '../../loss/loss.js'
import { compileGraph } from '../../lowering/compile.js'
import type { GraphSpec } from '../../onnx/export/export-graph.js'
import { importGraph } from '../../onnx/import/import-graph.js'
import type { Model } from '../../onnx/model.js'
import type { ParameterArrays } from '../../optim/arrays.js'
import type { Program, Runtime } from '../../runtime/runtime.js'
import type { WhichWeights } from '../../train/checkpoint/model-from-checkpoint.js'
import type { TrainingGraphs } from '../../train/graphs/build.js'
import { buildTrainingGraphs } from '../../train/graphs/build.js'
import type { Trainable } from '../../train/model/trainable.js'
import { type Trainer, trainerInternals } from '../../train/trainer.js'
import { checkNumber, positiveCount } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { type FilterAxes, filterAxes } from './filters.js'
import { type SurfaceGraphs, surfaceGraphs } from './graphs.js'
import { HeldBatches } from './held.js'
import { Layout } from './layout.js'
import type { SymmetricOperator } from './symmetric.js'
import { addScaled, displaced, norm, scaled, type Vector } from './vector.js'

/** How a surface is computed. */
export interface SurfaceOptions {
  /** Examples per run; what is computed does not depend on it but for rounding. Default 32. */
  readonly batchSize?: number
  /**
   * How Hessian-vector products are computed: 'exact', as the gradient of the gradient, or from 'differences' of two
   * gradients. Default: exact where the gradient can be differentiated again and the runtime takes the graph. Where a model
   * has kinks, as of ReLU, differences straddle some of them and count their bends; exact products are the Hessian beside them.
   */
  readonly method?: 'exact' | 'differences'
}

/** A model's surface. */
export interface ModelSurfaceOptions extends SurfaceOptions {
  readonly loss: Loss
  readonly runtime: Runtime
  /** The parameters that span the surface. Default: those in weight positions. */
  readonly trainable?: Trainable
}

/** A trainer's surface. */
export interface TrainerSurfaceOptions extends SurfaceOptions {
  /** Where on the surface: the last step's weights, their moving average or the best. Default 'last'. */
  readonly weights?: WhichWeights
}

/** Called after every batch with the examples seen in this pass; what it throws ends the pass. */
export type Watch = (examples: number) => void

/** What surfaces are made of. */
interface Ground {
  readonly graphs: TrainingGraphs
  readonly data: DatasetOrStream
  readonly runtime: Runtime
  /** Parameters and running statistics: read anew in every pass. */
  readonly arrays: ParameterArrays
}

/**
 * A model's mean loss over a data set as a function of its parameters theta, in the evaluation form (norms frozen, no
 * dropout), with its derivatives. Every value is one pass over the data; batches are averaged by their weight in double
 * precision.
 */
export class LossSurface {
  readonly layout: Layout
  /** Numbers in theta. */
  readonly size: number
  /** Along which axes of each parameter its filters are counted. */
  readonly filters: FilterAxes
  private readonly ground: Ground
  private readonly graphs: SurfaceGraphs
  /** The method asked for, and the one that is in use. */
  private readonly asked: SurfaceOptions['method']
  private used: 'exact' | 'differences'
  private readonly batches: HeldBatches
  private readonly compiled = new Map<GraphSpec, Promise<Program>>()
  /** theta as it is fed, and v. */
  private readonly point: Readonly<Record<string, FloatArray>>
  private readonly direction: Readonly<Record<string, FloatArray>>

  private constructor(ground: Ground, { batchSize = 32, method }: SurfaceOptions) {
    const { graphs, data, runtime } = ground
    checkNumber('LossSurface', 'batchSize', batchSize, positiveCount)
    this.ground = ground
    this.graphs = surfaceGraphs(graphs)
    if (method === 'exact' && this.graphs.obstacle) throw this.graphs.obstacle
    this.asked = method
    this.used = method ?? (this.graphs.product ? 'exact' : 'differences')
    this.layout = new Layout(graphs.parameters)
    this.size = this.layout.size
    this.filters = filterAxes([this.graphs.loss.outputs.get('loss')!], graphs.parameters)
    this.batches = new HeldBatches(data, graphs, batchSize)
    const allocated = () =>
      Object.fromEntries(
        this.layout.places.map(({ name, dtype, length }) => [name, runtime.allocate(dtype, length) as FloatArray]),
      )
    this.point = allocated()
    this.direction = allocated()
  }

  /**
   * The surface of a model as it is.
   * Throws `not-differentiable`, `unsupported-operator`, `invalid-model`, `invalid-option`, `invalid-data`.
   */
  static of(model: Model, data: DatasetOrStream, options: ModelSurfaceOptions): LossSurface {
    const { loss, runtime, trainable } = options
    const chosen = { loss, ...(trainable === undefined ? {} : { trainable }) }
    const graphs = buildTrainingGraphs(importGraph(model), chosen)
    const arrays = mapArrays(Object.fromEntries(graphs.parameters), tensorOf)
    return new LossSurface({ graphs, data, runtime, arrays }, options)
  }

  /** The surface that a trainer moves on, at the point where it is when asked: make it once and measure after every round. */
  static under(trainer: Trainer, data: DatasetOrStream, options: TrainerSurfaceOptions = {}): LossSurface {
    return new LossSurface({ ...trainerInternals(trainer, options.weights), data }, options)
  }

  /** How Hessian-vector products are computed; that the runtime does not take their graph shows in the first one. */
  get method(): 'exact' | 'differences' {
    return this.used
  }

  /** Examples of the data set; undefined for a stream of unknown length. */
  get examples(): number | undefined {
    return this.batches.examples
  }

  /** theta where the model or trainer stands now, a copy. */
  here(): Vector {
    return this.layout.gather(this.ground.arrays)
  }

  /** L(theta); it may be infinite or no number far away. */
  async loss(theta: Vector = this.here(), watch?: Watch): Promise<number> {
    return (await this.pass(this.graphs.loss, theta, '', {}, watch)).loss
  }

  /** The gradient at theta, and the loss. Throws `not-finite`. */
  async gradient(theta: Vector = this.here(), watch?: Watch): Promise<{ readonly loss: number; readonly g: Vector }> {
    const { loss, mean } = await this.pass(this.graphs.gradient, theta, 'grad/', {}, watch)
    return { loss, g: finite('gradient', mean) }
  }

  /** The Hessian at theta. Its products throw `not-finite`. */
  hessian(theta: Vector = this.here(), watch?: Watch): SymmetricOperator {
    const times = async (v: Vector) => {
      const length = norm(v)
      if (length === 0) return new Float64Array(this.size)
      await this.settle()
      const unit = scaled(1 / length, v)
      const along = this.used === 'exact' ? this.exactProduct : this.difference
      return scaled(length, finite('product with the Hessian', await along.call(this, theta, unit, watch)))
    }
    return { size: this.size, times }
  }

  /** Frees the compiled graphs. The runtime stays usable. */
  async release(): Promise<void> {
    const programs = await Promise.allSettled(this.compiled.values())
    for (const program of programs) if (program.status === 'fulfilled') await program.value.release()
    this.compiled.clear()
  }

  /** Goes over to differences where the runtime does not take the exact product's graph, unless that was asked for. */
  private async settle(): Promise<void> {
    if (this.used === 'differences') return
    try {
      await this.program(this.graphs.product!)
    } catch (error) {
      if (this.asked === 'exact' || !(error instanceof OnnxIreError) || error.code !== 'runtime') throw error
      this.used = 'differences'
    }
  }

  /** H u for a unit vector, which is rounded to the graph's precision. */
  private async exactProduct(theta: Vector, u: Vector, watch: Watch | undefined): Promise<Vector> {
    this.layout.scatter(u, this.direction)
    const us = this.tensors(this.direction, this.ground.graphs.parameters, 'v/')
    return (await this.pass(this.graphs.product!, theta, 'hv/', us, watch)).mean
  }

  /**
   * H u = (g(theta + h u) - g(theta - h u)) / 2h with h^3 = eps (1 + ||theta||), where the error of rounding theta + h u,
   * eps ||theta|| / h, and that of truncation, h^2, are alike.
   */
  private async difference(theta: Vector, u: Vector, watch: Watch | undefined): Promise<Vector> {
    const single = this.layout.places.some(({ dtype }) => dtype === 'float32')
    const h = Math.cbrt((single ? 2 ** -23 : 2 ** -52) * (1 + norm(theta)))
    const { g: after } = await this.gradient(displaced(theta, h, u), watch)
    const { g: before } = await this.gradient(displaced(theta, -h, u), watch)
    return scaled(1 / (2 * h), displaced(after, -1, before))
  }

  /** The means over the data of the loss and of the outputs with a prefix. */
  private async pass(
    spec: GraphSpec,
    theta: Vector,
    prefix: string,
    more: Tensors,
    watch: Watch | undefined,
  ): Promise<{ readonly loss: number; readonly mean: Vector }> {
    const program = await this.program(spec)
    const { graphs, arrays } = this.ground
    this.layout.scatter(theta, this.point)
    const fixed = {
      ...this.tensors(this.point, graphs.parameters),
      ...this.tensors(arrays, graphs.statistics),
      ...more,
    }
    const mean = new Float64Array(prefix === '' ? 0 : this.size)
    let [loss, total, seen] = [0, 0, 0]
    for await (const { tensors, size } of this.batches.read()) {
      const outputs = await program.run({ ...tensors, ...fixed })
      const number = (name: string) => numbersOf(outputs[name]!)[0]!
      const weight = number('weight' in outputs ? 'weight' : 'count')
      // Where every label is ignored, losses and gradients are 0 or not a number, and count for nothing.
      if (weight !== 0) {
        loss += weight * number('loss')
        total += weight
        if (prefix !== '') this.accumulate(mean, weight, prefix, outputs)
      }
      seen += size
      watch?.(seen)
    }
    if (total === 0)
      throw new OnnxIreError(
        'invalid-data',
        'no example of the data counts: all labels are ignored, or all weights are 0',
      )
    return { loss: loss / total, mean: scaled(1 / total, mean) }
  }

  private accumulate(sum: Vector, weight: number, prefix: string, outputs: Tensors): void {
    for (const { name, from, length } of this.layout.places)
      addScaled(sum.subarray(from, from + length), weight, outputs[prefix + name]!.data as FloatArray)
  }

  private tensors(arrays: ParameterArrays, values: ReadonlyMap<string, Value>, prefix = ''): Tensors {
    return Object.fromEntries(
      [...values].map(([name, { dtype, shape }]): [string, Tensor] => [
        prefix + name,
        { dtype, dims: shape as readonly number[], data: arrays[name]! },
      ]),
    )
  }

  private program(spec: GraphSpec): Promise<Program> {
    let program = this.compiled.get(spec)
    if (!program) {
      program = compileGraph(this.ground.runtime, spec)
      this.compiled.set(spec, program)
    }
    return program
  }
}

/** Half floats were widened: every parameter is float32 or float64. */
const tensorOf = ({ source }: Value): FloatArray => (source as { tensor: Tensor }).tensor.data as FloatArray

function finite(what: string, vector: Vector): Vector {
  if (vector.every(Number.isFinite)) return vector
  throw new OnnxIreError(
    'not-finite',
    `the ${what} is not finite at this point of the loss surface: the model has diverged, or the data hold such numbers`,
  )
}
