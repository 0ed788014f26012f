import {
  type GradientProgram,
  isGradient,
  parameterOf,
  type TensorMap,
  type TrainingBackend,
  toTensors,
} from '../backend/backend.js'
import type { GradientKind } from '../backend/step.js'
import type { BatchPart } from '../data/batches.js'
import { evaluateDim } from '../ir/dim.js'
import type { FloatArray } from '../ir/float-array.js'
import { numbersOf, tensorFrom } from '../ir/leaf.js'
import { isStatic } from '../ir/shape.js'
import { sizeOf, type Tensors } from '../ir/tensor.js'
import type { Value } from '../ir/value.js'
import type { NoiseDistribution } from '../loss/loss.js'
import { readSums } from '../metric/metric.js'
import type { GraphSpec } from '../onnx/export/export-graph.js'
import type { ParameterArrays } from '../optim/arrays.js'
import { OnnxIreError } from '../util/errors.js'
import type { Random } from '../util/random.js'
import { getOwn, mergeRecords } from '../util/record.js'
import type { MicroBatchGraphs, SampledGraph, TrainingGraphs } from './graphs/build.js'
import type { BatchResult } from './micro-batches.js'
import {
  accumulate,
  type Divisors,
  fixedBatchSize,
  lossScales,
  type MicroBatch,
  type Reduction,
  splitBatch,
  sumDivisors,
} from './micro-batches.js'
import type { ProcessGroup, SumGradients } from './process-group.js'

/** The inputs of a gradient; T as in `TrainingBackend`. */
interface GradientInputs<T> {
  readonly kind: GradientKind
  readonly batch: Tensors
  /** Number of examples in `batch`. */
  readonly size: number
  /** Number of examples of all processes of the group. Default: `size`. */
  readonly whole?: number
  /** Index of the first example of this process. Default 0. */
  readonly first?: number
  readonly parameters: T
  readonly statistics: ParameterArrays
  /** The source of all random inputs. */
  readonly random: Random
  /** The share of the examples that the gradient is computed on, in (0, 1]. Default 1. */
  readonly share?: number
  /** Names of the parameters whose gradients are needed. Default: all. */
  readonly parameterNames?: ReadonlySet<string>
  /** Whether the gradient is that of the examples of this process only. Default: of all processes. */
  readonly isLocal?: boolean
  /** Adds up gradients over the processes of the group. Default: its `allReduce`. */
  readonly sumGradients?: SumGradients | undefined
}

/** The examples of a batch that a process computes. */
interface Share {
  readonly tensors: Tensors
  /** Number of examples in `tensors`. */
  readonly size: number
  /** Whether they belong to the batch; see `MicroBatch`. */
  readonly counts: boolean
}

/** The graphs of a run, compiled when they are first needed, and run on batches. */
export class Programs<T extends TensorMap> {
  readonly graphs: TrainingGraphs
  readonly #backend: TrainingBackend<T>
  readonly #compiled = new Map<string, Promise<GradientProgram<T>>>()
  /** The number of examples that the model's file fixes. */
  readonly #fixedBatch: number | undefined
  readonly #microBatch: number
  /** The processes that compute the other examples of every batch. */
  readonly #group: ProcessGroup | undefined
  #released = false

  /** @param microBatch the largest number of examples of one run; gradients of larger batches are accumulated */
  constructor(
    graphs: TrainingGraphs,
    backend: TrainingBackend<T>,
    microBatch = Number.POSITIVE_INFINITY,
    group?: ProcessGroup,
  ) {
    this.graphs = graphs
    this.#backend = backend
    this.#microBatch = microBatch
    this.#group = group
    this.#fixedBatch = fixedBatchSize(graphs.data)
  }

  /** Compiles the training graphs, so that an unsupported graph is reported before the first step. */
  async prepare(curvature: boolean): Promise<void> {
    await this.#program(this.#gradientGraph('loss').spec)
    if (curvature) await this.#program(this.#gradientGraph('curvature').spec)
  }

  /** The processes that compute the other examples of every batch. */
  get group(): ProcessGroup | undefined {
    return this.#group
  }

