import { type DType, isFloat } from '../ir/dtype.js'
import { numbersOf, tensorFrom } from '../ir/leaf.js'
import { formatShape, type Shape } from '../ir/shape.js'
import type { Tensor, Tensors } from '../ir/tensor.js'
import type { Value } from '../ir/value.js'
import type { LossGraph } from '../loss/loss.js'
import { OnnxIreError } from '../util/errors.js'
import { getOwn } from '../util/record.js'

/**
 * Checks a batch and converts it to the inputs of the graphs: selects the tensors that they read, converts element
 * types, and compares all known lengths except the number of examples, which may differ from the model's
 * (micro-batches).
 * @throws OnnxIreError `invalid-data` naming the tensor, its type or shape, and the expected one
 */
export function prepareBatch(
  batch: Tensors,
  expected: ReadonlyMap<string, Value>,
  labels: LossGraph['labels'],
): Tensors {
  const symbols = new Map<string, { readonly name: string; readonly length: number }>()
  return Object.fromEntries(
    [...expected].map(([name, value]) => {
      const given = getOwn(batch, name)
      if (!given) {
        const available =
          Object.keys(batch)
            .map((key) => `'${key}'`)
            .join(', ') || 'nothing'
        throw new OnnxIreError(
          'invalid-data',
          `the model and its loss need '${name}', ${value.dtype}${formatShape(value.shape)}, but the data has ${available}`,
        )
      }
      const tensor = convert(name, given, value.dtype)
      checkShape(name, tensor, value, symbols)
      const classes = labels?.get(name)
      if (classes && typeof classes.classes === 'number')
        checkLabels(name, tensor, classes.classes, classes.ignoreIndex)
      return [name, tensor]
    }),
  )
}

function convert(name: string, tensor: Tensor, dtype: DType): Tensor {
  if (tensor.dtype === dtype) return tensor
  const widening = isFloat(dtype) ? isFloat(tensor.dtype) : dtype === 'int64' || dtype === 'int32'
  if (!widening || isFloat(tensor.dtype) !== isFloat(dtype) || tensor.dtype === 'string') {
    throw new OnnxIreError(
      'invalid-data',
      `'${name}' is ${tensor.dtype}, but the graph takes ${dtype}: ${adviseType(dtype)}`,
    )
  }
  return tensorFrom(dtype, tensor.dims, numbersOf(tensor))
}

/** Advice for data of another type than the graph takes. */
function adviseType(dtype: DType): string {
  if (isFloat(dtype))
    return "convert the data (imageColumn(...) for pixels; in a table as: 'number', or 'one-hot' for names)"
  return dtype === 'int64' || dtype === 'int32'
    ? "convert the data (labelColumn(...) for class numbers; in a table or JSON lines as: 'class' for names, or 'integer')"
    : 'convert the data'
}

function checkShape(
  name: string,
  { dims }: Tensor,
  { shape }: Value,
  symbols: Map<string, { readonly name: string; readonly length: number }>,
): void {
  if (!shape) return
  const wrong =
    dims.length !== shape.length ||
    dims.some((dim, axis) => axis > 0 && typeof shape[axis] === 'number' && shape[axis] !== dim)
  if (wrong)
    throw new OnnxIreError(
      'invalid-data',
      `'${name}' has the shape ${formatShape(dims)}, but the graph takes ${formatShape(shape)}${adviseColumns(dims, shape)}`,
    )
  for (const [axis, symbol] of shape.entries()) {
    if (typeof symbol === 'number') continue
    const before = symbols.get(symbol)
    const length = dims[axis]!
    if (before && before.length !== length) {
      throw new OnnxIreError(
        'invalid-data',
        `'${symbol}' is ${length} in axis ${axis} of '${name}', but ${before.length} in '${before.name}'`,
      )
    }
    symbols.set(symbol, { name, length })
  }
}

/** Advice for one number per example that is a vector in place of a matrix of one column, or the other way around. */
function adviseColumns(dims: Shape, shape: Shape): string {
  const [vector, matrix] = dims.length < shape.length ? [dims, shape] : [shape, dims]
  if (vector.length !== 1 || matrix.length !== 2 || matrix[1] !== 1) return ''
  return `: "columns" of a table makes [N] of a name, "a", and [N, 1] of a list, ["a"]`
}

function checkLabels(name: string, { data }: Tensor, classes: number, ignoreIndex: number | undefined): void {
  const labels = data as BigInt64Array
  for (let i = 0; i < labels.length; i++) {
    const label = Number(labels[i])
    if (label >= 0 && label < classes) continue
    if (label === ignoreIndex) continue
    throw new OnnxIreError(
      'invalid-data',
      `'${name}' has the label ${label} (element ${i} of the batch), but the model has ${classes} classes: labels must be 0 to ${classes - 1}; ` +
        'resize the model (head: { classes }), or set ignoreIndex for labels to skip',
    )
  }
}

/**
 * The error of a step; if its loss or gradients are not finite and the prepared batch has a NaN or an infinity, that is
 * named in front of the message. The code of a NaN is `invalid-data`; an infinity may be meant, as in a mask.
 * @param indices indices of the examples of the batch in the data
 */
export function blameBatch(error: unknown, batch: Tensors, indices: ArrayLike<number>): unknown {
  if (!(error instanceof OnnxIreError && error.code === 'not-finite')) return error
  const nan = locate(Number.isNaN, batch, indices)
  const found = nan ?? locate((value) => !Number.isFinite(value), batch, indices)
  return found
    ? new OnnxIreError(nan ? 'invalid-data' : 'not-finite', `${found}; ${error.message}`, { cause: error })
    : error
}

/** Describes the first element of a batch that satisfies a condition; undefined if there is none. */
function locate(isSought: (value: number) => boolean, batch: Tensors, indices: ArrayLike<number>): string | undefined {
  for (const [name, tensor] of Object.entries(batch)) {
    if (!isFloat(tensor.dtype)) continue
    const values = numbersOf(tensor)
    const at = values.findIndex(isSought)
    if (at < 0) continue
    const hasExamples = tensor.dims[0] === indices.length
    const width = hasExamples ? values.length / indices.length : values.length
    const place = hasExamples ? ` in example ${indices[Math.floor(at / width)]} of the training data` : ''
    return `'${name}' has ${values[at]}${place} (element ${at % width} of ${width})`
  }
  return undefined
}
