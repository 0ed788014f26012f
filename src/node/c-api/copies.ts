import type { DType } from '../../ir/dtype.js'
import type { Tensor } from '../../ir/tensor.js'
import { identityModel } from '../../runtime/ort.js'
import type { Handle } from './handle.js'
import type { Ort } from './ort.js'
import { type Invoke, Session } from './session.js'
import type { Value } from './value.js'

/**
 * Copies tensors between memories with models of one Identity node: onnxruntime's copy functions do not support its
 * built-in CUDA provider, but a run reads from any memory and writes its output to any.
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

  /** Copies `source` to the memory `memory`. Throws `OrtFailure`. */
  async to(memory: bigint, source: Tensor | Value): Promise<Value> {
    const session = await this.#session(source.dtype)
    const [copy] = await session.run(this.#invoke, this.#hostMemory, [source], [memory])
    return copy!
  }

  async #session(dtype: DType): Promise<Session> {
    const known = this.#sessions.get(dtype)
    if (known) return known
    const session = await Session.create(this.#ort, this.#invoke, this.#options(), identityModel(dtype))
    this.#sessions.set(dtype, session)
    return session
  }

  release(): void {
    for (const session of this.#sessions.values()) session.release()
    this.#sessions.clear()
  }
}
