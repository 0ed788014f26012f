import { OnnxIreError } from '../errors.js'
import { numbersOf, tensorFrom } from '../ir/leaf.js'
import { isStatic } from '../ir/shape.js'
import { sizeOf, type Tensor } from '../ir/tensor.js'
import type { Value } from '../ir/value.js'
import { encode } from '../onnx/encode.js'
import { exportGraph, type GraphSpec } from '../onnx/export.js'
import type { FloatArray, ParameterArrays } from '../optim/arrays.js'
import type { Random } from '../random.js'
import type { Program, Runtime, Tensors } from '../runtime/runtime.js'
import type { GradientKind, GradientReply } from '../step/step.js'
import type { TrainingGraphs } from './graphs.js'
import { inParts } from './parts.js'

/** One batch's gradient with what else the graph tells. */
export interface Evaluated extends GradientReply {
  readonly loss: number
  readonly count: number
  readonly correct: number | undefined
  /** Next running statistics, by name; only from a training graph with trained norms. */
  readonly statistics: ParameterArrays
}

/** A run's graphs, compiled when first needed. */
export class Programs {
  readonly graphs: TrainingGraphs
  private readonly runtime: Runtime
  private readonly compiled = new Map<GraphSpec, Promise<Program>>()
  /** The number of examples the model takes at once, when its file fixes it. */
  private readonly fixedBatch: number | undefined

  constructor(graphs: TrainingGraphs, runtime: Runtime) {
    this.graphs = graphs
    this.runtime = runtime
    this.fixedBatch = fixedBatchOf(graphs.data)
  }

  /** Compiles what training needs now, so that a graph the runtime refuses is known before the first step. */
  async prepare(curvature: boolean): Promise<void> {
    await this.program(this.graphs.training)
    if (curvature) await this.program(this.curvature())
  }

  async gradient(
    kind: GradientKind,
    batch: Tensors,
    parameters: ParameterArrays,
    statistics: ParameterArrays,
    random: Random,
  ): Promise<Evaluated> {
    const spec = kind === 'curvature' ? this.curvature() : this.graphs.training
    const noise = kind === 'curvature' ? this.graphs.noise : new Map<string, never>()
    return this.whole(batch, async (part) => {
      const drawn = [...noise].map(([name, { value, distribution }]): [string, Tensor] => {
        const dims = dimsOf(value, part, this.graphs.data)
        const numbers = random.fill(new Float64Array(sizeOf(dims)), distribution)
        return [name, tensorFrom(value.dtype, dims, numbers)]
      })
      return this.run(spec, { ...part, ...Object.fromEntries(drawn) }, parameters, statistics)
    })
  }

  async evaluate(batch: Tensors, parameters: ParameterArrays, statistics: ParameterArrays): Promise<Evaluated> {
    return this.whole(batch, (part) => this.run(this.graphs.evaluation, part, parameters, statistics))
  }

  /** Refuses, before anything is run, batches that would not fall into parts of the size the model takes. */
  checkSizes(examples: number, batchSize: number): void {
    for (const size of [Math.min(batchSize, examples), examples % batchSize]) this.partOf(size)
  }

  async release(): Promise<void> {
    const programs = await Promise.allSettled(this.compiled.values())
    for (const program of programs) if (program.status === 'fulfilled') await program.value.release()
  }

  private curvature(): GraphSpec {
    const { curvature } = this.graphs
    if (curvature) return curvature
    throw new OnnxIreError(
      'invalid-option',
      "this loss cannot be sampled, which IRE's curvature needs: give the loss `sampled`, or set curvature: 'empirical'",
    )
  }

  private program(spec: GraphSpec): Promise<Program> {
    let program = this.compiled.get(spec)
    if (!program) {
      program = this.runtime.compile(encode('ModelProto', exportGraph(spec)))
      this.compiled.set(spec, program)
    }
    return program
  }

  private async run(
    spec: GraphSpec,
    data: Tensors,
    parameters: ParameterArrays,
    statistics: ParameterArrays,
  ): Promise<Evaluated> {
    const program = await this.program(spec)
    const tensors = (arrays: ParameterArrays, values: ReadonlyMap<string, Value>): [string, Tensor][] =>
      [...values].map(([name, value]) => [
        name,
        { dtype: value.dtype, dims: value.shape as readonly number[], data: arrays[name]! },
      ])
    const feeds = {
      ...data,
      ...Object.fromEntries(tensors(parameters, this.graphs.parameters)),
      ...Object.fromEntries(tensors(statistics, this.graphs.statistics)),
    }
    const outputs = await program.run(feeds)
    const number = (name: string): number | undefined => (outputs[name] ? numbersOf(outputs[name])[0] : undefined)
    return {
      loss: number('loss') ?? 0,
      count: number('count')!,
      correct: number('correct'),
      gradients: named(outputs, 'grad/'),
      statistics: named(outputs, 'next/'),
    }
  }

  /** Runs a batch at once, or in parts where the model fixes how many examples it takes, and averages over the parts. */
  private async whole(batch: Tensors, run: (part: Tensors) => Promise<Evaluated>): Promise<Evaluated> {
    const size = Object.values(batch).find(({ dims }) => dims.length > 0)?.dims[0] ?? 0
    const part = this.partOf(size)
    return part === size ? run(batch) : inParts(batch, size, part, run)
  }

  private partOf(size: number): number {
    const part = this.fixedBatch ?? size
    if (part === 0 || size % part === 0) return part
    throw new OnnxIreError(
      'invalid-data',
      `the model takes ${part} examples at once, and a batch holds ${size}: choose a batch size, and a number of examples, divisible by ${part}`,
    )
  }
}

const named = (outputs: Tensors, prefix: string): Record<string, FloatArray> =>
  Object.fromEntries(
    Object.entries(outputs).flatMap(([name, { data }]) =>
      name.startsWith(prefix) ? [[name.slice(prefix.length), data as FloatArray]] : [],
    ),
  )

/** A leading length that every input with axes has and the file fixes. One that only some fix is not the batch's. */
function fixedBatchOf(data: ReadonlyMap<string, Value>): number | undefined {
  const lengths = new Set([...data.values()].flatMap(({ shape }) => (shape?.length === 0 ? [] : [shape?.[0]])))
  const [length] = lengths
  return lengths.size === 1 && typeof length === 'number' ? length : undefined
}

/** The noise's dims, its symbols read off the batch. */
function dimsOf({ shape }: Value, batch: Tensors, data: ReadonlyMap<string, Value>): readonly number[] {
  if (isStatic(shape)) return shape
  const lengths = new Map<string, number>()
  for (const [name, value] of data) {
    for (const [axis, dim] of (value.shape ?? []).entries())
      if (typeof dim === 'string') lengths.set(dim, batch[name]!.dims[axis]!)
  }
  return (shape ?? []).map((dim) => {
    const length = typeof dim === 'number' ? dim : lengths.get(dim)
    if (length === undefined)
      throw new OnnxIreError(
        'invalid-shape',
        `the length '${dim}' of the output is not one of the data's: give the model's inputs and outputs the same name for it`,
      )
    return length
  })
}
