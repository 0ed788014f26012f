import type { TensorMap } from '../backend/backend.js'
import type { GradientKind } from '../backend/step.js'
import { evaluateDim } from '../ir/dim.js'
import type { FloatArray } from '../ir/float-array.js'
import { numbersOf, tensorFrom } from '../ir/leaf.js'
import { isStatic } from '../ir/shape.js'
import type { Tensors } from '../ir/tensor.js'
import { sizeOf } from '../ir/tensor.js'
import type { Value } from '../ir/value.js'
import type { NoiseDistribution } from '../loss/loss.js'
import type { BatchSums } from '../metric/accumulator.js'
import { needed } from '../needed.js'
import type { GraphSpec } from '../onnx/export/export-graph.js'
import type { ParameterArrays } from '../optim/arrays.js'
import { OnnxIreError } from '../util/errors.js'
import type { Random } from '../util/random.js'
import { type Compute, type GradientProgram, isGradient } from './compute.js'
import type { MicroBatchGraphs, TrainingGraphs } from './graphs/build.js'
import type { SampledGraph } from './graphs/loss-and-curvature.js'
import { tensorsOf } from './host-compute.js'
import type { Divisors, Part, Weighing } from './parts.js'

/** One batch's gradient with what else the graph tells; G as in `Compute`. */
export interface Evaluated<G> extends BatchSums {
  readonly loss: number
  readonly gradients: G
  /** Next running statistics, by name; only from a training graph with trained norms. */
  readonly statistics: ParameterArrays
}

/** What a gradient is taken of; P as in `Compute`. */
export interface GradientRun<P> {
  readonly kind: GradientKind
  readonly batch: Tensors
  /** Examples in it. */
  readonly size: number
  readonly parameters: P
  readonly statistics: ParameterArrays
  /** Decides what is sampled. */
  readonly random: Random
  /** The parameters whose gradients are wanted. Default: all. */
  readonly wanted?: ReadonlySet<string>
}

/** A run's graphs, compiled when first needed. */
export class Programs<P extends TensorMap, G> {
  readonly graphs: TrainingGraphs
  private readonly compute: Compute<P, G>
  private readonly compiled = new Map<string, Promise<GradientProgram<P, G>>>()
  /** The number of examples the model takes at once, when its file fixes it. */
  private readonly fixedBatch: number | undefined
  private readonly microBatch: number
  private released = false

  /** @param microBatch the most examples to be run at once; gradients of a larger batch are accumulated */
  constructor(graphs: TrainingGraphs, compute: Compute<P, G>, microBatch = Number.POSITIVE_INFINITY) {
    this.graphs = graphs
    this.compute = compute
    this.microBatch = microBatch
    this.fixedBatch = fixedBatchOf(graphs.data)
  }

  /** Compiles what training needs now, so that a graph the runtime refuses is known before the first step. */
  async prepare(curvature: boolean): Promise<void> {
    await this.program((await this.graphOf('loss')).spec)
    if (curvature) await this.program((await this.graphOf('curvature')).spec)
  }

  async gradient(run: GradientRun<P>): Promise<Evaluated<G>> {
    const { kind, batch, size, random, wanted } = run
    const { spec, noise, probes, told } = await this.graphOf(kind)
    const signs = drawn(
      () => random,
      probes,
      () => 'sign',
      staticDims,
    )
    const values = new Map([...noise].map(([name, { value }]) => [name, value]))
    const dropping = streams(random.stream('dropout'), this.graphs.noise)
    const sampling = streams(random, values)
    const gradientOf = async (part: Tensors, shares: Tensors): Promise<Evaluated<G>> => {
      const dims = (value: Value) => dimsOf(value, part, this.graphs.data)
      const dropped = drawn(dropping, this.graphs.noise, () => 'uniform', dims)
      const sampled = drawn(sampling, values, (name) => noise.get(name)!.distribution, dims)
      const feeds = { ...part, ...told, ...shares, ...signs, ...dropped, ...sampled }
      const found = await this.run(spec, feeds, run, wanted)
      // What a graph of both kinds tells beside its gradients is of the given targets.
      return kind === 'loss' ? found : { ...found, loss: 0, sums: {}, statistics: {} }
    }
    const shared = this.partGraphs()
    if (!shared) return this.whole(batch, size, noise.size > 0, (part) => gradientOf(part, {}))
    const shares = await this.sharesOf(shared, await this.parts(batch, size), run, noise.size > 0)
    return this.overParts(batch, size, 'shares', (part, i) => gradientOf(part, shares[i]!))
  }

