import type { DType } from '../../ir/dtype.js'
import { input } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { type GraphSpec, modelOf } from '../../onnx/export/export-graph.js'
import { encodeModel } from '../../onnx/model.js'
import { op } from '../../op/op.js'
import { momentTypeOf, scalarsOf, type UpdateRule, updateToOnnx } from '../../optim/base-optimizer.js'
import type { Formula } from '../../optim/expr/expr.js'
import { FLOAT32_MAX, formulaToOnnx, sumElements } from '../../optim/expr/onnx.js'
import { clippedSquaresFormula, squaresFormula } from '../../optim/gradient-norm.js'
import { adaptiveAscentFormula, adaptiveNormFormula, ascentFormula } from '../../optim/sam.js'
import type { Device, DeviceProgram } from '../../runtime/device.js'
import { append } from '../../util/append.js'
import type { TensorGroup } from './tensor-groups.js'

/** One group in the update of a step. */
export interface GroupUpdate {
  readonly group: TensorGroup
  readonly rule: UpdateRule
  /** Number of a set of coefficients; groups of the same number share the inputs. */
  readonly coefficients: number
  /** Whether the mask of the group is an input. */
  readonly enhanced: boolean
}

/** The properties that determine the graph of an update. */
interface UpdateForm {
  readonly updates: readonly GroupUpdate[]
  readonly clipsValue: boolean
  readonly clipsNorm: boolean
  /** Whether the sum of squares of the ascent's gradient is an input; it has to be finite too. */
  readonly ascended: boolean
}

/** Inputs or outputs of a graph under construction. */
type Ports = Map<string, Value>

/** The name of one tensor of a group in a graph. */
export const partName = (prefix: string, group: number, part: number): string => `${prefix}/${group}/${part}`

/** The name of a coefficient in a graph. */
export const coefficientName = (coefficients: number, scalar: string): string => `coefficient/${coefficients}/${scalar}`

/**
 * Builds the update of a step: theta and the moments by `updateToOnnx`, with scale = min(1, clipNorm / (||g|| + 1e-6))
 * for the g after clipping by value. If the sum of squares is not finite, all outputs equal the inputs.
 *
 * Inputs: `g/<group>/<part>`, `theta/<group>`, `<moment>/<group>`, `n/<group>`, `coefficient/<number>/<scalar>`,
 * `kappa`, `clipValue`, `clipNorm`, `ascent`. Outputs: `next/theta/<group>`, `next/<moment>/<group>`; for groups of
 * several tensors `parameter/<group>/<part>` and the gradients `flat/<group>`; `sums`, the sum of squares of every
 * group's gradient, followed by `ascent`; `estimate/<name>`, the sums of squares of the formulas over all groups.
 */
export function buildUpdateGraph(form: UpdateForm): GraphSpec {
  const { updates, clipsValue, clipsNorm, ascended } = form
  const inputs: Ports = new Map()
  const outputs: Ports = new Map()
  const limit = clipsValue ? addInput(inputs, 'clipValue') : Infinity
  const gradients = updates.map(({ group }) => packInputs(inputs, 'g', group))
  const sums = stackScalars(gradients.map((g) => formulaToOnnx(squaresFormula, { g }).squares['squares']!))
  const total = sumElements(sums)
  const ascent = ascended ? addInput(inputs, 'ascent') : undefined
  outputs.set('sums', ascent ? op.Concat([sums, op.Reshape(ascent, [1])], { axis: 0 }) : sums)
  const finite = op.LessOrEqual(total, FLOAT32_MAX)
  const proceed = ascent ? op.And(finite, op.LessOrEqual(ascent, FLOAT32_MAX)) : finite
  const norm = () => (limit === Infinity ? op.Sqrt(total) : clippedNorm(gradients, limit as Value))
  const scale = clipsNorm ? op.Min([op.Div(addInput(inputs, 'clipNorm'), op.Add(norm(), 1e-6)), 1]) : 1

  const estimates = new Map<string, Value[]>()
  updates.forEach(({ group, rule, coefficients, enhanced }, i) => {
    const { id, dims, parts } = group
    const g = gradients[i]!
    const old: Record<string, Value> = { theta: addInput(inputs, `theta/${id}`, dims) }
    for (const moment of rule.moments) {
      const type = momentTypeOf(rule, moment, dims)
      old[moment] = addInput(inputs, `${moment}/${id}`, type.dims, type.dtype)
    }
    const scalars: Record<string, Value | number> = { limit, scale }
    for (const name of scalarsOf(rule)) scalars[name] = sharedInput(inputs, coefficientName(coefficients, name))
    if (enhanced) scalars['kappa'] = sharedInput(inputs, 'kappa')
    const arrays = { ...old, g, ...(enhanced ? { n: addInput(inputs, `n/${id}`, dims) } : {}) }
    const { outputs: next, squares } = updateToOnnx(rule, { clipped: clipsValue, enhanced }, arrays, scalars)
    for (const [name, sum] of Object.entries(squares)) append(estimates, name, sum)
    for (const [name, value] of Object.entries(next))
      outputs.set(`next/${name}/${id}`, op.Where(proceed, value, old[name]!))
    if (parts.length === 1) return
    unpackOutputs(outputs, 'parameter', group, outputs.get(`next/theta/${id}`)!)
    outputs.set(`flat/${id}`, g)
  })
  for (const [name, sums] of estimates) outputs.set(`estimate/${name}`, sumElements(stackScalars(sums)))
  return { name: 'update', inputs, outputs }
}

