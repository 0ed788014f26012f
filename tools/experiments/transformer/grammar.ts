import { Random } from 'onnx-ire'
import type { Text } from './text.js'

/** Sentences of a small grammar as bytes: enough to learn from letters to words to order, in seconds. */
function sentences(count: number, seed: number): Uint8Array {
  const random = new Random(seed)
  const one = (words: string) => {
    const all = words.split(' ')
    return all[random.integer(all.length)]!
  }
  const thing = () => `the ${one('old grey small quiet bright')} ${one('house river garden engine letter bird')}`
  const text = Array.from(
    { length: count },
    () =>
      `${thing()} ${one('follows remembers carries crosses answers')} ${thing()} ${one('slowly again today never')}.\n`,
  )
  return Uint8Array.from(text.join(''), (character) => character.charCodeAt(0))
}

export const grammarText = (): Text => ({
  train: sentences(2000, 1),
  validation: sentences(60, 2),
  test: sentences(120, 3),
})
