import { Float16Array } from '@petamoriken/float16'
import { encodeModel, type Model, namedTensors, type Program, type Runtime, type Tensor } from 'onnx-ire'
import { importGraph, modelOf, op, tensor, type Value } from 'onnx-ire/graph'
import { wasm } from 'onnx-ire/web'
import { findInput, findOutput, isShares } from './form.js'

/** A model whose weights are inputs, for predictions with the current weights. */
export class Predictor {
  readonly #runtime: Runtime
  readonly #program: Program
  readonly #input: readonly [name: string, value: Value]

  private constructor(runtime: Runtime, program: Program, input: readonly [string, Value]) {
    this.#runtime = runtime
    this.#program = program
    this.#input = input
  }

  /** The CPU is fast enough for one image at a time. */
  static async at(model: Model): Promise<Predictor> {
    const graph = importGraph(model)
    const logits = findOutput(graph)
    const shares = isShares(logits) ? logits : op.Softmax(logits, { axis: -1 })
    const spec = {
      name: 'look',
      inputs: new Map([...graph.inputs, ...graph.parameters]),
      outputs: new Map([['shares', shares.dtype === 'float32' ? shares : op.Cast(shares, { to: float32 })]]),
    }
    const runtime = await wasm()
    return new Predictor(runtime, await runtime.compile(encodeModel(modelOf(spec))), findInput(graph))
  }

  /**
   * @param picture a batch of one image or row
   * @param model the same model with the current weights
   */
  async shares(picture: Tensor, model: Model): Promise<readonly number[]> {
    const [name, { dtype, shape }] = this.#input
    const tensors = namedTensors(model)
    const weights = this.#program.inputNames.filter((each) => each !== name).map((each) => [each, tensors.get(each)!])
    const asked = repeated(picture, typeof shape?.[0] === 'number' ? shape[0] : 1)
    const { shares } = await this.#program.run({
      ...Object.fromEntries(weights),
      [name]: dtype === 'float16' ? halved(asked) : asked,
    })
    const { data, dims } = shares as { data: Float32Array; dims: readonly number[] }
    return Array.from(data.subarray(0, data.length / dims[0]!))
  }

  async dispose(): Promise<void> {
    await this.#runtime.dispose()
  }
}

const float32 = 1

/** Repeats the image for a model whose file fixes the batch size. */
function repeated(picture: Tensor, count: number): Tensor {
  const one = picture.data as Float32Array
  const all = new Float32Array(count * one.length)
  for (let i = 0; i < count; i++) all.set(one, i * one.length)
  return tensor('float32', [count, ...picture.dims.slice(1)], all)
}

const halved = ({ dims, data }: Tensor): Tensor =>
  tensor('float16', dims, new Uint16Array(Float16Array.from(data as Float32Array).buffer))
