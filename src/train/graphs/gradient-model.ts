import { gradients, type Seed, zerosLike } from '../../grad/gradient.js'
import { isFloat } from '../../ir/dtype.js'
import { input } from '../../ir/leaf.js'
import type { Graph, Value } from '../../ir/value.js'
import { exportGraph } from '../../onnx/export/export-graph.js'
import { importGraph } from '../../onnx/import/import-graph.js'
import { decodeModel, type Model } from '../../onnx/model.js'
import { encode } from '../../onnx/proto/encode.js'
import type { ModelProto } from '../../onnx/proto/schema.js'
import { checkNames, invalidOption, isStringList } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { matchNames, type NamePatterns } from '../../util/pattern.js'
import { explainQuantized } from '../model/trainable.js'

/** Options of `gradientModel`. */
export interface GradientModelOptions {
  /** Names of inputs and tensors to differentiate with respect to; `*` matches any characters. Default: all. */
  readonly wrt?: NamePatterns
}

/**
 * Builds the vector-Jacobian product of a model as a standard ONNX model, which runs in any onnxruntime.
 *
 * Inputs: the original ones; `dy/<output>` for every floating-point output, with its type and shape; and every
 * floating-point initializer, and floating-point Constant node with several different elements, under its name (the
 * output name of a Constant). Inputs without a gradient (Resize's scales, Dropout's ratio) are unchanged.
 *
 * Outputs: the original ones; and `grad/<name>` for every floating-point input and every such tensor, with its shape:
 * d(sum_i <dy_i, y_i>) / d<name>, zeros if the outputs do not depend on it.
 *
 * @example
 * const gradient = gradientModel(await readFile('model.onnx'), { wrt: 'x' })
 * await writeFile('gradient.onnx', gradient) // inputs: those of the model, dy/y; outputs: y, grad/x
 *
 * @param bytes a serialized ModelProto without external data
 * @throws OnnxIreError `not-differentiable` listing every operator without a gradient between `wrt` and the outputs, or
 *   if the model has no floating-point input or tensor; `invalid-option` for a pattern of `wrt` without a match, and for
 *   an empty list; `unsupported-operator`, `invalid-model`
 */
export function gradientModel(bytes: Uint8Array, options: GradientModelOptions = {}): Uint8Array {
  return encode('ModelProto', buildGradientModel(decodeModel(bytes), options))
}

/** Builds a gradient model like `gradientModel`, from a decoded model that may have external data. */
export function buildGradientModel(model: Model, options: GradientModelOptions = {}): ModelProto {
  checkNames('gradientModel', options, ['wrt'])
  const { wrt } = options
  if (wrt !== undefined && typeof wrt !== 'string' && !(isStringList(wrt) && wrt.length > 0))
    throw invalidOption('gradientModel', 'wrt', wrt, 'a name, a list of at least one name, or omitted for all')
  const graph = importGraph(model)
  const candidates = new Map([...[...graph.inputs].filter(([, x]) => isFloat(x.dtype)), ...graph.parameters])
  if (candidates.size === 0)
    throw notDifferentiable('the model has no floating-point input or tensor to differentiate with respect to', graph)
  const names =
    wrt === undefined ? [...candidates.keys()] : matchNames(wrt, candidates.keys(), 'floating-point input or tensor')
  const targets = names.map((name): [string, Value] => [name, candidates.get(name)!])

  const seeds = new Map<string, Seed>()
  for (const [name, y] of graph.outputs) {
    if (isFloat(y.dtype)) seeds.set(`dy/${name}`, [y, input(`dy/${name}`, y.dtype, y.shape)])
  }
  checkUnusedNames(graph, [...seeds.keys(), ...names.map((name) => `grad/${name}`)])
  const found = findGradients(
    [...seeds.values()],
    targets.map(([, x]) => x),
    graph,
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

function findGradients(seeds: readonly Seed[], wrt: readonly Value[], graph: Graph): (Value | null)[] {
  try {
    return gradients(seeds, wrt)
  } catch (error) {
    throw error instanceof OnnxIreError && error.code === 'not-differentiable'
      ? notDifferentiable(error.message, graph)
      : error
  }
}

/** The error with a reason; for a quantized model it ends in the advice of a trainer. */
function notDifferentiable(reason: string, graph: Graph): OnnxIreError {
  const advice = explainQuantized(graph)
  return new OnnxIreError('not-differentiable', advice ? `${reason}\n${advice}` : reason)
}

/**
 * Throws `invalid-option` if the model already uses one of the names. A gradient model does: rename its tensors first.
 */
function checkUnusedNames({ inputs, outputs, parameters }: Graph, names: readonly string[]): void {
  const used = names.find((name) => inputs.has(name) || outputs.has(name) || parameters.has(name))
  if (used !== undefined)
    throw new OnnxIreError(
      'invalid-option',
      `the gradient model would add a tensor '${used}', but the model has one of that name: rename it, or exclude its gradient by wrt`,
    )
}
