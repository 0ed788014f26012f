import { gradients, type Seed, zerosLike } from '../../grad/gradient.js'
import { isFloat } from '../../ir/dtype.js'
import { input } from '../../ir/leaf.js'
import type { Graph, Value } from '../../ir/value.js'
import { exportGraph } from '../../onnx/export/export-graph.js'
import { importGraph } from '../../onnx/import/import-graph.js'
import { decodeModel, type Model } from '../../onnx/model.js'
import { encode } from '../../onnx/proto/encode.js'
import type { ModelProto } from '../../onnx/proto/schema.js'
import { OnnxIreError } from '../../util/errors.js'
import { matchNames, type NamePatterns } from '../../util/pattern.js'

/** Options of `gradientModel`. */
export interface GradientModelOptions {
  /** Which inputs and tensors to differentiate with respect to, by name; `*` stands for any characters. Default: all. */
  readonly wrt?: NamePatterns
}

/**
 * The vector-Jacobian product of a model as a model: standard ONNX that any onnxruntime runs.
 *
 * Inputs: the original ones; `dy/<output>` for every floating-point output, of its type and shape; and every floating-point
 * initializer, and floating-point Constant node with more than one element, under its own name (a Constant's is its
 * output's). Settings that no gradient reaches (Resize's scales, Dropout's ratio) stay as they are.
 * Outputs: the original ones; and `grad/<name>` for every floating-point input and every such tensor, of its shape:
 * d(sum_i <dy_i, y_i>) / d<name>, zeros where it has no influence.
 *
 * @param bytes a serialized ModelProto whose tensors lie inside it
 * @throws OnnxIreError `not-differentiable` listing every operator on the way that has no gradient, `unsupported-operator`, `invalid-model`
 */
export function gradientModel(bytes: Uint8Array, options: GradientModelOptions = {}): Uint8Array {
  return encode('ModelProto', buildGradientModel(decodeModel(bytes), options))
}

/** The same from a model that may have external data. */
export function buildGradientModel(model: Model, { wrt }: GradientModelOptions = {}): ModelProto {
  const graph = importGraph(model)
  const candidates = new Map([...[...graph.inputs].filter(([, x]) => isFloat(x.dtype)), ...graph.parameters])
  const names =
    wrt === undefined ? [...candidates.keys()] : matchNames(wrt, candidates.keys(), 'floating-point input or tensor')
  const targets = names.map((name): [string, Value] => [name, candidates.get(name)!])

  const seeds = new Map<string, Seed>()
  for (const [name, y] of graph.outputs) {
    if (isFloat(y.dtype)) seeds.set(`dy/${name}`, [y, input(`dy/${name}`, y.dtype, y.shape)])
  }
  refuseTaken(graph, [...seeds.keys(), ...names.map((name) => `grad/${name}`)])
  const found = gradients(
    [...seeds.values()],
    targets.map(([, x]) => x),
  )
  const dxs = targets.map(([name, x], i): [string, Value] => [`grad/${name}`, found[i] ?? zerosLike(x)])
  return exportGraph({
    name: `${graph.name || 'model'}/gradient`,
    inputs: new Map([
      ...graph.inputs,
      ...[...seeds].map(([name, [, dy]]): [string, Value] => [name, dy]),
      ...targets.filter(([name]) => graph.parameters.has(name)),
    ]),
    outputs: new Map([...graph.outputs, ...dxs]),
    metadata: {
      'onnx-ire.gradients': JSON.stringify(Object.fromEntries(targets.map(([name]) => [name, `grad/${name}`]))),
    },
  })
}

/** A gradient model has such names already: its own gradient is that of a copy with other names. */
function refuseTaken({ inputs, outputs, parameters }: Graph, names: readonly string[]): void {
  const taken = names.find((name) => inputs.has(name) || outputs.has(name) || parameters.has(name))
  if (taken !== undefined)
    throw new OnnxIreError(
      'invalid-option',
      `the model has a tensor named '${taken}' already, which the gradient model would add: rename it, or leave out what it is the gradient of (wrt)`,
    )
}
