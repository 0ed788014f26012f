import { parameter, Random, type Tensor, type Value } from 'onnx-ire'

/** Draws a model's parameters, seeded by name: adding a layer does not change the others. */
export class Weights {
  /** Every parameter drawn so far, by name. */
  readonly drawn = new Map<string, Value>()
  private readonly random: Random

  constructor(seed: number) {
    this.random = new Random(seed)
  }

  /** Uniform in +-sqrt(1 / fanIn): PyTorch's default for linear and convolution layers (He, leaky slope sqrt(5)). */
  uniform(name: string, dims: readonly number[], fanIn: number): Value {
    const random = this.random.stream(name)
    const bound = Math.sqrt(1 / fanIn)
    return this.add(name, dims, () => bound * (2 * random.uniform() - 1))
  }

  /** Normal with the given standard deviation. */
  normal(name: string, dims: readonly number[], deviation: number): Value {
    const random = this.random.stream(name)
    return this.add(name, dims, () => deviation * random.normal())
  }

  fill(name: string, dims: readonly number[], value: number): Value {
    return this.add(name, dims, () => value)
  }

  private add(name: string, dims: readonly number[], element: () => number): Value {
    const tensor: Tensor = {
      dtype: 'float32',
      dims,
      data: Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, element),
    }
    const value = parameter(name, tensor)
    this.drawn.set(name, value)
    return value
  }
}
