import { sizeOf, type Tensor } from '../../ir/tensor.js'
import type { Node, Value } from '../../ir/value.js'
import { isRandom } from '../../op/facts.js'
import { definitionOf } from '../../op/op.js'
import { toRawBytes } from '../proto/tensor.js'

/**
 * Text equal for nodes that compute the same from inputs of these names; undefined where that cannot be told from text.
 * `attributes`: what `attributesText` says of them.
 */
export function nodeKey(
  node: Node,
  inputs: readonly string[],
  attributes: string | undefined,
  settled: (value: Value) => Value,
): string | undefined {
  if (attributes === undefined || isRandom(node)) return undefined
  let text = `${node.domain}:${node.operator}/${node.outputs.length}${attributes}`
  // Lengths of the same text are the same lengths, whichever tensor has them.
  const measured = node.operator === 'Shape' ? settled(node.inputs[0]!).shape : undefined
  if (measured) return `${text}[${JSON.stringify(measured)}`
  for (const name of inputs) text += `(${name.length}:${name}`
  return text
}

/** Text equal for equal attributes of one operator; undefined where they hold tensors or bodies. */
export function attributesKey({ operator, attributes }: Node): string | undefined {
  let text = ''
  let specs: ReturnType<typeof definitionOf>['attributes'] | undefined
  for (const key in attributes) {
    const value = attributes[key]
    specs ??= definitionOf(operator).attributes
    if (value === undefined || value === specs[key]?.default) continue
    if (typeof value === 'number') text += ` ${key}=${exactText(value)}`
    else if (typeof value === 'string') text += ` ${key}=${JSON.stringify(value)}`
    else if (!Array.isArray(value) || typeof value[0] === 'object') return undefined
    else
      text += ` ${key}=[${typeof value[0] === 'string' ? JSON.stringify(value) : (value as number[]).map(exactText).join()}`
  }
  return text
}

/** Elements of constants that are told apart by text; of longer ones a sum of their bytes finds the like, and their bytes decide. */
const TEXT_LIMIT = 64
/** Bytes of constants that are looked at: longer ones do not come twice but by design. */
const BYTES_LIMIT = 2 ** 20

interface Named {
  readonly tensor: Tensor
  readonly name: string
}

/** Constants that have a name already, by their elements. */
export class ConstantNames {
  readonly #named = new Map<string, Named[]>()

  /** The name of an equal tensor, or that which `give` gives to this one. */
  nameOf(tensor: Tensor, give: () => string): string {
    const key = tensorKey(tensor)
    if (key === undefined) return give()
    const alike = this.#named.get(key) ?? []
    const equal = alike.find((other) => sameElements(other.tensor, tensor))
    if (equal) return equal.name
    const name = give()
    this.#named.set(key, [...alike, { tensor, name }])
    return name
  }
}

function tensorKey(tensor: Tensor): string | undefined {
  const { dtype, dims } = tensor
  if (sizeOf(dims) <= TEXT_LIMIT) {
    return JSON.stringify([dtype, dims, Array.from(tensor.data as ArrayLike<unknown>, exactText)])
  }
  if (dtype === 'string' || sizeOf(dims) > BYTES_LIMIT || toRawBytes(tensor).length > BYTES_LIMIT) return undefined
  return `${dtype} ${dims} ${hash(toRawBytes(tensor))}`
}

/** FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv). */
function hash(bytes: Uint8Array): number {
  let sum = 0x811c9dc5
  for (const byte of bytes) sum = Math.imul(sum ^ byte, 0x01000193)
  return sum
}

function sameElements(a: Tensor, b: Tensor): boolean {
  // Text of this length says all.
  if (sizeOf(a.dims) <= TEXT_LIMIT) return true
  const [left, right] = [toRawBytes(a), toRawBytes(b)]
  return left.length === right.length && left.every((byte, i) => byte === right[i])
}

const exactText = (value: unknown): string => (Object.is(value, -0) ? '-0' : String(value))
