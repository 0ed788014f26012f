import { sizeOf, type Tensor, toRawBytes } from '../../ir/tensor.js'
import type { Node, Value } from '../../ir/value.js'
import { isRandom } from '../../op/facts.js'
import { definitionOf } from '../../op/op.js'
import { getOwn } from '../../util/record.js'

/**
 * The key of a node for common subexpression elimination: nodes with equal keys have equal results.
 *
 * @param inputs the names of its inputs
 * @param attributes the result of `attributesKey`
 * @param resolve returns the replacement of a simplified value
 * @returns undefined if the node must not be merged with others (random, or with tensors or bodies as attributes)
 */
export function nodeKey(
  node: Node,
  inputs: readonly string[],
  attributes: string | undefined,
  resolve: (value: Value) => Value,
): string | undefined {
  if (attributes === undefined || isRandom(node)) return undefined
  let text = `${node.domain}:${node.operator}/${node.outputs.length}${attributes}`
  // Equal dims are equal lengths, so Shape nodes of different tensors can be merged.
  const measured = node.operator === 'Shape' ? resolve(node.inputs[0]!).shape : undefined
  if (measured) return `${text}[${JSON.stringify(measured)}`
  for (const name of inputs) text += `(${name.length}:${name}`
  return text
}

/** The key of a node's attributes: equal for equal attributes of an operator. undefined for tensors and bodies. */
export function attributesKey({ operator, attributes }: Node): string | undefined {
  let text = ''
  let specs: ReturnType<typeof definitionOf>['attributes'] | undefined
  for (const key in attributes) {
    const value = getOwn(attributes, key)
    specs ??= definitionOf(operator).attributes
    if (value === undefined || value === getOwn(specs, key)?.default) continue
    if (typeof value === 'number') text += ` ${key}=${exactText(value)}`
    else if (typeof value === 'string') text += ` ${key}=${JSON.stringify(value)}`
    else if (!Array.isArray(value) || typeof value[0] === 'object') return undefined
    else
      text += ` ${key}=[${typeof value[0] === 'string' ? JSON.stringify(value) : (value as number[]).map(exactText).join()}`
  }
  return text
}

/**
 * Up to this number of elements the key of a constant contains all elements; above, it contains a hash of its bytes.
 */
const maxTextElements = 64
/** Constants with more bytes are not compared: equal ones are too rare. */
const maxHashedBytes = 2 ** 20

interface NamedTensor {
  readonly tensor: Tensor
  readonly name: string
}

/** The names of exported constants, so that equal constants are written once. */
export class ConstantNames {
  readonly #byKey = new Map<string, NamedTensor[]>()

  /** The name of an equal tensor, or the result of `createName` if there is no equal tensor yet. */
  nameOf(tensor: Tensor, createName: () => string): string {
    const key = tensorKey(tensor)
    if (key === undefined) return createName()
    const alike = this.#byKey.get(key) ?? []
    const equal = alike.find((other) => sameElements(other.tensor, tensor))
    if (equal) return equal.name
    const name = createName()
    this.#byKey.set(key, [...alike, { tensor, name }])
    return name
  }
}

function tensorKey(tensor: Tensor): string | undefined {
  const { dtype, dims } = tensor
  if (sizeOf(dims) <= maxTextElements) {
    return JSON.stringify([dtype, dims, Array.from(tensor.data as ArrayLike<unknown>, exactText)])
  }
  if (dtype === 'string' || sizeOf(dims) > maxHashedBytes || toRawBytes(tensor).length > maxHashedBytes)
    return undefined
  return `${dtype} ${dims} ${hash(toRawBytes(tensor))}`
}

/** FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv). */
function hash(bytes: Uint8Array): number {
  let sum = 0x811c9dc5
  for (const byte of bytes) sum = Math.imul(sum ^ byte, 0x01000193)
  return sum
}

function sameElements(a: Tensor, b: Tensor): boolean {
  // The keys of small tensors contain all elements.
  if (sizeOf(a.dims) <= maxTextElements) return true
  const [left, right] = [toRawBytes(a), toRawBytes(b)]
  return left.length === right.length && left.every((byte, i) => byte === right[i])
}

const exactText = (value: unknown): string => (Object.is(value, -0) ? '-0' : String(value))
