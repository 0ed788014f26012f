import type { Tensor } from '../../ir/tensor.js'
import { create } from '../../onnx/proto/message.js'
import type { AttributeProto, GraphProto, NodeProto, TensorProto } from '../../onnx/proto/schema.js'
import { toTensorProto } from '../../onnx/proto/tensor.js'
import { claimName } from '../../util/claim-name.js'

/** Domain of LabelEncoder. */
export const encoderDomain = 'ai.onnx.ml'

/** Nodes and constants that are added to a graph, with names that its values do not have. */
export class NodeList {
  readonly before: NodeProto[] = []
  readonly after: NodeProto[] = []
  readonly constants: TensorProto[] = []
  readonly #taken: Set<string>

  constructor({ input, initializer, node }: GraphProto) {
    this.#taken = new Set(node.flatMap(({ output }) => output))
    for (const { name = '' } of [...input, ...initializer]) this.#taken.add(name)
  }

  /**
   * Adds a node, and returns the name of its first output.
   * @param label a part of the name of the node, which messages of runtimes contain
   */
  add(
    opType: string,
    input: readonly string[],
    attribute: readonly AttributeProto[] = [],
    output: readonly string[] = [this.unused(`columns/${opType}`)],
    list: NodeProto[] = this.before,
    label: string = opType,
  ): string {
    const domain = opType === 'LabelEncoder' ? encoderDomain : ''
    list.push(
      create('NodeProto', {
        name: this.unused(`columns/node/${label}`),
        opType,
        domain,
        input,
        output,
        attribute,
      }),
    )
    return output[0]!
  }

  /** Adds a constant, and returns its name. */
  constant(dtype: Tensor['dtype'], dims: readonly number[], data: Tensor['data']): string {
    const name = this.unused('columns/constant')
    this.constants.push(toTensorProto(name, { dtype, dims, data } as Tensor))
    return name
  }

  /** The name, or the name followed by a number if a value of the graph has it; reserves the result. */
  unused(wanted: string): string {
    return claimName(wanted, this.#taken)
  }
}
