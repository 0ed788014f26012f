import type { Graph, Tensor } from 'onnx-ire'
import { Random } from 'onnx-ire/data'
import { parameter, type Value } from 'onnx-ire/graph'
import { check } from './check.js'

/** Largest number of elements of all parameters of a model: 16 GiB of float32. */
const maxElements = 2 ** 32

/**
 * Randomly initialized parameters of a model. Each is seeded by its name, so adding a layer does not change the others.
 * Elements are generated when they are first read, so building a graph of any size is fast.
 */
export class Weights {
  /** Parameters created so far, by name. */
  readonly parameters = new Map<string, Value>()
  readonly #random: Random
  /** Number of elements of all parameters. */
  #elements = 0

  constructor(seed: number) {
    this.#random = new Random(seed)
  }

  /** Uniform in +-sqrt(1 / fanIn), PyTorch's default for linear and convolutional layers (He, leaky slope sqrt(5)). */
  uniform(name: string, dims: readonly number[], fanIn: number): Value {
    return this.within(name, dims, Math.sqrt(1 / fanIn))
  }

  /** Uniform in +-bound. */
  within(name: string, dims: readonly number[], bound: number): Value {
    return this.#add(name, dims, (random) => bound * (2 * random.uniform() - 1))
  }

  /** Normal with the given standard deviation. */
  normal(name: string, dims: readonly number[], deviation: number): Value {
    return this.#add(name, dims, (random) => deviation * random.normal())
  }

  /** Normal with the given standard deviation, resampled beyond two standard deviations. */
  truncatedNormal(name: string, dims: readonly number[], deviation: number): Value {
    return this.#add(name, dims, (random) => {
      let z = random.normal()
      while (Math.abs(z) > 2) z = random.normal()
      return deviation * z
    })
  }

  /** Constant. */
  fill(name: string, dims: readonly number[], value: number): Value {
    return this.#add(name, dims, () => value)
  }

  /** Model with one input, one output `logits` and these parameters. */
  graph(name: string, x: Value, logits: Value): Graph {
    return {
      name,
      inputs: new Map([[x.name!, x]]),
      parameters: this.parameters,
      outputs: new Map([['logits', logits]]),
    }
  }

  #add(name: string, dims: readonly number[], element: (random: Random) => number): Value {
    const elements = dims.reduce((a, b) => a * b, 1)
    this.#elements += elements
    check(
      this.#elements <= maxElements,
      name,
      `with this tensor [${dims.join(', ')}] the model has more than ${maxElements} elements; reduce its sizes`,
    )
    const generate = () => {
      const random = this.#random.stream(name)
      const data = new Float32Array(elements)
      for (let i = 0; i < data.length; i++) data[i] = element(random)
      return data
    }
    let data: Float32Array | undefined
    const tensor: Tensor = {
      dtype: 'float32',
      dims,
      get data() {
        data ??= generate()
        return data
      },
    }
    const value = parameter(name, tensor)
    this.parameters.set(name, value)
    return value
  }
}