  async evaluate(batch: Tensors, size: number, parameters: P, statistics: ParameterArrays): Promise<Evaluated<G>> {
    return this.whole(batch, size, false, (part) => this.run(this.graphs.evaluation, part, { parameters, statistics }))
  }

  /** Refuses, before anything is run, batches that would not fall into parts of the size the model takes. */
  checkSizes(examples: number, batchSize: number): void {
    for (const size of [Math.min(batchSize, examples), examples % batchSize]) this.partOf(size)
  }

  /** After the device of the compiled graphs is lost: they are compiled anew when they are needed. */
  forget(): void {
    this.compiled.clear()
  }

  async release(): Promise<void> {
    this.released = true
    const programs = await Promise.allSettled(this.compiled.values())
    for (const program of programs) if (program.status === 'fulfilled') await program.value.release()
  }

  /** The graph of a gradient, and what it is told beside what is drawn for it. */
  private async graphOf(kind: GradientKind): Promise<SampledGraph & { readonly told: Tensors }> {
    const { training, curvature, conditional } = this.partGraphs() ?? this.graphs
    const both = this.compute.joins ? await conditional?.() : undefined
    if (kind === 'loss')
      return { spec: both?.spec ?? training, noise: new Map(), probes: new Map(), told: both?.plain ?? {} }
    if (both) return { ...both, told: both.sampled }
    if (curvature) return { ...curvature, told: {} }
    throw new OnnxIreError(
      'invalid-option',
      "this loss cannot be sampled, which IRE's curvature needs: give the loss `sampled`, or set curvature: 'empirical' or 'hutchinson'",
    )
  }

  /** Those that add up over parts, where batches may fall into parts and the loss needs it. */
  private partGraphs(): MicroBatchGraphs | undefined {
    return this.fixedBatch !== undefined || Number.isFinite(this.microBatch) ? this.graphs.microBatches?.() : undefined
  }

  /** What each part is to be fed as its shares: told by the targets, which are counted first. */
  private async sharesOf(
    { divisors, shares }: MicroBatchGraphs,
    parts: Iterable<Part>,
    at: Pick<GradientRun<P>, 'parameters' | 'statistics'>,
    sampled: boolean,
  ): Promise<Tensors[]> {
    const program = await this.program(divisors)
    const counted: Divisors[] = []
    for (const { tensors } of parts) {
      const feeds = Object.entries(this.feeds(tensors, at)).filter(([name]) => divisors.inputs.has(name))
      const { outputs } = await program.run(Object.fromEntries(feeds), at.parameters)
      const number = (name: string) => numbersOf(outputs[name]!)[0]!
      const weights = [...shares.keys()].map((name) => [name, number(`weight/${name}`)])
      counted.push({ count: number('count'), weights: Object.fromEntries(weights) })
    }
    const { sharesOf } = await loadedParts()
    return sharesOf(counted, sampled).map((ofPart) =>
      Object.fromEntries(
        [...shares].map(([name, { name: input, dtype }]) => [input!, tensorFrom(dtype, [], [ofPart[name]!])]),
      ),
    )
  }

  private async program(spec: GraphSpec): Promise<GradientProgram<P, G>> {
    if (this.released)
      throw new OnnxIreError('runtime', 'this trainer was disposed: it exports and gives checkpoints, and runs no more')
    const key = [spec.name, ...spec.outputs.keys()].join('\n')
    const known = this.compiled.get(key)
    if (known) return known
    const program = this.compute.compile(spec)
    this.compiled.set(key, program)
    // One that failed is compiled anew when it is needed again.
    program.catch(() => this.compiled.get(key) === program && this.compiled.delete(key))
    return program
  }

  private async run(
    whole: GraphSpec,
    data: Tensors,
    at: Pick<GradientRun<P>, 'parameters' | 'statistics'>,
    wanted?: ReadonlySet<string>,
  ): Promise<Evaluated<G>> {
    const spec = wanted ? restricted(whole, wanted) : whole
    const program = await this.program(spec)
    const { outputs, gradients } = await program.run(this.feeds(data, at), at.parameters)
    const number = (name: string): number | undefined => (outputs[name] ? numbersOf(outputs[name])[0] : undefined)
    const count = number('count')!
    return {
      loss: number('loss') ?? 0,
      count,
      weight: number('weight') ?? count,
      sums: named(outputs, 'sum/', (name) => name),
      gradients,
      statistics: named(outputs, 'next/'),
    }
  }

