import { sizeOf, type Tensor } from '../ir/tensor.js'
import { checkNumber, count, positiveCount } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { Random } from '../util/random.js'
import { type Dataset, subset } from './dataset.js'

/** Class numbers: a list, a typed array or a tensor of integers. */
export type ClassLabels = ArrayLike<number | bigint> | Tensor

/**
 * y[i, c] = 1 for c = labels[i], else 0: float32 [..., classes].
 * @throws 'invalid-data' naming the first label outside of [0, classes)
 */
export function oneHot(labels: ClassLabels, classes: number): Tensor {
  const numbers = toClassNumbers(labels, classes)
  const dims = 'dtype' in labels ? labels.dims : [numbers.length]
  const data = new Float32Array(sizeOf(dims) * classes)
  for (const [i, label] of numbers.entries()) data[i * classes + label] = 1
  return { dtype: 'float32', dims: [...dims, classes], data }
}

/**
 * Weights that make every class count alike: w_c = N / (C n_c), with n_c of N labels of class c ('balanced' in
 * scikit-learn's compute_class_weight). Their mean over the labels is 1.
 * @throws 'invalid-data' naming a label outside of [0, classes), or the classes that have none
 */
export function classWeights(labels: ClassLabels, classes: number): Float32Array {
  const counts = frequencies(labels, classes)
  const absent = counts.flatMap((n, c) => (n === 0 ? [c] : []))
  if (absent.length > 0)
    throw new OnnxIreError('invalid-data', `classWeights: of ${classes} classes, ${absent.join(', ')} have no example`)
  const total = counts.reduce((sum, n) => sum + n, 0)
  return Float32Array.from(counts, (n) => total / (classes * n))
}

function frequencies(labels: ClassLabels, classes: number): number[] {
  const counts = Array.from({ length: classes }, () => 0)
  for (const label of toClassNumbers(labels, classes)) counts[label]!++
  return counts
}

/**
 * A data set in which every class is equally frequent: each is repeated in whole, and in part by a draw without
 * replacement, until it has as many examples as the largest. Every example is in it; nothing is copied.
 * @param labels one class number per example of the data set
 * @param options `seed` of the draws, default 0
 * @throws 'invalid-data' when there are not as many labels as examples
 */
export function oversample(dataset: Dataset, labels: ClassLabels, options: { readonly seed?: number } = {}): Dataset {
  const seed = checkNumber('balanced', 'seed', options.seed ?? 0, count)
  const numbers = toClassNumbers(labels, Number.MAX_SAFE_INTEGER)
  if (numbers.length !== dataset.length)
    throw new OnnxIreError(
      'invalid-data',
      `balanced: there are ${numbers.length} labels for ${dataset.length} examples; each needs one`,
    )
  const members = new Map<number, number[]>()
  for (const [i, label] of numbers.entries()) {
    const own = members.get(label)
    if (own) own.push(i)
    else members.set(label, [i])
  }
  const most = [...members.values()].reduce((max, { length }) => Math.max(max, length), 0)
  const chosen = [...members].flatMap(([label, own]) => {
    const whole = Array.from({ length: Math.floor(most / own.length) }, () => own).flat()
    const order = new Random(seed).stream(`class ${label}`).permutation(own.length)
    return [...whole, ...Array.from(order.subarray(0, most % own.length), (i) => own[i]!)]
  })
  return subset(dataset, Uint32Array.from(chosen).sort())
}

function toClassNumbers(labels: ClassLabels, classes: number): number[] {
  checkNumber('class labels', 'classes', classes, positiveCount)
  const data = 'dtype' in labels ? labels.data : labels
  return Array.from<number | bigint | string, number>(data, (given, i) => {
    const label = Number(given)
    if (Number.isInteger(label) && label >= 0 && label < classes) return label
    throw new OnnxIreError(
      'invalid-data',
      `label ${i} is ${given}; class numbers are whole${classes < Number.MAX_SAFE_INTEGER ? `, from 0 to ${classes - 1}` : ' and not negative'}`,
    )
  })
}