/**
 * Builds SAM's ascent: `ascentFormula` or `adaptiveAscentFormula`, with scale = rho / (norm + 1e-12).
 *
 * Inputs: `g/<group>/<part>`, `theta/<group>`, `rho`. Outputs: `ascended/<group>/<part>`; for groups of several tensors
 * the gradients `flat/<group>`; `sums`, the sum of squares of every group's gradient, and `total`, their sum.
 */
export function buildAscentGraph(groups: readonly TensorGroup[], adaptive: boolean): GraphSpec {
  const inputs: Ports = new Map()
  const outputs: Ports = new Map()
  const arrays = groups.map((group) => ({
    theta: addInput(inputs, `theta/${group.id}`, group.dims),
    g: packInputs(inputs, 'g', group),
  }))
  const sumSquares = (formula: Formula): Value =>
    stackScalars(arrays.map((own) => formulaToOnnx(formula, own).squares['squares']!))
  const sums = sumSquares(squaresFormula)
  const total = sumElements(sums)
  outputs.set('sums', sums)
  outputs.set('total', total)
  const norm = op.Sqrt(adaptive ? sumElements(sumSquares(adaptiveNormFormula)) : total)
  const scale = op.Div(addInput(inputs, 'rho'), op.Add(norm, 1e-12))
  groups.forEach((group, i) => {
    const results = formulaToOnnx(adaptive ? adaptiveAscentFormula : ascentFormula, arrays[i]!, { scale }).outputs
    unpackOutputs(outputs, 'ascended', group, results['ascended']!)
    if (group.parts.length > 1) outputs.set(`flat/${group.id}`, arrays[i]!.g)
  })
  return { name: 'ascent', inputs, outputs }
}

function addInput(inputs: Ports, name: string, dims: readonly number[] = [], dtype: DType = 'float32'): Value {
  const value = input(name, dtype, dims)
  inputs.set(name, value)
  return value
}

/** A scalar input that several groups read. */
const sharedInput = (inputs: Ports, name: string): Value => inputs.get(name) ?? addInput(inputs, name)

/** Adds one input per tensor of a group, `<prefix>/<group>/<part>`, and concatenates them to the group's array. */
function packInputs(inputs: Ports, prefix: string, { id, parts }: TensorGroup): Value {
  const tensors = parts.map(({ dims }, i) => addInput(inputs, partName(prefix, id, i), dims))
  if (tensors.length === 1) return tensors[0]!
  const flat = tensors.map((x, i) => op.Reshape(x, [parts[i]!.length]))
  return op.Concat(flat, { axis: 0 })
}

/** Adds one output per tensor of a group, `<prefix>/<group>/<part>`, sliced from the group's array. */
function unpackOutputs(outputs: Ports, prefix: string, { id, parts }: TensorGroup, x: Value): void {
  parts.forEach(({ dims, offset, length }, i) => {
    const part = parts.length === 1 ? x : op.Reshape(op.Slice(x, [offset], [offset + length], [0]), dims)
    outputs.set(partName(prefix, id, i), part)
  })
}

/** Stacks scalars to one vector. */
const stackScalars = (scalars: readonly Value[]): Value =>
  op.Concat(
    scalars.map((x) => op.Reshape(x, [1])),
    { axis: 0 },
  )

/** The norm of gradients after clipping every element to [-limit, limit]. */
function clippedNorm(gradients: readonly Value[], limit: Value): Value {
  const sums = gradients.map((g) => formulaToOnnx(clippedSquaresFormula, { g }, { limit }).squares['squares']!)
  return op.Mul(limit, op.Sqrt(sumElements(stackScalars(sums))))
}

/**
 * Compiled graphs by key; all their outputs stay on the device. Programs are released together at the end, because on
 * some devices a tensor must not outlive the session that created it.
 */
export class ProgramCache {
  readonly #device: Device
  readonly #programs = new Map<string, DeviceProgram>()

  constructor(device: Device) {
    this.#device = device
  }

  /** Returns the program of `key`; builds and compiles its graph at the first call. */
  async get(key: string, build: () => GraphSpec): Promise<DeviceProgram> {
    const known = this.#programs.get(key)
    if (known) return known
    const program = await this.#device.compile(encodeModel(modelOf(build())), () => true)
    this.#programs.set(key, program)
    return program
  }

  /** Releases all programs; release their outputs first. Programs that are needed later are compiled again. */
  async release(): Promise<void> {
    const programs = [...this.#programs.values()]
    this.#programs.clear()
    for (const program of programs) await program.release()
  }
}
