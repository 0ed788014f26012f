import { readFileSync } from 'node:fs'
import type { Value } from '../../src/graph/index.js'
import type { Tensor } from '../../src/index.js'

interface Reference {
  /** Options that differ from the named preset. */
  readonly changes: object
  readonly examples: number
  readonly logits: readonly number[]
}

/** Results of PyTorch by preset, created by tools/torch/reference.py. */
export const references = (): Readonly<Record<string, Reference>> =>
  JSON.parse(readFileSync(new URL('reference.json', import.meta.url), 'utf8'))

/** 32 bits for every element, mixed from its index and the name (FNV-1a). */
function bits(name: string, count: number): Uint32Array {
  let start = 0x811c9dc5
  for (const character of name) start = Math.imul(start ^ character.charCodeAt(0), 0x01000193)
  const all = new Uint32Array(count)
  for (let i = 0; i < count; i++) {
    let h = Math.imul(i + 1, 0x9e3779b1) ^ start
    h = Math.imul(h ^ (h >>> 15), 0x85ebca6b)
    all[i] = h ^ (h >>> 13)
  }
  return all
}

/** The elements the reference has for a parameter or an image of this name and shape. */
export function elements(name: string, dims: readonly number[]): Tensor {
  const count = dims.reduce((a, b) => a * b, 1)
  const bound = Math.sqrt(3 / (dims.length === 4 ? count / dims[0]! : Math.sqrt(count)))
  const [middle, range] =
    name === 'x'
      ? [0, 2]
      : name.endsWith('running_var')
        ? [1, 0.5]
        : dims.length > 1
          ? [0, bound]
          : [name.endsWith('weight') ? 1 : 0, 0.1]
  const data = new Float32Array(count)
  for (const [i, h] of bits(name, count).entries()) data[i] = middle + range * (h / 2 ** 31 - 1)
  return { dtype: 'float32', dims, data }
}

/** The input of the reference run. */
export function fed(input: Value, examples: number, vocabulary: number): Tensor {
  const dims = input.shape!.map((dim) => (typeof dim === 'number' ? dim : examples))
  if (input.dtype === 'float32') return elements(input.name!, dims)
  const ids = bits(
    input.name!,
    dims.reduce((a, b) => a * b, 1),
  )
  return { dtype: 'int64', dims, data: BigInt64Array.from(ids, (h) => BigInt(h % vocabulary)) }
}
