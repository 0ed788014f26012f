import { input, tensorFrom } from '../ir/leaf.js'
import { type Tensor, tensor } from '../ir/tensor.js'
import type { Value } from '../ir/value.js'
import { compileGraph } from '../lowering/compile.js'
import type { GraphSpec } from '../onnx/export/export-graph.js'
import type { MomentArray } from '../optim/arrays.js'
import {
  type GraphRule,
  type MomentType,
  momentTypeOf,
  type UpdateVariant,
  updateToOnnx,
} from '../optim/base-optimizer.js'
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
   * @throws OnnxIreError `invalid-option` for float64, `runtime`
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
    const variant = { clipped: scalars['limit']! < Infinity, enhanced: mask !== undefined }
    const given = { ...arrays, ...(mask ? { n: Float32Array.from(mask) } : {}) }
    const key = JSON.stringify([rule.key, dims, variant])
    let program = this.#programs.get(key)
    if (!program) {
      program = compileGraph(this.#runtime, buildTensorUpdate(rule, dims, variant))
      this.#programs.set(key, program)
      // A failed compilation is repeated at the next call.
      program.catch(() => this.#programs.delete(key))
    }
    const feeds: Record<string, Tensor> = emptyRecord()
    for (const [array, data] of Object.entries(given)) {
      const type = momentTypeOf(rule, array, dims)
      feeds[`array/${array}`] = tensor(type.dtype, type.dims, data)
    }
    for (const scalar of updateScalars(rule, variant))
      feeds[`scalar/${scalar}`] = tensorFrom('float32', [], [scalars[scalar]!])
    const outputs = await (await program).run(feeds)
    return Object.fromEntries(Object.entries(outputs).map(([output, { data }]) => [output, data as MomentArray]))
  }

  async release(): Promise<void> {
    const programs = await Promise.allSettled(this.#programs.values())
    this.#programs.clear()
    for (const program of programs) if (program.status === 'fulfilled') await program.value.release()
  }
}

/**
 * Builds the update of one tensor: inputs `array/<theta, g, moment or n>` and `scalar/<name>`, outputs `theta` and the
 * moments.
 */
export function buildTensorUpdate(rule: GraphRule, dims: readonly number[], variant: UpdateVariant): GraphSpec {
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
  const arrayNames = ['theta', 'g', ...rule.moments, ...(variant.enhanced ? ['n'] : [])]
  const arrays = declare('array', arrayNames, (name) => momentTypeOf(rule, name, dims))
  const scalars = declare('scalar', updateScalars(rule, variant), () => ({ dtype: 'float32', dims: [] }))
  const outputs = new Map(Object.entries(updateToOnnx(rule, variant, arrays, scalars).outputs))
  return { name: 'update', inputs, outputs }
}

/** The names of the scalars of an update. */
const updateScalars = (rule: GraphRule, { clipped, enhanced }: UpdateVariant): readonly string[] => [
  ...rule.scalars,
  'scale',
  ...(clipped ? ['limit'] : []),
  ...(enhanced ? ['kappa'] : []),
]