  /** The part of every batch that this process loads. */
  get part(): BatchPart | undefined {
    const { rank = 0, size = 1 } = this.#group ?? {}
    return size === 1 ? undefined : { index: rank, of: size, unit: this.#fixedBatch }
  }

  /** Computes the gradient of a batch: of all examples, also those of other processes, unless it is local. */
  async gradient(inputs: GradientInputs<T>): Promise<BatchResult<T>> {
    const { kind, random, parameterNames, first = 0, sumGradients } = inputs
    const share = this.#takeShare(inputs)
    const { spec, noise, probes, modeFeeds } = this.#gradientGraph(kind)
    const signs = sampleInputs(
      probes,
      () => random,
      () => 'sign',
      ({ shape }) => shape as readonly number[],
    )
    const noiseValues = new Map([...noise].map(([name, { value }]) => [name, value]))
    const dropoutStreams = inputStreams(random.stream('dropout'), this.graphs.noise)
    const noiseStreams = inputStreams(random, noiseValues)
    if (first > 0 && share.counts) {
      const skip = (value: Value) => this.#elementsBefore(first, value, share)
      skipInputs(this.graphs.noise, dropoutStreams, () => 'uniform', skip)
      skipInputs(noiseValues, noiseStreams, (name) => noise.get(name)!.distribution, skip)
    }
    const run = async (tensors: Tensors, scales: Tensors): Promise<BatchResult<T>> => {
      const dimsOf = (value: Value) => resolveDims(value, tensors, this.graphs.data)
      const dropout = sampleInputs(this.graphs.noise, dropoutStreams, () => 'uniform', dimsOf)
      const sampled = sampleInputs(noiseValues, noiseStreams, (name) => noise.get(name)!.distribution, dimsOf)
      const feeds = { ...tensors, ...modeFeeds, ...scales, ...signs, ...dropout, ...sampled }
      const result = await this.#run(spec, feeds, inputs, parameterNames)
      // The other outputs of a conditional graph belong to the given targets, not to the sampled ones.
      return kind === 'loss' ? result : { ...result, loss: 0, sums: {}, statistics: {} }
    }
    const microBatchGraphs = this.#microBatchGraphs()
    const group = inputs.isLocal ? undefined : this.#group
    const parts = () => this.#split(share)
    if (!microBatchGraphs) {
      const reduction = noise.size > 0 ? 'sampled' : 'mean'
      if (!this.#group) return this.#runBatch(share, reduction, (tensors) => run(tensors, {}))
      return accumulate(this.#backend, parts(), reduction, (tensors) => run(tensors, {}), group, sumGradients)
    }
    const scales = await this.#lossScales(microBatchGraphs, parts(), inputs, noise.size > 0, group)
    const runPart = (tensors: Tensors, i: number) => run(tensors, scales[i]!)
    return accumulate(this.#backend, parts(), 'sum', runPart, group, sumGradients)
  }

  /** Computes loss and metrics of a batch: of the examples of this process. */
  evaluate(tensors: Tensors, size: number, parameters: T, statistics: ParameterArrays): Promise<BatchResult<T>> {
    return this.#runBatch({ tensors, size, counts: true }, 'mean', (tensors) =>
      this.#run(this.graphs.evaluation, tensors, { parameters, statistics }),
    )
  }

  /** Throws `invalid-data` if batches cannot be split into the number of examples that the model's file fixes. */
  checkSizes(examples: number, batchSize: number): void {
    for (const size of [Math.min(batchSize, examples), examples % batchSize]) this.#microBatchSize(size)
  }

  /** Discards the programs of a lost device. They are compiled again when they are needed. */
  clear(): void {
    this.#compiled.clear()
  }

  async release(): Promise<void> {
    this.#released = true
    const programs = await Promise.allSettled(this.#compiled.values())
    for (const program of programs) if (program.status === 'fulfilled') await program.value.release()
  }

  /** The graph of `kind`, and the constant feeds that select its mode. */
  #gradientGraph(kind: GradientKind): SampledGraph & { readonly modeFeeds: Tensors } {
    const graphs = this.#microBatchGraphs() ?? this.graphs
    const both = this.#backend.fusesCurvature ? graphs.conditional?.() : undefined
    if (kind === 'loss') {
      const spec = both?.spec ?? graphs.training
      return { spec, noise: new Map(), probes: new Map(), modeFeeds: both?.lossFeeds ?? {} }
    }
    if (both) return { ...both, modeFeeds: both.curvatureFeeds }
    const { curvature } = graphs
    if (curvature) return { ...curvature, modeFeeds: {} }
    throw new OnnxIreError(
      'invalid-option',
      "IRE's curvature needs a loss that can be sampled: give the loss `sampled`, or set curvature: 'empirical' or 'hutchinson'",
    )
  }

  /** The graphs whose gradients add up over micro-batches, if batches may be split and the loss needs such graphs. */
  #microBatchGraphs(): MicroBatchGraphs | undefined {
    return this.#fixedBatch !== undefined || Number.isFinite(this.#microBatch) || this.#group
      ? this.graphs.microBatches?.()
      : undefined
  }

  /** Loss scales per micro-batch, from a first pass that counts targets. */
  async #lossScales(
    { divisors, scales: scaleInputs }: MicroBatchGraphs,
    microBatches: Iterable<MicroBatch>,
    at: Pick<GradientInputs<T>, 'parameters' | 'statistics'>,
    sampled: boolean,
    group: ProcessGroup | undefined,
  ): Promise<Tensors[]> {
    const program = await this.#program(divisors)
    const counts: Divisors[] = []
    for (const { tensors, examples } of microBatches) {
      const feeds = Object.entries(this.#feeds(tensors, at)).filter(([name]) => divisors.inputs.has(name))
      const { outputs } = await program.run(Object.fromEntries(feeds), at.parameters)
      const number = (name: string) => (examples === 0 ? 0 : numbersOf(outputs[name]!)[0]!)
      const weights = [...scaleInputs.keys()].map((name) => [name, number(`weight/${name}`)])
      counts.push({ count: number('count'), weights: Object.fromEntries(weights) })
    }
    return lossScales(counts, await sumDivisors(counts, group), sampled).map((scales) =>
      Object.fromEntries(
        [...scaleInputs].map(([name, { name: input, dtype }]) => [input!, tensorFrom(dtype, [], [scales[name]!])]),
      ),
    )
  }

  /** Throws `runtime` after `release`. */
  checkOpen(): void {
    if (this.#released)
      throw new OnnxIreError('runtime', 'trainer is disposed: only export() and checkpoint() still work')
  }

  async #program(spec: GraphSpec): Promise<GradientProgram<T>> {
    this.checkOpen()
    const key = [spec.name, ...spec.outputs.keys()].join('\n')
    const known = this.#compiled.get(key)
    if (known) return known
    const program = this.#backend.compile(spec)
    this.#compiled.set(key, program)
    // A failed compilation is repeated at the next call.
    program.catch(() => this.#compiled.get(key) === program && this.#compiled.delete(key))
    return program
  }

  async #run(
    fullSpec: GraphSpec,
    data: Tensors,
    at: Pick<GradientInputs<T>, 'parameters' | 'statistics'>,
    parameterNames?: ReadonlySet<string>,
  ): Promise<BatchResult<T>> {
    const spec = parameterNames ? selectGradients(fullSpec, parameterNames) : fullSpec
    const program = await this.#program(spec)
    const { outputs, gradients } = await program.run(this.#feeds(data, at), at.parameters).catch((error: unknown) => {
      throw adviseOnMemory(error)
    })
    const number = (name: string): number | undefined => {
      const output = getOwn(outputs, name)
      return output && numbersOf(output)[0]
    }
    const count = number('count')!
    return {
      loss: number('loss') ?? 0,
      count,
      weight: number('weight') ?? count,
      sums: readSums(outputs, this.graphs.metrics.evaluation),
      gradients,
      statistics: statisticsOf(outputs),
    }
  }

  /** All feeds except the parameters. */
  #feeds(data: Tensors, { statistics }: Pick<GradientInputs<T>, 'statistics'>): Tensors {
    return mergeRecords(data, toTensors(this.graphs.statistics, statistics))
  }

