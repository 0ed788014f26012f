import { sizeOf, type Tensor } from '../ir/tensor.js'
import { checkNumber, count, invalidOption, positiveCount } from '../util/check.js'
import { closest } from '../util/closest.js'
import { OnnxIreError } from '../util/errors.js'
import { Random } from '../util/random.js'
import { type Dataset, deriveChecksum, fittingOf, identityOf, subset } from './dataset.js'

/** Class numbers: a list, a typed array or a tensor of integers. */
export type ClassLabels = ArrayLike<number | bigint> | Tensor

/**
 * One-hot encoding of class numbers: y[i, c] = 1 for c = labels[i], else 0; float32 [..., classes].
 * @throws OnnxIreError `invalid-data` with the first label outside [0, classes)
 */
export function oneHot(labels: ClassLabels, classes: number): Tensor {
  const numbers = toClassNumbers(labels, classes)
  const dims = 'dtype' in labels ? labels.dims : [numbers.length]
  const data = new Float32Array(sizeOf(dims) * classes)
  for (const [i, label] of numbers.entries()) data[i * classes + label] = 1
  return { dtype: 'float32', dims: [...dims, classes], data }
}

/**
 * Class weights that give every class the same total weight: w_c = N / (C n_c), with n_c of N labels in class c
 * ('balanced' in scikit-learn's compute_class_weight). Their mean over the labels is 1.
 * @throws OnnxIreError `invalid-data` with a label outside [0, classes), or the classes without an example
 */
export function classWeights(labels: ClassLabels, classes: number): Float32Array {
  const counts = countLabels(labels, classes)
  const absent = counts.flatMap((n, c) => (n === 0 ? [c] : []))
  if (absent.length > 0)
    throw new OnnxIreError('invalid-data', `classWeights: classes without an example: ${absent.join(', ')}`)
  const total = counts.reduce((sum, n) => sum + n, 0)
  return Float32Array.from(counts, (n) => total / (classes * n))
}

function countLabels(labels: ClassLabels, classes: number): number[] {
  const counts = Array.from({ length: classes }, () => 0)
  for (const label of toClassNumbers(labels, classes)) counts[label]!++
  return counts
}

/**
 * Oversamples the rarer classes of a data set until every class is as frequent as the largest. The examples of a class
 * are repeated as a whole, and the remainder is sampled without replacement. Examples are not copied.
 * @param labels one class number per example of the data set
 * @param options `seed` of the sampled remainder, default 0, and `ignoreIndex` of the loss: examples with this label are
 * neither repeated nor left out
 * @throws OnnxIreError `invalid-data` if the number of labels is not the number of examples
 * @example
 * ```ts
 * const train = oversample(data, labels)
 * ```
 */
export function oversample(
  dataset: Dataset,
  labels: ClassLabels,
  options: { readonly seed?: number; readonly ignoreIndex?: number | undefined } = {},
): Dataset {
  const { ignoreIndex } = options
  const seed = checkNumber('oversample', 'seed', options.seed ?? 0, count)
  const numbers = toClassNumbers(labels, Number.MAX_SAFE_INTEGER, ignoreIndex)
  if (numbers.length !== dataset.length)
    throw new OnnxIreError(
      'invalid-data',
      `oversample: there are ${numbers.length} labels for ${dataset.length} examples; each needs one`,
    )
  const members = new Map<number, number[]>()
  const ignored: number[] = []
  for (const [i, label] of numbers.entries()) {
    const own = label === ignoreIndex ? ignored : members.get(label)
    if (own) own.push(i)
    else members.set(label, [i])
  }
  const most = [...members.values()].reduce((max, { length }) => Math.max(max, length), 0)
  const chosen = [...members].flatMap(([label, own]) => {
    const whole = Array.from({ length: Math.floor(most / own.length) }, () => own).flat()
    const order = new Random(seed).stream(`class ${label}`).permutation(own.length)
    return [...whole, ...Array.from(order.subarray(0, most % own.length), (i) => own[i]!)]
  })
  return subset(dataset, Uint32Array.from([...chosen, ...ignored]).sort())
}

function toClassNumbers(labels: ClassLabels, classes: number, ignoreIndex?: number): number[] {
  checkNumber('class labels', 'classes', classes, positiveCount)
  const data = 'dtype' in labels ? labels.data : labels
  return Array.from<number | bigint | string, number>(data, (given, i) => {
    const label = Number(given)
    if ((Number.isInteger(label) && label >= 0 && label < classes) || label === ignoreIndex) return label
    throw new OnnxIreError(
      'invalid-data',
      `label ${i} is ${given}; class numbers must be integers ${classes < Number.MAX_SAFE_INTEGER ? `from 0 to ${classes - 1}` : '>= 0'}`,
    )
  })
}

/** Data with class names: for each tensor of class numbers, the names in the order of their numbers. */
export interface WithClassNames {
  readonly classes: Readonly<Record<string, readonly string[]>>
}

/**
 * Throws `invalid-data` for a class without a folder if a folder that is no class has almost the same name. Other
 * classes may have no examples.
 */
