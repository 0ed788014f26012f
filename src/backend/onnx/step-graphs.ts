import type { DType } from '../../ir/dtype.js'
import { largestFloat32 } from '../../ir/dtype.js'
import { input, scalar } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { compileOnDevice } from '../../lowering/compile.js'
import type { GraphSpec } from '../../onnx/export/export-graph.js'
import { op } from '../../op/op.js'
import { momentTypeOf, scalarsOf, type UpdateRule, updateToOnnx } from '../../optim/base-optimizer.js'
import { formulaToOnnx, sumElements } from '../../optim/expr/onnx.js'
import { clippedSquaresFormula, squaresFormula } from '../../optim/gradient-norm.js'
import {
  adaptiveAscentFormula,
  adaptiveNormFormula,
  ascentFormula,
  friendlyFormula,
  type SamOptimizer,
} from '../../optim/sam.js'
import type { Device, DeviceProgram } from '../../runtime/device.js'
import type { Runtime } from '../../runtime/runtime.js'
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
  /** The variant of SAM; undefined without SAM. */
  readonly variant: SamOptimizer['variant'] | undefined
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
 * `kappa`, `clipValue`, `clipNorm`, `ascent`, `alpha`, `carried/<group>/<part>`. Outputs: `next/theta/<group>`,
 * `next/<moment>/<group>`; for groups of several tensors `parameter/<group>/<part>` and the gradients `flat/<group>`;
 * `sums`, the sum of squares of every group's gradient, followed by `ascent`; `applied`, that of the gradient with
 * LookSAM's component; `estimate/<name>`, the sums of squares of the formulas over all groups.
 */
export function buildUpdateGraph(form: UpdateForm): GraphSpec {
  const { updates, clipsValue, clipsNorm, ascended } = form
  const inputs: Ports = new Map()
  const outputs: Ports = new Map()
  const limit = clipsValue ? addInput(inputs, 'clipValue') : Infinity
  const given = updates.map(({ group }) => packInputs(inputs, 'g', group))
  const sums = sumsOfSquares(given)
  const { gradients, moment, next: nextMoments } = addSamVariant(form, inputs, given)
  const total = sumElements(gradients === given ? sums : sumsOfSquares(gradients))
  const ascent = ascended ? addInput(inputs, 'ascent') : undefined
  outputs.set('sums', ascent ? op.Concat([sums, op.Reshape(ascent, [1])], { axis: 0 }) : sums)
  if (gradients !== given) outputs.set('applied', total)
  const finite = op.LessOrEqual(total, largestFloat32)
  const proceed = ascent ? op.And(finite, op.LessOrEqual(ascent, largestFloat32)) : finite
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
    const own = moment && nextMoments ? { [moment]: nextMoments[i]! } : {}
    if (moment && nextMoments) old[moment] = samInput(inputs, moment, group)
    for (const [name, value] of Object.entries({ ...next, ...own }))
      outputs.set(`next/${name}/${id}`, op.Where(proceed, value, old[name]!))
    if (parts.length === 1) return
    unpackOutputs(outputs, 'parameter', group, outputs.get(`next/theta/${id}`)!)
    outputs.set(`flat/${id}`, given[i]!)
  })
  for (const [name, sums] of estimates) outputs.set(`estimate/${name}`, sumElements(stackScalars(sums)))
  return { name: 'update', inputs, outputs }
}

/** The array of a variant of SAM of one group. */
const samInput = (inputs: Ports, moment: string, { id, dims }: TensorGroup): Value =>
  inputs.get(`${moment}/${id}`) ?? addInput(inputs, `${moment}/${id}`, dims)

/**
 * Adds the part of the variants of SAM to an update; see `sam`.
 * @returns the gradients of the base optimizer, and the next values of the variant's moment if they change
 */
function addSamVariant({ updates, ascended, variant }: UpdateForm, inputs: Ports, given: readonly Value[]) {
  const groups = updates.map(({ group }) => group)
  if (variant === 'friendly' && ascended) {
    const next = groups.map((group) => packInputs(inputs, 'carried', group))
    return { gradients: given, moment: 'gradientMean', next }
  }
  if (variant !== 'look') return { gradients: given }
  if (ascended) {
    const first = groups.map((group) => packInputs(inputs, 'carried', group))
    const products = given.map((g, i) => sumElements(op.Mul(g, first[i]!)))
    const share = quotient(sumElements(stackScalars(products)), sumElements(sumsOfSquares(first)))
    const next = given.map((g, i) => op.Sub(g, op.Mul(first[i]!, share)))
    return { gradients: given, moment: 'gradientComponent', next }
  }
  const components = groups.map((group) => samInput(inputs, 'gradientComponent', group))
  const [norm, length] = [given, components].map((arrays) => op.Sqrt(sumElements(sumsOfSquares(arrays))))
  const factor = op.Mul(addInput(inputs, 'alpha'), quotient(norm!, length!))
  return { gradients: given.map((g, i) => op.Add(g, op.Mul(components[i]!, factor))) }
}

