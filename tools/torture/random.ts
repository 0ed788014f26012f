import type { Random } from 'onnx-ire/data'

/** A random item of a list that is not empty. */
export const pick = <T>(random: Random, items: readonly T[]): T => items[random.integer(items.length)]!

/** A list with the item at a random position replaced by `change` of it. */
export function changeOne<T>(random: Random, items: readonly T[], change: (item: T) => T): readonly T[] {
  if (items.length === 0) return items
  const at = random.integer(items.length)
  return items.map((item, i) => (i === at ? change(item) : item))
}

export const hostileNames: readonly string[] = [
  'constructor',
  '__proto__',
  'toString',
  'valueOf',
  'hasOwnProperty',
  'prototype',
  '',
  ' ',
  'lay\u001b[8mer',
  '\u001b]0;title\u0007',
  '\u0000',
  'a\nb\r\u2028c',
  '\u202eabc',
  '*a*a*a*b',
  '../../etc/passwd',
  'ä\u0301\ud83d\ude00',
  'length',
  'then',
  'n'.repeat(300),
  'n'.repeat(100_000),
]

export const hostileIntegers: readonly bigint[] = [
  0n,
  -1n,
  1n,
  -2n,
  7n,
  127n,
  2n ** 31n - 1n,
  2n ** 31n,
  -(2n ** 31n),
  2n ** 32n,
  2n ** 53n,
  -(2n ** 53n) - 1n,
  2n ** 63n - 1n,
  -(2n ** 63n),
]

export const hostileNumbers: readonly number[] = [
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
  0,
  -0,
  -1,
  0.5,
  1e9,
  -1e9,
  2 ** 53,
  1e300,
  -1e300,
  5e-324,
]
