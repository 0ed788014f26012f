import { dtypes, isHalf } from '../ir/dtype.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { OnnxIreError } from '../util/errors.js'

/** The output a loss is told to work on. Throws `invalid-option` listing the outputs there are. */
export function outputNamed(outputs: ReadonlyMap<string, Value>, name: string | undefined, loss: string): Value {
  const value = name === undefined && outputs.size === 1 ? [...outputs.values()][0] : outputs.get(name ?? '')
  if (value) return value
  const there = [...outputs.keys()].map((output) => `'${output}'`).join(', ')
  throw new OnnxIreError(
    'invalid-option',
    name === undefined
      ? `${loss}: name one of the model's outputs: ${there}`
      : `${loss}: the model has no output '${name}'; it has ${there}`,
  )
}

/** The value behind Identity nodes: views do not change what is compared, so they may be passed over. */
export function throughViews(value: Value): Value {
  let behind = value
  while (behind.source.kind === 'node' && behind.source.operator === 'Identity') behind = behind.source.inputs[0]!
  return behind
}

/** Half floats in float32: a sum over a batch's positions exceeds float16 (65504), and labels are counted in float. */
export const inFullPrecision = (x: Value): Value => (isHalf(x.dtype) ? op.Cast(x, { to: dtypes.float32.onnx }) : x)
