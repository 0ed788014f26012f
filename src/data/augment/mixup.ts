import { isFloat, isHalf } from '../../ir/dtype.js'
import { numbersOf, tensorFrom } from '../../ir/leaf.js'
import type { Tensor, Tensors } from '../../ir/tensor.js'
import { checkNames, checkNumber, positiveCount } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { matchNames, type NamePatterns } from '../../util/pattern.js'
import { getOwn } from '../../util/record.js'
import { oneHot } from '../classes.js'
import type { DatasetOrStream } from '../stream.js'
import { mapBatches, type TransformedData } from '../transform.js'

/** Options of `mixup`. */
export interface MixupOptions {
  /** Parameter of Beta(alpha, alpha), the distribution of the mixing shares: 0.2 mixes little, 1 is uniform. */
  readonly alpha: number
  /** Number of classes. */
  readonly classes: number
  /** Name of the labels: class numbers [n], or probabilities [n, classes]. */
  readonly labels: string
  /** Names of the tensors to mix. Default: all floating-point tensors except the labels. */
  readonly inputs?: NamePatterns | undefined
}

/**
 * mixup (Zhang et al. 2018): in training, mixes each example of a batch with a random other one,
 *
 *     x_i <- lambda_i x_i + (1 - lambda_i) x_j,   lambda_i ~ Beta(alpha, alpha)
 *
 * and its one-hot label in the same way. In evaluation inputs are unchanged. Labels are float32 [n, classes] in both
 * cases, for a loss with probabilities.
 * @throws OnnxIreError `invalid-option`; when a batch is loaded, `invalid-data` with the tensor that cannot be mixed
 * @example
 * ```ts
 * const train = mixup(data, { alpha: 0.2, classes: 10, labels: 'labels' })
 * const loss = crossEntropy({ probabilities: true })
 * ```
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
  const labels = getOwn(batch, name)
  if (!labels)
    throw new OnnxIreError(
      'invalid-data',
      `mixup: the data have no labels '${name}'; they have ${Object.keys(batch).join(', ')}`,
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
  throw new OnnxIreError('invalid-data', `mixup: none of ${others.join(', ')} is floating-point`)
}

/** Mixes rows with their partners along the leading axis: y_i = s_i x_i + (1 - s_i) x_partner(i). */
function mix(name: string, x: Tensor, partners: Uint32Array, shares: Float64Array): Tensor {
  const n = partners.length
  if (!isFloat(x.dtype) || x.dims[0] !== n)
    throw new OnnxIreError(
      'invalid-data',
      `mixup: '${name}' is ${x.dtype} [${x.dims.join(', ')}]; mixed tensors must be floating-point with ${n} examples`,
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