  /** All that is fed but the parameters. */
  private feeds(data: Tensors, { statistics }: Pick<GradientRun<P>, 'statistics'>): Tensors {
    return { ...data, ...tensorsOf(this.graphs.statistics, statistics) }
  }

  /** Runs a batch at once, or in parts where the model or the user says how many examples to take, and averages over the parts. */
  private async whole(
    batch: Tensors,
    size: number,
    sampled: boolean,
    run: (part: Tensors) => Promise<Evaluated<G>>,
  ): Promise<Evaluated<G>> {
    if (this.partOf(size) >= size) return run(batch)
    return this.overParts(batch, size, sampled ? 'sampled' : 'mean', run)
  }

  private async overParts(
    batch: Tensors,
    size: number,
    weighing: Weighing,
    run: (part: Tensors, index: number) => Promise<Evaluated<G>>,
  ): Promise<Evaluated<G>> {
    const { overParts } = await loadedParts()
    return overParts(this.compute, await this.parts(batch, size), weighing, run)
  }

  private async parts(batch: Tensors, size: number): Promise<Iterable<Part>> {
    const { partsOf } = await loadedParts()
    return partsOf(batch, size, this.partOf(size), (name) => this.countsExamples(name))
  }

  /** Whether an input's first axis can be that of the examples: one of a length that the file fixes is something else. */
  private countsExamples(name: string): boolean {
    return this.fixedBatch !== undefined || typeof this.graphs.data.get(name)?.shape?.[0] !== 'number'
  }

  private partOf(size: number): number {
    const part = this.fixedBatch
    if (!part) return Math.min(size, this.microBatch)
    if (size % part === 0) return part
    throw new OnnxIreError(
      'invalid-data',
      `the model takes ${part} examples at once, and a batch holds ${size}: choose a batch size, and a number of examples, divisible by ${part}`,
    )
  }
}

/** Most runs take their batches whole. */
const loadedParts = () => needed(import('./parts.js'))

/** The same graph without the gradients that nobody wants: what only they need is not computed. */
const restricted = (spec: GraphSpec, wanted: ReadonlySet<string>): GraphSpec => ({
  ...spec,
  outputs: new Map([...spec.outputs].filter(([name]) => !isGradient(name) || wanted.has(name.slice('grad/'.length)))),
})

const named = (outputs: Tensors, prefix: string, key = (name: string) => name.slice(prefix.length)) =>
  Object.fromEntries(
    Object.entries(outputs).flatMap(([name, { data }]) =>
      name.startsWith(prefix) ? [[key(name), data as FloatArray]] : [],
    ),
  )

/** A leading length that every input with axes has and the file fixes. One that only some fix is not the batch's. */
export function fixedBatchOf(data: ReadonlyMap<string, Value>): number | undefined {
  const lengths = new Set([...data.values()].flatMap(({ shape }) => (shape?.length === 0 ? [] : [shape?.[0]])))
  const [length] = lengths
  return lengths.size === 1 && typeof length === 'number' ? length : undefined
}

/** A stream for each input, so that parts of a batch draw together what the whole draws. The first goes on with the given one. */
function streams(random: Random, inputs: ReadonlyMap<string, Value>): (name: string) => Random {
  const own = new Map([...inputs.keys()].map((name, i) => [name, i === 0 ? random : random.stream(name)]))
  return (name) => own.get(name)!
}

const drawn = (
  streamOf: (name: string) => Random,
  inputs: ReadonlyMap<string, Value>,
  distribution: (name: string) => NoiseDistribution | 'uniform' | 'sign',
  dimsFor: (value: Value) => readonly number[],
): Tensors =>
  Object.fromEntries(
    [...inputs].map(([name, value]) => {
      const dims = dimsFor(value)
      return [
        name,
        tensorFrom(value.dtype, dims, streamOf(name).fill(new Float64Array(sizeOf(dims)), distribution(name))),
      ] as const
    }),
  )

/** A parameter's. */
const staticDims = ({ shape }: Value): readonly number[] => shape as readonly number[]

/** The noise's dims, its symbols read off the batch. */
function dimsOf({ shape }: Value, batch: Tensors, data: ReadonlyMap<string, Value>): readonly number[] {
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
        `the length '${dim}', for which numbers have to be drawn, does not follow from those of the data: give the model's inputs and outputs the same name for it`,
      )
    return length
  })
}
