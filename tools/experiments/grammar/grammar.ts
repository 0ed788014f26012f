import { Random } from 'onnx-ire/data'
import { type Text, tokenized } from '../transformer/text.js'

/** Random sentences of a small grammar, from which word order is learned in seconds. */
function sentences(count: number, seed: number): string[] {
  const random = new Random(seed)
  const one = (words: string) => {
    const all = words.split(' ')
    return all[random.integer(all.length)]!
  }
  const thing = () => `the ${one('old grey small quiet bright')} ${one('house river garden engine letter bird')}`
  return Array.from(
    { length: count },
    () =>
      `${thing()} ${one('follows remembers carries crosses answers')} ${thing()} ${one('slowly again today never')}.`,
  )
}

/** The sentences as tokens between letters and words. */
export const grammarText = (): Text =>
  tokenized({ train: sentences(2000, 1), validation: sentences(100, 2), test: sentences(200, 3) }, 300)
