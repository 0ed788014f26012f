import {
  encodeModel,
  importGraph,
  type Model,
  modelOf,
  OnnxIreError,
  op,
  type ParameterArrays,
  type Program,
  type Runtime,
  type Tensor,
  type Value,
} from 'onnx-ire'
import { wasm } from 'onnx-ire/web'
import { inputOf } from './form.js'

/** A model that is run with whatever weights it has at the moment. */
export class Looking {
  readonly #runtime: Runtime
  readonly #program: Program
  readonly #input: string
  readonly #weights: ReadonlyMap<string, Value>

  private constructor(runtime: Runtime, program: Program, input: string, weights: ReadonlyMap<string, Value>) {
    this.#runtime = runtime
    this.#program = program
    this.#input = input
    this.#weights = weights
  }

  /** One picture at a time is quick enough on the processor. */
  static async at(model: Model): Promise<Looking> {
    const graph = importGraph(model)
    const [input] = inputOf(graph)
    const [logits] = graph.outputs.values()
    const spec = {
      name: 'look',
      inputs: new Map([...graph.inputs, ...graph.parameters]),
      outputs: new Map([['shares', isShares(logits!) ? logits! : op.Softmax(logits!, { axis: -1 })]]),
    }
    const runtime = await wasm({ threads: 1 })
    return new Looking(runtime, await runtime.compile(encodeModel(modelOf(spec))), input, graph.parameters)
  }

  /** @param trained the weights that differ from the model's own */
  async shares(picture: Tensor, trained: ParameterArrays): Promise<readonly number[]> {
    const weights = [...this.#weights].map(([name, { source }]) => {
      const { tensor } = source as { tensor: Tensor }
      if (Object.hasOwn(trained, name) && tensor.dtype !== 'float32')
        throw new OnnxIreError('invalid-model', `'${name}' is ${tensor.dtype}: download the model to try it.`)
      return [name, Object.hasOwn(trained, name) ? { ...tensor, data: trained[name]! } : tensor]
    })
    const { shares } = await this.#program.run({ ...Object.fromEntries(weights), [this.#input]: picture })
    return Array.from(shares!.data as Float32Array)
  }

  async dispose(): Promise<void> {
    await this.#program.release()
    await this.#runtime.dispose()
  }
}

const isShares = ({ source }: Value): boolean => source.kind === 'node' && source.operator === 'Softmax'