  /** Runs a batch at once, or in micro-batches if the model's file or the `microBatch` option limits the examples. */
  async #runBatch(
    share: Share,
    reduction: Reduction,
    run: (tensors: Tensors) => Promise<BatchResult<T>>,
  ): Promise<BatchResult<T>> {
    if (this.#microBatchSize(share.size) >= share.size) return run(share.tensors)
    return accumulate(this.#backend, this.#split(share), reduction, run)
  }

  *#split({ tensors, size, counts }: Share, microSize = this.#microBatchSize(size)): Generator<MicroBatch> {
    for (const part of splitBatch(tensors, size, microSize, (name) => this.#hasExampleAxis(name)))
      yield counts ? part : { ...part, examples: 0 }
  }

  /**
   * Takes the first examples of a batch: a share of them, at least one, or as many as the model's file fixes. Of these,
   * takes those of this process; if it has none, a local gradient is of those that were loaded in their place.
   */
  #takeShare({ batch, size, whole = size, first = 0, share = 1, isLocal = false }: GradientInputs<T>): Share {
    const unit = this.#fixedBatch ?? 1
    const end = Math.min(whole, unit * Math.max(1, Math.round((share * whole) / unit)))
    const own = Math.min(size, Math.max(0, end - first))
    const given = { tensors: batch, size, counts: own > 0 || isLocal }
    if (own === size || (own === 0 && isLocal)) return given
    const taken = own || Math.min(size, unit)
    const { tensors } = this.#split(given, taken).next().value as MicroBatch
    return { tensors, size: taken, counts: own > 0 }
  }

  /** Number of elements of a random input that belong to the `first` examples, which other processes compute. */
  #elementsBefore(first: number, value: Value, { tensors, size }: Share): number {
    const own = sizeOf(resolveDims(value, tensors, this.graphs.data))
    if (this.#fixedBatch !== undefined) return own * (first / this.#fixedBatch)
    const longer = Object.entries(tensors).map(([name, tensor]) => {
      const [length, ...others] = tensor.dims
      const isLonger = length === size && this.#hasExampleAxis(name)
      return [name, isLonger ? { ...tensor, dims: [first + size, ...others] } : tensor]
    })
    return sizeOf(resolveDims(value, Object.fromEntries(longer), this.graphs.data)) - own
  }

  /**
   * Whether the first axis of an input can be the axis of the examples. A length that the file fixes is another axis.
   */
  #hasExampleAxis(name: string): boolean {
    return this.#fixedBatch !== undefined || typeof this.graphs.data.get(name)?.shape?.[0] !== 'number'
  }

  #microBatchSize(size: number): number {
    const fixed = this.#fixedBatch
    if (!fixed) return Math.min(size, this.#microBatch)
    if (size % fixed === 0) return fixed
    throw new OnnxIreError(
      'invalid-data',
      `the model takes ${fixed} examples at once, and a batch has ${size}: choose a batch size, and a number of examples, divisible by ${fixed}`,
    )
  }
}

