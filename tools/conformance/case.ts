import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Tensor } from 'onnx-ire'
import { walkNodes } from '../../dist/onnx/import/model-nodes.js'
import { decode } from '../../dist/onnx/proto/decode.js'
import { create, edit, rewrite } from '../../dist/onnx/proto/message.js'
import { attributeTypes, type ModelProto, type TypeProto } from '../../dist/onnx/proto/schema.js'
import { readTensor } from '../../dist/onnx/proto/tensor.js'

/** Folder of the ONNX backend test data in the Debian package libonnx-testdata. */
export const defaultData = '/usr/share/libonnx-testdata/data'
export const suites = ['node', 'simple', 'pytorch-operator', 'pytorch-converted'] as const

/** A model of the ONNX backend tests with inputs and expected outputs. */
export interface Case {
  /** Suite and name: `node/test_add`. */
  readonly name: string
  readonly bytes: Uint8Array
  readonly proto: ModelProto
  /** Operators of the model, including bodies. */
  readonly operators: readonly string[]
  readonly sets: readonly DataSet[]
}

export interface DataSet {
  readonly inputs: ReadonlyMap<string, Tensor>
  readonly outputs: ReadonlyMap<string, Tensor>
}

/** Lists the names of all cases in a folder of test data. */
export const caseNames = (data: string): string[] =>
  suites.flatMap((suite) =>
    readdirSync(join(data, suite))
      .filter((name) => existsSync(join(data, suite, name, 'model.onnx')))
      .map((name) => `${suite}/${name}`),
  )

/** Thrown for a case that plain tensors cannot express. */
export class NotTensors extends Error {}

export function readCase(data: string, name: string): Case {
  const folder = join(data, name)
  const bytes = new Uint8Array(readFileSync(join(folder, 'model.onnx')))
  const proto = decode('ModelProto', bytes)
  const { graph } = proto
  if (!graph) throw new Error(`${name}: no graph`)
  for (const { name: value, type } of [...graph.input, ...graph.output]) {
    if (!type?.tensorType) throw new NotTensors(`'${value}' is ${kindOf(type)}`)
  }
  const initializers = new Set(graph.initializer.map(({ name }) => name))
  const inputs = graph.input.filter(({ name }) => !initializers.has(name)).map(({ name = '' }) => name)
  const outputs = graph.output.map(({ name = '' }) => name)
  const read = (set: string, kind: 'input' | 'output', names: readonly string[]) =>
    new Map(
      names.map((value, i) => {
        const file = readFileSync(join(folder, set, `${kind}_${i}.pb`))
        return [value, readTensor(decode('TensorProto', new Uint8Array(file)), null, value)] as const
      }),
    )
  const sets = readdirSync(folder)
    .filter((entry) => entry.startsWith('test_data_set_'))
    .map((set) => ({ inputs: read(set, 'input', inputs), outputs: read(set, 'output', outputs) }))
  return {
    name,
    bytes,
    proto: completed(name, proto),
    operators: [...new Set([...walkNodes(graph)].map(({ opType = '?' }) => opType))],
    sets,
  }
}

const kindOf = (type: TypeProto | undefined): string =>
  type?.sequenceType
    ? 'a sequence'
    : type?.optionalType
      ? 'an optional'
      : type?.sparseTensorType
        ? 'a sparse tensor'
        : 'no tensor'

/**
 * The stored outputs of this case were computed with an epsilon that its generator does not write to the node
 * (backend/test/case/node/adam.py of ONNX 1.12).
 */
function completed(name: string, proto: ModelProto): ModelProto {
  if (name !== 'node/test_adam_multiple') return proto
  const epsilon = create('AttributeProto', { name: 'epsilon', type: attributeTypes.float, f: 1e-2 })
  return rewrite('ModelProto', proto, 'NodeProto', (node) => edit(node, { attribute: [...node.attribute, epsilon] }))
}
