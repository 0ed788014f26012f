import { isFloat, isHalf } from '../../ir/dtype.js'
import { numbersOf, tensorFrom } from '../../ir/leaf.js'
import type { Tensor, Tensors } from '../../ir/tensor.js'
import { checkNames, checkNumber, positiveCount } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { matchNames, type NamePatterns } from '../../util/pattern.js'
import { oneHot } from '../classes.js'
import type { DatasetOrStream } from '../stream.js'
import { mapBatches, type TransformedData } from '../transform.js'

/** Options of `mixup`. */
export interface MixupOptions {
  /** Of Beta(alpha, alpha), which the shares are drawn from: 0.2 mixes little, 1 uniformly. */
  readonly alpha: number
  readonly classes: number
  /** The tensor of class numbers [n], or of probability rows [n, classes]. */
  readonly labels: string
  /** The tensors to mix. Default: those of floating point, but for the labels. */
  readonly inputs?: NamePatterns | undefined
}

/**
 * mixup (Zhang et al. 2018): in training, example i becomes lambda x_i + (1 - lambda) x_j, with j a random other place in
 * the batch and lambda ~ Beta(alpha, alpha), both drawn anew for each i; its label becomes the same mixture of one-hot rows.
 * In evaluation inputs stay as they are. Labels are float32 [n, classes] either way, for a loss that takes probabilities.
 * @throws 'invalid-option'; when a batch is made, 'invalid-data' naming the tensor that cannot be mixed
 */
export function mixup<D extends DatasetOrStream>(data: D, options: MixupOptions): TransformedData<D> {
  checkNames('mixup', options, ['alpha', 'classes', 'labels', 'inputs'])
  const alpha = checkNumber('mixup', 'alpha', options.alpha, { min: Number.MIN_VALUE, max: Number.MAX_VALUE })
  const classes = checkNumber('mixup', 'classes', options.classes, positiveCount)
  return mapBatches(data, (batch, { random }) => {
    const rows = toProbabilities(batch, options.labels, classes)
    if (!random) return { ...batch, [options.labels]: rows }
    const n = rows.dims[0]!
    const partners = random.permutation(n)
    const shares = Float64Array.from({ length: n }, () => random.beta(alpha, alpha))
    const mixed = mixedInputs(batch, options).map((name) => [name, mix(name, batch[name]!, partners, shares)])
    return { ...batch, ...Object.fromEntries(mixed), [options.labels]: mix(options.labels, rows, partners, shares) }
  })
}

function toProbabilities(batch: Tensors, name: string, classes: number): Tensor {
  const labels = batch[name]
  if (!labels)
    throw new OnnxIreError(
      'invalid-data',
      `mixup: the data give no '${name}' for labels; they give ${Object.keys(batch).join(', ')}`,
    )
  if (labels.dims.length === 1 && labels.dtype.includes('int')) return oneHot(labels, classes)
  if (labels.dtype === 'float32' && labels.dims.length === 2 && labels.dims[1] === classes) return labels
  throw new OnnxIreError(
    'invalid-data',
    `mixup: the labels '${name}' are ${labels.dtype} [${labels.dims.join(', ')}]; they must be class numbers [n] or float32 [n, ${classes}]`,
  )
}

function mixedInputs(batch: Tensors, { inputs, labels }: MixupOptions): string[] {
  const others = Object.keys(batch).filter((name) => name !== labels)
  if (inputs !== undefined) return matchNames(inputs, others, 'tensor of the data')
  const floats = others.filter((name) => isFloat(batch[name]!.dtype) && batch[name]!.dims.length > 0)
  if (floats.length > 0) return floats
  throw new OnnxIreError('invalid-data', `mixup: none of ${others.join(', ')} holds floating-point numbers to mix`)
}

/** y_i = s_i x_i + (1 - s_i) x_partner(i) along the leading axis. */
function mix(name: string, x: Tensor, partners: Uint32Array, shares: Float64Array): Tensor {
  const n = partners.length
  if (!isFloat(x.dtype) || x.dims[0] !== n)
    throw new OnnxIreError(
      'invalid-data',
      `mixup: '${name}' is ${x.dtype} [${x.dims.join(', ')}]; what is mixed holds floating-point numbers of ${n} examples`,
    )
  const from = isHalf(x.dtype) ? numbersOf(x) : (x.data as Float32Array | Float64Array)
  const to = x.dtype === 'float64' ? new Float64Array(from.length) : new Float32Array(from.length)
  const width = from.length / n
  for (let i = 0; i < n; i++) {
    const [own, other, share] = [i * width, partners[i]! * width, shares[i]!]
    for (let k = 0; k < width; k++) to[own + k] = share * from[own + k]! + (1 - share) * from[other + k]!
  }
  return isHalf(x.dtype) ? tensorFrom(x.dtype, x.dims, to) : { dtype: x.dtype, dims: x.dims, data: to }
}
