import { type DType, isFloat } from '../ir/dtype.js'
import { numbersOf, tensorFrom } from '../ir/leaf.js'
import { formatShape } from '../ir/shape.js'
import type { Tensor, Tensors } from '../ir/tensor.js'
import type { Value } from '../ir/value.js'
import type { LossGraph } from '../loss/loss.js'
import { OnnxIreError } from '../util/errors.js'

/**
 * A batch in the form the graphs take: only what they read, integers widened to the labels' type, and every length that is
 * known checked but for the number of examples, which a batch need not have in common with the model (it is run in parts).
 * Throws `invalid-data` naming the tensor, what it is and what it should be.
 */
export function prepareBatch(
  batch: Tensors,
  expected: ReadonlyMap<string, Value>,
  labels: LossGraph['labels'],
): Tensors {
  const symbols = new Map<string, { readonly name: string; readonly length: number }>()
  return Object.fromEntries(
    [...expected].map(([name, value]) => {
      const given = batch[name]
      if (!given) {
        const there =
          Object.keys(batch)
            .map((key) => `'${key}'`)
            .join(', ') || 'nothing'
        throw new OnnxIreError(
          'invalid-data',
          `the data gives ${there}, but the model and its loss also need '${name}': ${value.dtype}${formatShape(value.shape)}`,
        )
      }
      const tensor = converted(name, given, value.dtype)
      checkShape(name, tensor, value, symbols)
      const classes = labels?.get(name)
      if (classes && typeof classes.classes === 'number')
        checkLabels(name, tensor, classes.classes, classes.ignoreIndex)
      return [name, tensor]
    }),
  )
}

function converted(name: string, tensor: Tensor, dtype: DType): Tensor {
  if (tensor.dtype === dtype) return tensor
  const widening = isFloat(dtype) ? isFloat(tensor.dtype) : dtype === 'int64' || dtype === 'int32'
  if (!widening || isFloat(tensor.dtype) !== isFloat(dtype) || tensor.dtype === 'string') {
    throw new OnnxIreError(
      'invalid-data',
      `'${name}' holds ${tensor.dtype}, the graph takes ${dtype}: convert the data (labels(...) makes class numbers, images(...) pixels)`,
    )
  }
  return tensorFrom(dtype, tensor.dims, numbersOf(tensor))
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
      `'${name}' has the shape ${formatShape(dims)}, the graph takes ${formatShape(shape)}`,
    )
  for (const [axis, symbol] of shape.entries()) {
    if (typeof symbol === 'number') continue
    const before = symbols.get(symbol)
    const length = dims[axis]!
    if (before && before.length !== length) {
      throw new OnnxIreError(
        'invalid-data',
        `'${name}' has ${length} along axis ${axis}, '${before.name}' has ${before.length} there; both are the length '${symbol}'`,
      )
    }
    symbols.set(symbol, { name, length })
  }
}

function checkLabels(name: string, { data }: Tensor, classes: number, ignoreIndex: number | undefined): void {
  const labels = data as BigInt64Array
  for (let i = 0; i < labels.length; i++) {
    const label = Number(labels[i])
    if (label >= 0 && label < classes) continue
    if (label === ignoreIndex) continue
    throw new OnnxIreError(
      'invalid-data',
      `'${name}' holds the label ${label} (element ${i} of the batch), but the model tells ${classes} classes apart: labels are 0 to ${classes - 1}; ` +
        'give the model a head of the right size (head: { classes }), or set ignoreIndex for labels to leave out',
    )
  }
}
