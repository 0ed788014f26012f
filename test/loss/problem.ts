import { Random } from '../../src/data/index.js'
import { gradients, input, op, parameter, scalar, type Value } from '../../src/graph/index.js'
import type { Loss, Tensor } from '../../src/index.js'
import { numbersOf, tensorFrom } from '../../src/ir/leaf.js'
import type { Tensors } from '../../src/ir/tensor.js'
import { sizeOf } from '../../src/ir/tensor.js'
import { exportGraph, type GraphSpec } from '../../src/onnx/export/export-graph.js'
import { encode } from '../../src/onnx/proto/encode.js'
import type { Program, Runtime } from '../../src/runtime/runtime.js'

export const [features, classes] = [4, 3]

export const float = (dims: readonly number[], values: ArrayLike<number>): Tensor => tensorFrom('float32', dims, values)
export const int = (dims: readonly number[], values: readonly number[]): Tensor => tensorFrom('int64', dims, values)

/** A source of normal numbers for one file: files share a process, in any order. */
export function normals(seed: number): (...dims: readonly number[]) => Tensor {
  const random = new Random(seed)
  return (...dims) => float(dims, random.fill(new Float32Array(sizeOf(dims)), 'normal'))
}

/** Small, so that no class is so rare that squares of its sampled gradients vary a lot. */
export const w = float(
  [features, classes],
  numbersOf(normals(6)(features, classes)).map((v) => v / 3),
)

/** Results of the graphs of a loss at w. */
export interface Result {
  readonly loss: number
  readonly count: number
  readonly weight: number
  /** By w. */
  readonly gradient: number[]
}

/** A loss on the outputs of a model z = x w, compiled. */
export class Problem {
  private readonly training: Program
  private readonly curvature: Program | null
  private readonly noise: readonly { readonly name: string; readonly value: Value; readonly distribution: never }[]

  /** The names of what it is fed beside w and the noise. */
  readonly takes: ReadonlySet<string>

  private constructor(training: Program, curvature: Program | null, noise: Problem['noise']) {
    this.takes = new Set(training.inputNames.filter((name) => name !== 'w'))
    this.training = training
    this.curvature = curvature
    this.noise = noise
  }

  /** @param heads the outputs made of z = x w, by name; x is [N, ..., 4] of `rank` axes */
  static async create(
    runtime: Runtime,
    loss: Loss,
    { rank = 2, heads = { y: (z: Value) => z } }: Shape = {},
  ): Promise<Problem> {
    const x = input('x', 'float32', ['N', ...Array.from({ length: rank - 2 }, (_, i) => `T${i}`), features])
    const weight = parameter('w', w)
    const z = op.MatMul(x, weight)
    const built = loss.build(new Map(Object.entries(heads).map(([name, head]) => [name, head(z)])))
    const spec = (of: Value, noise: readonly (readonly [string, Value])[] = []): GraphSpec => ({
      name: 'problem',
      inputs: new Map([['x', x], ['w', weight], ...built.targets, ...noise]),
      outputs: new Map([
        ['loss', built.loss],
        ['count', built.count],
        ['weight', built.weight ?? built.count],
        ['gradient', gradients([[of, scalar(of.dtype, 1)]], [weight])[0]!],
      ]),
    })
    const compile = (graph: GraphSpec): Promise<Program> => runtime.compile(encode('ModelProto', exportGraph(graph)))
    const noise = [...(built.sampled?.noise ?? [])].map(([name, { value, distribution }]) => ({
      name,
      value,
      distribution: distribution as never,
    }))
    const sampled =
      built.sampled &&
      spec(
        built.sampled.loss,
        noise.map(({ name, value }): [string, Value] => [name, value]),
      )
    return new Problem(await compile(spec(built.loss)), sampled ? await compile(sampled) : null, noise)
  }

  measure(data: Tensors): Promise<Result> {
    return run(this.training, data)
  }

  /** Against the targets that this noise decides. */
  sample(data: Tensors, noise: Tensors): Promise<Result> {
    return run(this.curvature!, { ...data, ...noise })
  }

  /** @param given dims of x, whose lengths are N, T0, T1 and so on */
  draw(random: Random, given: readonly number[]): Tensors {
    return Object.fromEntries(
      this.noise.map(({ name, value, distribution }) => {
        const dims = value.shape!.map((dim) =>
          typeof dim === 'number' ? dim : given[dim === 'N' ? 0 : 1 + Number(dim.slice(1))]!,
        )
        return [name, float(dims, random.fill(new Float64Array(sizeOf(dims)), distribution))]
      }),
    )
  }

  async release(): Promise<void> {
    await this.training.release()
    await this.curvature?.release()
  }
}

export interface Shape {
  readonly rank?: number
  readonly heads?: Readonly<Record<string, (z: Value) => Value>>
}

async function run(program: Program, data: Tensors): Promise<Result> {
  const outputs = await program.run({ w, ...data })
  const number = (name: string) => numbersOf(outputs[name]!)[0]!
  return {
    loss: number('loss'),
    count: number('count'),
    weight: number('weight'),
    gradient: numbersOf(outputs['gradient']!),
  }
}

/** The rows of z = x w, one per example or position, in double precision. */
export function rowsOf(x: Tensor, weights: ArrayLike<number> = numbersOf(w)): number[][] {
  const values = numbersOf(x)
  return Array.from({ length: values.length / features }, (_, n) =>
    Array.from({ length: classes }, (_, c) => {
      let sum = 0
      for (let f = 0; f < features; f++) sum += values[n * features + f]! * weights[f * classes + c]!
      return sum
    }),
  )
}

/** The gradient of a function of the rows by w, from differences. */
export function differences(x: Tensor, of: (rows: number[][]) => number): number[] {
  const at = numbersOf(w)
  const step = 1e-5
  return at.map((_, i) => {
    const moved = (by: number) => of(rowsOf(x, at.with(i, at[i]! + by)))
    return (moved(step) - moved(-step)) / (2 * step)
  })
}

export const logSoftmax = (z: readonly number[]): number[] => {
  const most = Math.max(...z)
  const log = Math.log(z.reduce((sum, v) => sum + Math.exp(v - most), 0)) + most
  return z.map((v) => v - log)
}
export const softmax = (z: readonly number[]): number[] => logSoftmax(z).map(Math.exp)
export const sigmoid = (z: number): number => 1 / (1 + Math.exp(-z))
export const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0)
export const mean = (values: readonly number[]): number => sum(values) / values.length