export function checkMissingClass(
  place: string,
  name: string,
  folders: readonly string[],
  classes: readonly string[],
): void {
  const others = folders.filter((folder) => !classes.includes(folder))
  const same = others.find((folder) => folder.normalize() === name.normalize())
  // Names of one or two characters are all alike.
  const other = same ?? (name.length > 2 ? closest(name, others) : undefined)
  if (other === undefined) return
  const problem = same ? 'whose accents are encoded in another way: rename it' : 'which is not among the classes'
  throw new OnnxIreError('invalid-data', `${place} has no folder '${name}', but '${other}', ${problem}`)
}

/** Throws `invalid-option` for a class name that occurs twice. */
export function checkClassNames(owner: string, classes: readonly string[]): void {
  const seen = new Set<string>()
  const twice = classes.find((name) => seen.size === seen.add(name).size)
  if (twice !== undefined)
    throw invalidOption(owner, 'classes', classes, `a list of different names, and '${twice}' occurs twice`)
}

/** Mapping of class names to numbers, fixed by the caller or collected from the data. */
export class ClassNumbering {
  readonly #numbers: Map<string, number>
  readonly #names: string[]
  readonly #given: boolean

  constructor(isFixed: readonly string[] | undefined) {
    this.#given = isFixed !== undefined
    this.#names = [...(isFixed ?? [])]
    this.#numbers = new Map(isFixed?.map((name, i) => [name, i]))
  }

  get given(): boolean {
    return this.#given
  }

  get names(): string[] {
    return [...this.#names]
  }

  get size(): number {
    return this.#names.length
  }

  /** Name of a number; undefined if no class has it. */
  nameOf(number: number): string | undefined {
    return this.#names[number]
  }

  /**
   * Number of a class; a new name gets the next number unless the names are fixed.
   * @param toError creates the error for an unknown name from the description of the problem
   */
  numberOf(name: string, toError: (problem: string) => Error): number {
    const known = this.#numbers.get(name)
    if (known !== undefined) return known
    if (this.#given) {
      const shown = this.names.slice(0, 10).map((each) => `'${each}'`)
      const more = this.#numbers.size - shown.length
      throw toError(`is '${name}', not one of the classes ${shown.join(', ')}${more > 0 ? ` and ${more} more` : ''}`)
    }
    this.#numbers.set(name, this.#names.length)
    return this.#names.push(name) - 1
  }

  /**
   * Names in sorted order (numerically if all are integers), and the sorted position of each number assigned so far.
   */
  sorted(): { readonly names: string[]; readonly positions: number[] } {
    const { names } = this
    if (this.#given) return { names, positions: names.map((_, i) => i) }
    const numeric = names.every((name) => /^-?\d{1,15}$/.test(name))
    const sorted = numeric ? names.toSorted((a, b) => Number(a) - Number(b)) : names.toSorted()
    const position = new Map(sorted.map((name, i) => [name, i]))
    return { names: sorted, positions: names.map((name) => position.get(name)!) }
  }
}

/**
 * Adds a weight per example to a data set, as a float32 tensor [n].
 * @param weights one per example, finite and >= 0
 * @param name name of the tensor, for the option `sampleWeights` of a loss. Default 'weight'
 * @throws OnnxIreError `invalid-data` for a wrong number of weights, an invalid weight, or a name that the data set
 * already has
 * @example
 * ```ts
 * const weighted = withSampleWeights(data, weights)
 * const loss = crossEntropy({ sampleWeights: 'weight' })
 * ```
 */
export function withSampleWeights(dataset: Dataset, weights: ArrayLike<number>, name = 'weight'): Dataset {
  if (weights.length !== dataset.length)
    throw new OnnxIreError(
      'invalid-data',
      `withSampleWeights: there are ${weights.length} weights for ${dataset.length} examples; each example needs one`,
    )
  const values = Float32Array.from(weights)
  const invalid = values.findIndex((weight) => !(weight >= 0 && Number.isFinite(weight)))
  if (invalid >= 0)
    throw new OnnxIreError(
      'invalid-data',
      `withSampleWeights: weight ${invalid} is ${weights[invalid]}; weights must be finite numbers >= 0`,
    )
  return {
    length: dataset.length,
    async batch(indices, context) {
      const batch = await dataset.batch(indices, context)
      if (Object.hasOwn(batch, name))
        throw new OnnxIreError(
          'invalid-data',
          `withSampleWeights: the data set already has a tensor '${name}'; choose another name`,
        )
      const data = Float32Array.from(indices, (index) => values[index]!)
      return { ...batch, [name]: { dtype: 'float32', dims: [data.length], data } }
    },
    checksum: deriveChecksum(dataset, name, values),
    identify: identityOf(dataset),
    ...fittingOf(dataset, (fitted) => withSampleWeights(fitted, values, name)),
  }
}

/** The class names of the tensors that have classes. */
export const classNamesOf = (
  tensors: readonly { readonly name: string; readonly classes: ClassNumbering | null }[],
): WithClassNames['classes'] =>
  Object.fromEntries(tensors.flatMap(({ name, classes }) => (classes ? [[name, classes.sorted().names]] : [])))
