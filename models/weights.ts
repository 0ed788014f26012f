import type { Graph, Tensor } from 'onnx-ire'
import { Random } from 'onnx-ire/data'
import { parameter, type Value } from 'onnx-ire/graph'

/**
 * Draws a model's parameters, seeded by name: adding a layer does not change the others. Elements are drawn when they are
 * first read, so a graph of any size is made at once.
 */
export class Weights {
  /** Every parameter drawn so far, by name. */
  readonly drawn = new Map<string, Value>()
  private readonly random: Random

  constructor(seed: number) {
    this.random = new Random(seed)
  }

  /** Uniform in +-sqrt(1 / fanIn): PyTorch's default for linear and convolution layers (He, leaky slope sqrt(5)). */
  uniform(name: string, dims: readonly number[], fanIn: number): Value {
    return this.within(name, dims, Math.sqrt(1 / fanIn))
  }

  /** Uniform in +-bound. */
  within(name: string, dims: readonly number[], bound: number): Value {
    return this.add(name, dims, (random) => bound * (2 * random.uniform() - 1))
  }

  /** Normal with the given standard deviation. */
  normal(name: string, dims: readonly number[], deviation: number): Value {
    return this.add(name, dims, (random) => deviation * random.normal())
  }

  /** Normal with the given standard deviation, drawn again beyond two of them. */
  truncatedNormal(name: string, dims: readonly number[], deviation: number): Value {
    return this.add(name, dims, (random) => {
      let z = random.normal()
      while (Math.abs(z) > 2) z = random.normal()
      return deviation * z
    })
  }

  fill(name: string, dims: readonly number[], value: number): Value {
    return this.add(name, dims, () => value)
  }

  /** The model of one input and one output `logits` whose parameters these are. */
  graph(name: string, x: Value, logits: Value): Graph {
    return { name, inputs: new Map([[x.name!, x]]), parameters: this.drawn, outputs: new Map([['logits', logits]]) }
  }

  private add(name: string, dims: readonly number[], element: (random: Random) => number): Value {
    const drawn = () => {
      const random = this.random.stream(name)
      const data = new Float32Array(dims.reduce((a, b) => a * b, 1))
      for (let i = 0; i < data.length; i++) data[i] = element(random)
      return data
    }
    let data: Float32Array | undefined
    const tensor: Tensor = {
      dtype: 'float32',
      dims,
      get data() {
        data ??= drawn()
        return data
      },
    }
    const value = parameter(name, tensor)
    this.drawn.set(name, value)
    return value
  }
}
