import { type DType, dtypes } from '../ir/dtype.js'
import type { Tensors } from '../ir/tensor.js'
import { sizeOf, type Tensor } from '../ir/tensor.js'
import { OnnxIreError } from '../util/errors.js'

/** A graph input as the compiled model declares it. */
export interface InputInfo {
  readonly name: string
  readonly dtype: DType
}

/**
 * The feeds in the order of `inputs`, checked for what onnxruntime ignores silently or reports without the name of the
 * input: missing and unknown names, dtypes, array classes and lengths. Shapes are onnxruntime's to judge.
 *
 * Throws `invalid-data` naming the input.
 */
export function checkFeeds(inputs: readonly InputInfo[], feeds: Tensors): Tensor[] {
  checkNames(inputs, feeds)
  return inputs.map((input) => checkFeed(input, feeds[input.name]!))
}

/** Throws `invalid-data` for names that are missing, or are not the model's. */
export function checkNames(inputs: readonly InputInfo[], feeds: Readonly<Record<string, unknown>>): void {
  const expected = new Set(inputs.map(({ name }) => name))
  const missing = inputs.filter(({ name }) => !Object.hasOwn(feeds, name)).map(({ name }) => name)
  const unknown = Object.keys(feeds).filter((name) => !expected.has(name))
  if (missing.length > 0 || unknown.length > 0) {
    const faults = [
      missing.length > 0 ? `not fed: ${missing.join(', ')}` : '',
      unknown.length > 0 ? `not an input of the model: ${unknown.join(', ')}` : '',
    ]
    throw new OnnxIreError('invalid-data', `feeds do not fit the model's inputs; ${faults.filter(Boolean).join('; ')}`)
  }
}

/** One feed, checked. Reads `data` once: it may be decoded on reading. */
export function checkFeed({ name, dtype: expected }: InputInfo, { dtype, dims, data }: Tensor): Tensor {
  const refuse = (fault: string): never => {
    throw new OnnxIreError('invalid-data', `input '${name}': ${fault}`)
  }
  if (dtype !== expected) refuse(`the model wants ${expected}, not ${dtype}`)
  const { array, bits } = dtypes[dtype]
  const given = Array.isArray(data) ? 'Array' : (data as Exclude<typeof data, readonly string[]>)[Symbol.toStringTag]
  const wanted = array === null ? 'Array' : array.name
  if (given !== wanted) refuse(`${dtype} travels in ${array === null ? 'an array of strings' : wanted}, not ${given}`)
  if (!dims.every((dim) => Number.isSafeInteger(dim) && dim >= 0)) refuse(`[${dims.join(', ')}] is not a shape`)
  const elements = bits === 4 ? Math.ceil(sizeOf(dims) / 2) : sizeOf(dims)
  if (data.length !== elements) {
    refuse(`a ${dtype} tensor [${dims.join(', ')}] needs ${elements} array elements, not ${data.length}`)
  }
  return { dtype, dims, data }
}
