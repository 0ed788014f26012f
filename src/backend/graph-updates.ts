import { input, tensorFrom } from '../ir/leaf.js'
import { type Tensor, tensor } from '../ir/tensor.js'
import type { Value } from '../ir/value.js'
import { compileGraph } from '../lowering/compile.js'
import type { MomentArray } from '../optim/arrays.js'
import { type GraphRule, type MomentType, momentTypeOf, updateToOnnx } from '../optim/base-optimizer.js'
import type { Program, Runtime } from '../runtime/runtime.js'
import { OnnxIreError } from '../util/errors.js'
import { emptyRecord } from '../util/record.js'

/** The update of one tensor in host arrays. */
export interface TensorGraph {
  readonly name: string
  readonly rule: GraphRule
  /** `theta`, `g` and the moments. */
  readonly arrays: Readonly<Record<string, MomentArray>>
  /** The mask; undefined if the update is not enhanced. */
  readonly mask: Uint8Array | undefined
  /** The rule's scalars, and `scale`, `kappa` and `limit`, which is infinite without clipping by value. */
  readonly scalars: Readonly<Record<string, number>>
}

/** Updates of host tensors by rules that are ONNX graphs. Tensors of the same shape and rule share a program. */
export class GraphUpdates {
  readonly #runtime: Runtime
  readonly #programs = new Map<string, Promise<Program>>()

  constructor(runtime: Runtime) {
    this.#runtime = runtime
  }

  /**
   * Computes the next `theta` and moments of a tensor, in new arrays.
   * @throws 'invalid-option' for float64, 'runtime'
   */
  async compute(
    { name, rule, arrays, mask, scalars }: TensorGraph,
    dims: readonly number[],
  ): Promise<Readonly<Record<string, MomentArray>>> {
    if (arrays['theta'] instanceof Float64Array)
      throw new OnnxIreError(
        'invalid-option',
        `'${name}' is float64, and this optimizer updates its tensors by float32 graphs: choose an optimizer with a formula, such as adamw`,
      )
    const clipped = scalars['limit']! < Infinity
    const given = { ...arrays, ...(mask ? { n: Float32Array.from(mask) } : {}) }
    const names = [...rule.scalars, 'scale', ...(clipped ? ['limit'] : []), ...(mask ? ['kappa'] : [])]
    const key = JSON.stringify([rule.key, dims, clipped, mask !== undefined])
    let program = this.#programs.get(key)
    if (!program) {
      program = this.#compile(rule, dims, Object.keys(given), names)
      this.#programs.set(key, program)
    }
    const feeds: Record<string, Tensor> = emptyRecord()
    for (const [array, data] of Object.entries(given)) {
      const type = momentTypeOf(rule, array, dims)
      feeds[`array/${array}`] = tensor(type.dtype, type.dims, data)
    }
    for (const scalar of names) feeds[`scalar/${scalar}`] = tensorFrom('float32', [], [scalars[scalar]!])
    const outputs = await (await program).run(feeds)
    return Object.fromEntries(Object.entries(outputs).map(([output, { data }]) => [output, data as MomentArray]))
  }

  async release(): Promise<void> {
    const programs = [...this.#programs.values()]
    this.#programs.clear()
    for (const program of programs) await (await program).release()
  }

  #compile(
    rule: GraphRule,
    dims: readonly number[],
    arrayNames: readonly string[],
    scalarNames: readonly string[],
  ): Promise<Program> {
    const inputs = new Map<string, Value>()
    const declare = (kind: string, names: readonly string[], typeOf: (name: string) => MomentType) =>
      Object.fromEntries(
        names.map((name) => {
          const { dtype, dims } = typeOf(name)
          const value = input(`${kind}/${name}`, dtype, dims)
          inputs.set(value.name!, value)
          return [name, value]
        }),
      )
    const arrays = declare('array', arrayNames, (name) => momentTypeOf(rule, name, dims))
    const scalars = declare('scalar', scalarNames, () => ({ dtype: 'float32', dims: [] }))
    const variant = { clipped: scalarNames.includes('limit'), enhanced: arrayNames.includes('n') }
    const outputs = new Map(Object.entries(updateToOnnx(rule, variant, arrays, scalars).outputs))
    return compileGraph(this.#runtime, { name: 'update', inputs, outputs })
  }
}
