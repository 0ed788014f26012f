import { type DType, dtypes } from '../../ir/dtype.js'
import type { Tensor } from '../../ir/tensor.js'
import { create } from '../../onnx/message.js'
import { encodeModel } from '../../onnx/model.js'
import type { Handle } from './handle.js'
import type { Ort } from './ort.js'
import { type Invoke, Session } from './session.js'
import type { Value } from './value.js'

/**
 * Moves tensors between memories through models of one Identity: onnxruntime's own functions for copies know nothing of
 * its built-in CUDA provider, while a run reads from any memory and leaves its output in any.
 */
export class Copies {
  readonly #ort: Ort
  readonly #invoke: Invoke
  readonly #options: () => Handle
  readonly #hostMemory: bigint
  readonly #sessions = new Map<DType, Session>()

  constructor(ort: Ort, invoke: Invoke, options: () => Handle, hostMemory: bigint) {
    this.#ort = ort
    this.#invoke = invoke
    this.#options = options
    this.#hostMemory = hostMemory
  }

  /** A copy of `source` in the memory `place`. Throws `OrtFailure`. */
  async to(place: bigint, source: Tensor | Value): Promise<Value> {
    const session = await this.#session(source.dtype)
    const [copy] = await session.run(this.#invoke, this.#hostMemory, [source], [place])
    return copy!
  }

  async #session(dtype: DType): Promise<Session> {
    const known = this.#sessions.get(dtype)
    if (known) return known
    const session = await Session.create(this.#ort, this.#invoke, this.#options(), identity(dtype))
    this.#sessions.set(dtype, session)
    return session
  }

  release(): void {
    for (const session of this.#sessions.values()) session.release()
    this.#sessions.clear()
  }
}

/** y = x, of any shape. */
function identity(dtype: DType): Uint8Array {
  const port = (name: string) =>
    create('ValueInfoProto', {
      name,
      type: create('TypeProto', { tensorType: create('TensorType', { elemType: dtypes[dtype].onnx }) }),
    })
  const graph = create('GraphProto', {
    name: 'copy',
    node: [create('NodeProto', { opType: 'Identity', input: ['x'], output: ['y'] })],
    input: [port('x')],
    output: [port('y')],
  })
  const opsetImport = [create('OperatorSetIdProto', { domain: '', version: 21n })]
  return encodeModel({ proto: create('ModelProto', { irVersion: 10n, graph, opsetImport }), external: null })
}
