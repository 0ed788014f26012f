import { OnnxIreError } from '../errors.js'
import type { TypedArray } from '../ir/dtype.js'
import { numbersOf, tensorFrom } from '../ir/leaf.js'
import { isStatic } from '../ir/shape.js'
import { sizeOf, type Tensor } from '../ir/tensor.js'
import type { Value } from '../ir/value.js'
import { encode } from '../onnx/encode.js'
import { exportGraph, type GraphSpec } from '../onnx/export.js'
import type { FloatArray, Gradients, ParameterArrays } from '../optim/arrays.js'
import type { Random } from '../random.js'
import type { Program, Runtime, Tensors } from '../runtime/runtime.js'
import type { GradientKind, GradientReply } from '../step/step.js'
import type { TrainingGraphs } from './graphs.js'

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
    return this.inParts(batch, async (part) => {
      const drawn = [...noise].map(([name, { value, distribution }]): [string, Tensor] => {
        const dims = dimsOf(value, part, this.graphs.data)
        const numbers = random.fill(new Float64Array(sizeOf(dims)), distribution)
        return [name, tensorFrom(value.dtype, dims, numbers)]
      })
      return this.run(spec, { ...part, ...Object.fromEntries(drawn) }, parameters, statistics)
    })
  }

  async evaluate(batch: Tensors, parameters: ParameterArrays, statistics: ParameterArrays): Promise<Evaluated> {
    return this.inParts(batch, (part) => this.run(this.graphs.evaluation, part, parameters, statistics))
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
  private async inParts(batch: Tensors, run: (part: Tensors) => Promise<Evaluated>): Promise<Evaluated> {
    const size = Object.values(batch)[0]?.dims[0] ?? 0
    const part = this.partOf(size)
    if (part === size) return run(batch)
    const results: Evaluated[] = []
    for (let from = 0; from < size; from += part)
      results.push(await run(mapTensors(batch, (tensor) => rows(tensor, from, part))))
    return averaged(results)
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

function fixedBatchOf(data: ReadonlyMap<string, Value>): number | undefined {
  const lengths = [...data.values()].map(({ shape }) => shape?.[0]).filter((dim) => typeof dim === 'number')
  return lengths[0]
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

const mapTensors = (tensors: Tensors, f: (tensor: Tensor) => Tensor): Tensors =>
  Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, f(tensor)]))

function rows({ dtype, dims, data }: Tensor, from: number, count: number): Tensor {
  const width = sizeOf(dims.slice(1))
  return {
    dtype,
    dims: [count, ...dims.slice(1)],
    data: (data as TypedArray).subarray(from * width, (from + count) * width),
  }
}

/** The mean over parts of different counts: each weighs as many examples as it has. */
function averaged(parts: readonly Evaluated[]): Evaluated {
  const count = parts.reduce((sum, part) => sum + part.count, 0)
  // Where every label is ignored, losses and gradients are 0.
  const share = (part: Evaluated) => (count === 0 ? 0 : part.count / count)
  const mean = (of: (part: Evaluated) => number) => parts.reduce((sum, part) => sum + of(part) * share(part), 0)
  const arrays = (
    of: (part: Evaluated) => Gradients,
    weight: (part: Evaluated) => number,
  ): Record<string, FloatArray> =>
    Object.fromEntries(
      Object.entries(of(parts[0]!)).map(([name, first]) => {
        const sum = first instanceof Float64Array ? new Float64Array(first.length) : new Float32Array(first.length)
        for (const part of parts) addScaled(sum, of(part)[name]!, weight(part))
        return [name, sum]
      }),
    )
  return {
    loss: mean((part) => part.loss),
    count,
    correct: parts[0]!.correct === undefined ? undefined : parts.reduce((sum, part) => sum + part.correct!, 0),
    gradients: arrays((part) => part.gradients, share),
    // Every part began with the same running statistics, and normalises as many examples as the others.
    statistics: arrays(
      (part) => part.statistics,
      () => 1 / parts.length,
    ),
  }
}

function addScaled(sum: FloatArray, array: FloatArray, factor: number): void {
  for (let i = 0; i < sum.length; i++) sum[i]! += factor * array[i]!
}
