import { Float16Array } from '@petamoriken/float16'
import type { Tensor } from 'onnx-ire'
import type { TypedArray } from 'onnx-ire/graph'
import type { InferenceSession } from 'onnxruntime-node'
import { type DType, dtypes } from '../../dist/ir/dtype.js'

process.env['ORT_DISABLE_TELEMETRY'] ??= '1'
const ort = await import('onnxruntime-node')

/** A model loaded by the CPU provider of onnxruntime. */
export class Session {
  private readonly session: InferenceSession

  private constructor(session: InferenceSession) {
    this.session = session
  }

  static async load(bytes: Uint8Array): Promise<Session> {
    return new Session(await ort.InferenceSession.create(bytes, { logSeverityLevel: 4, intraOpNumThreads: 1 }))
  }

  /** Runs the model; feeds for inputs that the model does not have are ignored. */
  async run(inputs: ReadonlyMap<string, Tensor>): Promise<ReadonlyMap<string, Tensor>> {
    const feeds = this.session.inputNames.flatMap((name) => {
      const tensor = inputs.get(name)
      return tensor ? [[name, toOrt(tensor)] as const] : []
    })
    const results = await this.session.run(Object.fromEntries(feeds))
    return new Map(this.session.outputNames.map((name) => [name, fromOrt(results[name]!)]))
  }

  async dispose(): Promise<void> {
    await this.session.release()
  }
}

function toOrt({ dtype, dims, data }: Tensor): InstanceType<typeof ort.Tensor> {
  if (dtype === 'string') return new ort.Tensor('string', [...(data as readonly string[])], dims)
  return new ort.Tensor(dtype as 'float32', data as Float32Array, dims)
}

function fromOrt({ type, dims, data }: InstanceType<typeof ort.Tensor>): Tensor {
  const dtype = type as DType
  // The binding returns float16 as Float16Array if the platform has one.
  const bits =
    dtype === 'float16' && !(data instanceof Uint16Array)
      ? new Uint16Array(Float16Array.from(data as never).buffer)
      : data
  return { dtype, dims, data: (dtypes[dtype].array ? bits : data) as TypedArray }
}
