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
 * Returns the feeds in the order of `inputs`. Checks what onnxruntime ignores silently or reports without the name of
 * the input: missing and unknown names, dtypes, array classes and lengths. onnxruntime checks shapes itself.
 * @throws OnnxIreError `invalid-data` naming the input
 */
export function checkFeeds(inputs: readonly InputInfo[], feeds: Tensors): Tensor[] {
  checkFeedNames(inputs, feeds)
  return inputs.map((input) => checkFeed(input, feeds[input.name]!))
}

/** Throws `invalid-data` for missing names and for names that are not inputs of the model. */
export function checkFeedNames(inputs: readonly InputInfo[], feeds: Readonly<Record<string, unknown>>): void {
  const expected = new Set(inputs.map(({ name }) => name))
  const missing = inputs.filter(({ name }) => !Object.hasOwn(feeds, name)).map(({ name }) => name)
  const unknown = Object.keys(feeds).filter((name) => !expected.has(name))
  if (missing.length > 0 || unknown.length > 0) {
    const faults = [
      missing.length > 0 ? `not fed: ${missing.join(', ')}` : '',
      unknown.length > 0 ? `not an input of the model: ${unknown.join(', ')}` : '',
    ]
    throw new OnnxIreError(
      'invalid-data',
      `feeds do not match the model's inputs; ${faults.filter(Boolean).join('; ')}`,
    )
  }
}

/**
 * Checks one feed, or a tensor that an output is written to, and returns it. Reads `data` once, because it may be
 * decoded on each access.
 */
export function checkFeed(
  { name, dtype: expected }: InputInfo,
  { dtype, dims, data }: Tensor,
  what: 'input' | 'output' = 'input',
): Tensor {
  const fail = (fault: string): never => {
    throw new OnnxIreError('invalid-data', `${what} '${name}': ${fault}`)
  }
  if (dtype !== expected) fail(`the model expects ${expected}, got ${dtype}`)
  const { array, bits } = dtypes[dtype]
  const actual = Array.isArray(data) ? 'Array' : (data as Exclude<typeof data, readonly string[]>)[Symbol.toStringTag]
  const required = array === null ? 'Array' : array.name
  if (actual !== required)
    fail(`a ${dtype} tensor needs ${array === null ? 'an array of strings' : `a ${required}`}, got ${actual}`)
  if (!dims.every((dim) => Number.isSafeInteger(dim) && dim >= 0)) fail(`[${dims.join(', ')}] is not a shape`)
  const elements = bits === 4 ? Math.ceil(sizeOf(dims) / 2) : sizeOf(dims)
  if (data.length !== elements) {
    fail(`a ${dtype} tensor [${dims.join(', ')}] needs ${elements} array elements, got ${data.length}`)
  }
  return { dtype, dims, data }
}
