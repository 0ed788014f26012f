import { OnnxIreError } from '../errors.js'
import { evaluateDim } from '../ir/evaluate.js'
import { numbersOf, tensorFrom } from '../ir/leaf.js'
import { isStatic } from '../ir/shape.js'
import { sizeOf, type Tensor } from '../ir/tensor.js'
import type { Value } from '../ir/value.js'
import type { Noise } from '../loss/loss.js'
import { compileGraph } from '../lower/compile.js'
import type { Contribution } from '../metric/tally.js'
import type { GraphSpec } from '../onnx/export.js'
import type { FloatArray, ParameterArrays } from '../optim/arrays.js'
import type { Random } from '../random.js'
import type { Program, Runtime, Tensors } from '../runtime/runtime.js'
import type { GradientKind, GradientReply } from '../step/step.js'
import type { DrawnGraph, TrainingGraphs } from './graphs.js'
import { inParts } from './parts.js'

/** One batch's gradient with what else the graph tells. */
export interface Evaluated extends GradientReply, Contribution {
  readonly loss: number
  /** Next running statistics, by name; only from a training graph with trained norms. */
  readonly statistics: ParameterArrays
}

/** What a gradient is taken of. */
export interface GradientRun {
  readonly kind: GradientKind
  readonly batch: Tensors
  /** Examples in it. */
  readonly size: number
  readonly parameters: ParameterArrays
  readonly statistics: ParameterArrays
  /** Decides what is sampled. */
  readonly random: Random
  /** The parameters whose gradients are wanted. Default: all. */
  readonly wanted?: ReadonlySet<string>
}

/** A run's graphs, compiled when first needed. */
export class Programs {
  readonly graphs: TrainingGraphs
  private readonly runtime: Runtime
  private readonly compiled = new Map<string, Promise<Program>>()
  /** The number of examples the model takes at once, when its file fixes it. */
  private readonly fixedBatch: number | undefined
  private readonly microBatch: number
  private released = false

  /** @param microBatch the most examples to be run at once; gradients of a larger batch are accumulated */
  constructor(graphs: TrainingGraphs, runtime: Runtime, microBatch = Number.POSITIVE_INFINITY) {
    this.graphs = graphs
    this.runtime = runtime
    this.microBatch = microBatch
    this.fixedBatch = fixedBatchOf(graphs.data)
  }

  /** Compiles what training needs now, so that a graph the runtime refuses is known before the first step. */
  async prepare(curvature: boolean): Promise<void> {
    await this.program(this.graphs.training)
    if (curvature) await this.program(this.curvature().spec)
  }

  async gradient(run: GradientRun): Promise<Evaluated> {
    const { kind, batch, size, random, wanted } = run
    const { spec, noise, probes } = kind === 'curvature' ? this.curvature() : this.training()
    const signs = drawn(
      () => random,
      probes,
      () => 'sign',
      staticDims,
    )
    const values = new Map([...noise].map(([name, { value }]) => [name, value]))
    const dropping = streams(random.stream('dropout'), this.graphs.noise)
    const sampling = streams(random, values)
    return this.whole(batch, size, noise.size > 0, async (part) => {
      const dims = (value: Value) => dimsOf(value, part, this.graphs.data)
      const dropped = drawn(dropping, this.graphs.noise, () => 'uniform', dims)
      const sampled = drawn(sampling, values, (name) => noise.get(name)!.distribution, dims)
      return this.run(spec, { ...part, ...signs, ...dropped, ...sampled }, run, wanted)
    })
  }

  async evaluate(
    batch: Tensors,
    size: number,
    parameters: ParameterArrays,
    statistics: ParameterArrays,
  ): Promise<Evaluated> {
    return this.whole(batch, size, false, (part) => this.run(this.graphs.evaluation, part, { parameters, statistics }))
  }

  /** Refuses, before anything is run, batches that would not fall into parts of the size the model takes. */
  checkSizes(examples: number, batchSize: number): void {
    for (const size of [Math.min(batchSize, examples), examples % batchSize]) this.partOf(size)
  }

  async release(): Promise<void> {
    this.released = true
    const programs = await Promise.allSettled(this.compiled.values())
    for (const program of programs) if (program.status === 'fulfilled') await program.value.release()
  }

  private training(): DrawnGraph {
    return { spec: this.graphs.training, noise: new Map(), probes: new Map() }
  }

  private curvature(): DrawnGraph {
    const { curvature } = this.graphs
    if (curvature) return curvature
    throw new OnnxIreError(
      'invalid-option',
      "this loss cannot be sampled, which IRE's curvature needs: give the loss `sampled`, or set curvature: 'empirical' or 'hutchinson'",
    )
  }

  private async program(spec: GraphSpec): Promise<Program> {
    if (this.released)
      throw new OnnxIreError('runtime', 'this trainer was disposed: it exports and gives checkpoints, and runs no more')
    const key = [spec.name, ...spec.outputs.keys()].join('\n')
    let program = this.compiled.get(key)
    if (!program) {
      program = compileGraph(this.runtime, spec)
      this.compiled.set(key, program)
    }
    return program
  }

  private async run(
    whole: GraphSpec,
    data: Tensors,
    at: Pick<GradientRun, 'parameters' | 'statistics'>,
    wanted?: ReadonlySet<string>,
  ): Promise<Evaluated> {
    const spec = wanted ? restricted(whole, wanted) : whole
    const program = await this.program(spec)
    const tensors = (arrays: ParameterArrays, values: ReadonlyMap<string, Value>): [string, Tensor][] =>
      [...values].map(([name, value]) => [
        name,
        { dtype: value.dtype, dims: value.shape as readonly number[], data: arrays[name]! },
      ])
    const outputs = await program.run({
      ...data,
      ...Object.fromEntries(tensors(at.parameters, this.graphs.parameters)),
      ...Object.fromEntries(tensors(at.statistics, this.graphs.statistics)),
    })
    const number = (name: string): number | undefined => (outputs[name] ? numbersOf(outputs[name])[0] : undefined)
    const count = number('count')!
    return {
      loss: number('loss') ?? 0,
      count,
      weight: number('weight') ?? count,
      sums: named(outputs, 'sum/', (name) => name),
      gradients: named(outputs, 'grad/'),
      statistics: named(outputs, 'next/'),
    }
  }

  /** Runs a batch at once, or in parts where the model or the user says how many examples to take, and averages over the parts. */
  private async whole(
    batch: Tensors,
    size: number,
    sampled: boolean,
    run: (part: Tensors) => Promise<Evaluated>,
  ): Promise<Evaluated> {
    const part = this.partOf(size)
    return part >= size ? run(batch) : inParts(batch, size, part, (name) => this.countsExamples(name), sampled, run)
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

/** The same graph without the gradients that nobody wants: what only they need is not computed. */
const restricted = (spec: GraphSpec, wanted: ReadonlySet<string>): GraphSpec => ({
  ...spec,
  outputs: new Map(
    [...spec.outputs].filter(([name]) => !name.startsWith('grad/') || wanted.has(name.slice('grad/'.length))),
  ),
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
  distribution: (name: string) => Noise | 'uniform' | 'sign',
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
