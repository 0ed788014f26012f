import { axisOf, type Dim, type Shape, unknownDim } from '../../ir/shape.js'
import type { Body, TensorType, Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import { checkShape } from '../contents.js'
import { body, define, int, ints } from '../define.js'

/**
 * The common type of two alternatives: unequal dims become unknown. Throws `invalid-model` for different element types.
 */
function common(a: TensorType, b: TensorType, place: string): TensorType {
  if (a.dtype !== b.dtype) throw new OnnxIreError('invalid-model', `${place} has two types, ${a.dtype} and ${b.dtype}`)
  if (!a.shape || a.shape.length !== b.shape?.length) return { dtype: a.dtype, shape: undefined }
  return { dtype: a.dtype, shape: a.shape.map((dim, axis) => (dim === b.shape![axis] ? dim : unknownDim())) }
}

function branchTypes(thenBranch: Body, elseBranch: Body): TensorType[] {
  if (thenBranch.outputs.length !== elseBranch.outputs.length) {
    throw new OnnxIreError(
      'invalid-model',
      `the branches give ${thenBranch.outputs.length} and ${elseBranch.outputs.length} outputs`,
    )
  }
  return thenBranch.outputs.map((value, index) => common(value, elseBranch.outputs[index]!, `output ${index}`))
}

function checkInputCount(body: Body, count: number): void {
  if (body.inputs.length !== count)
    throw new OnnxIreError('invalid-model', `the body has ${body.inputs.length} inputs, but needs ${count}`)
}

/** Types of states after any number of iterations, including 0: the common type of initial value and body result. */
function stateTypes(initial: readonly Value[], results: readonly Value[]): TensorType[] {
  if (results.length < initial.length) {
    throw new OnnxIreError('invalid-model', `the body gives ${results.length} results for ${initial.length} states`)
  }
  return initial.map((value, index) => common(value, results[index]!, `state ${index}`))
}

const stackType = ({ dtype, shape }: TensorType, axis: number, length: Dim): TensorType => ({
  dtype,
  shape: shape && insertedAt(shape, axisOf(axis, shape.length + 1), length),
})

const insertedAt = (shape: Shape, axis: number, length: Dim): Shape => [
  ...shape.slice(0, axis),
  length,
  ...shape.slice(axis),
]

export const control = {
  If: define({
    inputs: ['cond'],
    outputs: ['...outputs'],
    attributes: { then_branch: body.required, else_branch: body.required },
    since: 1,
    hostInputs: ['cond'],
    maxOpset: { webgpu: 22 },
    flops: undefined,
    infer: ({ attributes: { then_branch, else_branch } }) => branchTypes(then_branch, else_branch),
  }),
  /**
   * The body maps (iteration, condition, ...states) to (condition, ...states, ...slices); slices are stacked along a
   * new first axis.
   */
  Loop: define({
    inputs: ['m?', 'cond?', '...initial'],
    outputs: ['...final'],
    attributes: { body: body.required },
    since: 1,
    hostInputs: ['m', 'cond'],
    flops: undefined,
    infer: ({ inputs: [, , ...initial], attributes: { body } }) => {
      checkInputCount(body, 2 + initial.length)
      const results = body.outputs.slice(1)
      // The condition may end the loop before the trip count.
      const iterations = unknownDim()
      return [
        ...stateTypes(initial, results),
        ...results.slice(initial.length).map((slice) => stackType(slice, 0, iterations)),
      ]
    },
  }),
  /** The body maps (...states, ...slices of the scanned inputs) to (...states, ...slices of the scanned outputs). */
  Scan: define({
    inputs: ['...initialAndScanned'],
    outputs: ['...finalAndScanned'],
    attributes: {
      body: body.required,
      num_scan_inputs: int.required,
      scan_input_axes: ints.optional,
      scan_input_directions: ints.optional,
      scan_output_axes: ints.optional,
      scan_output_directions: ints.optional,
    },
    since: 9,
    flops: undefined,
    infer: ({ inputs, attributes: { body, num_scan_inputs, scan_input_axes, scan_output_axes } }) => {
      const states = inputs.length - num_scan_inputs
      if (states < 0 || num_scan_inputs < 1) {
        throw new OnnxIreError('invalid-model', `num_scan_inputs is ${num_scan_inputs} for ${inputs.length} inputs`)
      }
      checkInputCount(body, inputs.length)
      for (const [index, declared] of body.inputs.entries()) {
        const { shape } = inputs[index]!
        const axis = scan_input_axes?.[index - states] ?? 0
        const slice = index < states ? shape : shape?.toSpliced(axisOf(axis, shape.length), 1)
        checkShape(`input ${index} of the body`, declared, slice)
      }
      const scanned = inputs[states]!
      const length = scanned.shape?.[axisOf(scan_input_axes?.[0] ?? 0, scanned.shape.length)] ?? unknownDim()
      const slices = body.outputs.slice(states)
      return [
        ...stateTypes(inputs.slice(0, states), body.outputs),
        ...slices.map((slice, index) => stackType(slice, scan_output_axes?.[index] ?? 0, length)),
      ]
    },
  }),
}