/** Messages of runtimes that are out of memory. */
const isOutOfMemory = /failed to allocate|allocation failed|bad_alloc|out of memory|fit the GPU's memory/i

/** Adds advice to the error of a run for which there was not enough memory. */
function adviseOnMemory(error: unknown): unknown {
  if (!(error instanceof Error) || !isOutOfMemory.test(error.message)) return error
  const advice = 'out of memory: lower microBatch, the number of examples that are run at once, or batchSize'
  return new OnnxIreError('runtime', `${advice} (${error.message})`, { cause: error })
}

/** Removes the gradients of all other parameters from a graph, so that they are not computed. */
const selectGradients = (spec: GraphSpec, names: ReadonlySet<string>): GraphSpec => ({
  ...spec,
  outputs: new Map([...spec.outputs].filter(([name]) => !isGradient(name) || names.has(parameterOf(name)))),
})

/** The next running statistics among graph outputs. */
const statisticsOf = (outputs: Tensors): ParameterArrays =>
  Object.fromEntries(
    Object.entries(outputs).flatMap(([name, { data }]) =>
      name.startsWith('next/') ? [[name.slice('next/'.length), data as FloatArray]] : [],
    ),
  )

/**
 * Samples the random inputs of a graph.
 * @param streamOf the random stream of an input
 * @param dimsOf the dims of an input for the current batch
 */
const sampleInputs = (
  inputs: ReadonlyMap<string, Value>,
  streamOf: (name: string) => Random,
  distributionOf: (name: string) => NoiseDistribution | 'uniform' | 'sign',
  dimsOf: (value: Value) => readonly number[],
): Tensors =>
  Object.fromEntries(
    [...inputs].map(([name, value]) => {
      const dims = dimsOf(value)
      const elements = streamOf(name).fill(new Float64Array(sizeOf(dims)), distributionOf(name))
      return [name, tensorFrom(value.dtype, dims, elements)] as const
    }),
  )

/**
 * Advances the random streams of inputs past numbers that other processes sample.
 * @param count the number of elements of an input to skip
 */
function skipInputs(
  inputs: ReadonlyMap<string, Value>,
  streamOf: (name: string) => Random,
  distributionOf: (name: string) => NoiseDistribution | 'uniform',
  count: (value: Value) => number,
): void {
  const skipped = new Float64Array(1024)
  for (const [name, value] of inputs)
    for (let left = count(value); left > 0; left -= skipped.length)
      streamOf(name).fill(skipped.subarray(0, left), distributionOf(name))
}

/**
 * Creates a random stream per input, so that the micro-batches of a batch together sample the numbers of the whole
 * batch. The first input continues the given stream.
 */
function inputStreams(random: Random, inputs: ReadonlyMap<string, Value>): (name: string) => Random {
  const streams = new Map([...inputs.keys()].map((name, i) => [name, i === 0 ? random : random.stream(name)]))
  return (name) => streams.get(name)!
}

/** Resolves the symbolic dims of a random input by the dims of a batch. */
function resolveDims({ name, shape }: Value, batch: Tensors, data: ReadonlyMap<string, Value>): readonly number[] {
  if (isStatic(shape)) return shape
  const lengths = new Map<string, number>()
  for (const [name, value] of data) {
    for (const [axis, dim] of (value.shape ?? []).entries())
      if (typeof dim === 'string') lengths.set(dim, batch[name]!.dims[axis]!)
  }
  return (shape ?? []).map((dim) => {
    const length = evaluateDim(dim, lengths)
    if (length === undefined)
      throw new OnnxIreError(
        'invalid-shape',
        `the length '${dim}' of a random input (${name}) does not follow from the lengths of the data: give the model's inputs and outputs the same name for this length`,
      )
    return length
  })
}
