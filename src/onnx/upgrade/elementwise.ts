import { type DType, dtypes } from '../../ir/dtype.js'
import { scalar } from '../../ir/leaf.js'
import { OnnxIreError } from '../../util/errors.js'
import { legacyBroadcast } from './legacy-broadcast.js'
import { type Upgrade, type Upgrades, withoutAttributes } from './upgrade.js'

/** `consumed_inputs` of operator set 1 allowed working in place; nobody heeded it. */
const consumed = withoutAttributes('consumed_inputs')

const each = (operators: readonly string[], changes: Readonly<Record<number, Upgrade>>): Upgrades =>
  Object.fromEntries(operators.map((operator) => [operator, changes]))

/** The names of element types that Cast took before operator set 6 which are not onnxruntime's in capitals. */
const typeNames: Readonly<Record<string, DType>> = { FLOAT: 'float32', DOUBLE: 'float64' }

const castByNumber: Upgrade = (node) => {
  const name = `${node.attributes['to'] ?? ''}`.toUpperCase()
  const dtype = typeNames[name] ?? (name.toLowerCase() as DType)
  if (!Object.hasOwn(dtypes, dtype)) {
    throw new OnnxIreError('unsupported-operator', `Cast to '${name}' is not supported`)
  }
  return { ...node, attributes: { ...node.attributes, to: dtypes[dtype].onnx } }
}

/** Bounds became inputs, of the operand's type. */
const boundsToInputs: Upgrade = (node) => {
  const { min, max, ...attributes } = node.attributes
  const [x] = node.inputs
  const bound = (value: unknown) => (typeof value === 'number' && x ? scalar(x.dtype, value) : null)
  return { ...node, attributes, inputs: [x ?? null, bound(min), bound(max)] }
}

const unary = ['Neg', 'Abs', 'Sqrt', 'Reciprocal', 'Exp', 'Log', 'Tanh', 'Ceil', 'Floor']
const arithmetic = ['Add', 'Sub', 'Mul', 'Div']
const compared = ['Pow', 'Equal', 'Greater', 'Less', 'And', 'Or', 'Xor']

export const elementwiseUpgrades: Upgrades = {
  ...each([...unary, 'Min', 'Max', 'Sum', 'Mean'], { 6: consumed }),
  ...each(arithmetic, { 6: consumed, 7: legacyBroadcast }),
  ...each(compared, { 7: legacyBroadcast }),
  Cast: { 6: castByNumber },
  Clip: { 6: consumed, 11: boundsToInputs },
}