/** a / b for b >= 0; 0 if b is 0. */
const quotient = (a: Value, b: Value): Value =>
  op.Where(op.Greater(b, 0), op.Div(a, op.Max([b, 1e-38])), scalar('float32', 0))

/**
 * Builds SAM's ascent: `ascentFormula` or `adaptiveAscentFormula`, with scale = rho / (norm + 1e-12).
 *
 * Inputs: `g/<group>/<part>`, `theta/<group>`, `rho`; for friendly SAM `gradientMean/<group>`, `sigma` and
 * `oneMinusDecay`. Outputs: `ascended/<group>/<part>`; for groups of several tensors the gradients `flat/<group>`;
 * `sums`, the sum of squares of every group's gradient, and `total`, their sum; `carried/<group>/<part>`, what the
 * update needs: the next mean of friendly SAM, or the gradient for LookSAM.
 * @param isFirst whether no earlier step trained the tensors of a group
 */
export function buildAscentGraph(
  groups: readonly TensorGroup[],
  { adaptive, variant }: Pick<SamOptimizer, 'adaptive' | 'variant'>,
  isFirst: (group: TensorGroup) => boolean,
): GraphSpec {
  const inputs: Ports = new Map()
  const outputs: Ports = new Map()
  const given = groups.map((group) => packInputs(inputs, 'g', group))
  const directions = groups.map((group, i) => {
    if (variant !== 'friendly') return given[i]!
    const scalars = isFirst(group)
      ? { sigma: 0, oneMinusDecay: 1 }
      : { sigma: sharedInput(inputs, 'sigma'), oneMinusDecay: sharedInput(inputs, 'oneMinusDecay') }
    const read = { g: given[i]!, gradientMean: samInput(inputs, 'gradientMean', group) }
    const { direction, nextMean } = formulaToOnnx(friendlyFormula, read, scalars).outputs
    unpackOutputs(outputs, 'carried', group, nextMean!)
    return direction!
  })
  if (variant === 'look')
    for (const [i, group] of groups.entries()) unpackOutputs(outputs, 'carried', group, op.Identity(given[i]!))
  const sums = sumsOfSquares(given)
  const total = sumElements(sums)
  outputs.set('sums', sums)
  outputs.set('total', total)
  const arrays = groups.map(({ id, dims }, i) => ({ theta: addInput(inputs, `theta/${id}`, dims), g: directions[i]! }))
  const squares = adaptive
    ? sumElements(stackScalars(arrays.map((own) => formulaToOnnx(adaptiveNormFormula, own).squares['squares']!)))
    : sumElements(sumsOfSquares(directions))
  const norm = op.Sqrt(squares)
  const scale = op.Div(addInput(inputs, 'rho'), op.Add(norm, 1e-12))
  groups.forEach((group, i) => {
    const results = formulaToOnnx(adaptive ? adaptiveAscentFormula : ascentFormula, arrays[i]!, { scale }).outputs
    unpackOutputs(outputs, 'ascended', group, results['ascended']!)
    if (group.parts.length > 1) outputs.set(`flat/${group.id}`, given[i]!)
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

/** The sum of squares of each array, as one vector. */
const sumsOfSquares = (arrays: readonly Value[]): Value =>
  stackScalars(arrays.map((g) => formulaToOnnx(squaresFormula, { g }).squares['squares']!))

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
  readonly #runtime: Runtime
  readonly #device: Device
  readonly #programs = new Map<string, DeviceProgram>()

  constructor(runtime: Runtime, device: Device) {
    this.#runtime = runtime
    this.#device = device
  }

  /** Returns the program of `key`; builds and compiles its graph at the first call. */
  async get(key: string, build: () => GraphSpec): Promise<DeviceProgram> {
    const known = this.#programs.get(key)
    if (known) return known
    const program = await compileOnDevice(this.#runtime, this.#device, build(), () => true)
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
